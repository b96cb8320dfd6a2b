"""What is stored of restored counts, and what stands for it in a ledger."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.plans import Plan

__all__ = ["as_stored", "digest"]

PIECE = 2**17  # voxels that pass through float64 at a time


def as_stored(counts: NDArray[np.float32], plan: Plan) -> tuple[NDArray[Any], int]:
    """Turn counts into what the plan stores, and count the voxels that were clipped.

    Integers are ``round((counts - offset) / scale)``; NaN becomes 0 and is not counted;
    the mask says where.
    """
    dtype = np.dtype(plan.dtype)
    if dtype.kind == "f":
        return np.ascontiguousarray(counts, dtype), 0
    top, clipped = np.iinfo(dtype).max, 0
    stored = np.empty(counts.shape, dtype)
    given, taken = counts.reshape(-1), stored.reshape(-1)
    for start in range(0, given.size, PIECE):
        piece = given[start : start + PIECE].astype(np.float64)
        np.rint((piece - plan.offset) / plan.scale, out=piece)
        clipped += int(((piece < 0) | (piece > top)).sum())  # comparing with NaN gives False
        taken[start : start + PIECE] = np.where(np.isnan(piece), 0, np.clip(piece, 0, top))
    return stored, clipped


def digest(values: NDArray[Any]) -> str:
    """Give SHA-256 of an array's values: C order, little-endian."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little).data.cast("B")).hexdigest()
