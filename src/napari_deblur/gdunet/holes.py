"""Pixels that are no numbers: dead ones, and what a stitched image doesn't cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HOLES", "filled"]

# Of a crop: with more of it made up, it is not learned from.
HOLES = 0.001
# Around a hole, in pixels.
NEAR = 1.5


def filled(image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Fill pixels that are NaN or infinite with the mean of those around.

    Returns
    -------
    image, holes
        The image itself where it has no holes; and where they are.
    """
    holes = ~np.isfinite(image)
    if not holes.any() or holes.all():
        return image, holes
    known = np.where(holes, 0, image).astype(np.float64)
    weight = gaussian_filter((~holes).astype(np.float64), NEAR)
    around = gaussian_filter(known, NEAR) / np.maximum(weight, 1e-9)
    far = np.median(known[~holes])
    return np.where(holes, np.where(weight > 1e-3, around, far), known), holes
