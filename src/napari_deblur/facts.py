"""Facts of a channel: what the metadata say, what the samples show, and where each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.ops.statistics import estimate_background, estimate_noise
from napari_deblur.protocols import Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Stack

__all__ = ["facts_of", "saturation_of"]

# Full scale of the usual cameras.
FULL_SCALES = tuple(2**bits - 1 for bits in (8, 10, 11, 12, 14, 16))
# A single pixel at full scale may be chance or dust; this share of them is a clipped camera.
CLIPPED = 1e-5


def facts_of(stack: Stack, c: int, planes: Sequence[NDArray[Any]], given: Facts) -> Facts:
    """Complete the facts of channel `c`: given ones first, then read, then estimated.

    Parameters
    ----------
    planes : arrays (..., y, x) in the stack's type
        Pieces of the channel.
    given : Facts
        What the user said; never changed.
    """
    values = {
        name: getattr(given, name)
        for name in ("gain", "offset", "read_noise", "saturation", "background", "white", "noise",
                     "na", "wavelength", "n_immersion", "n_sample")
    }  # fmt: skip
    facts = Facts(origins=given.origins).completed("given", **values)
    facts = facts.completed(
        "read",
        na=stack.optics.na,
        n_immersion=stack.optics.n_immersion,
        n_sample=stack.optics.n_sample,
        wavelength=stack.channels[c].emission,
    )
    counts = [np.asarray(plane, np.float32) for plane in planes]
    finite = np.concatenate(
        [a[np.isfinite(a)].ravel() for a in counts] or [np.zeros(1, np.float32)]
    )
    if finite.size == 0:
        finite = np.zeros(1, np.float32)
    saturation = saturation_of(planes)
    if saturation is not None and facts.saturation is None:
        facts = facts.completed("estimated", saturation=saturation)
    return facts.completed(
        "estimated",
        # Colour photographs have no camera offset left; blacks are black.
        background=0.0 if stack.rgb else estimate_background(counts),
        white=float(np.percentile(finite, 99.9)),
        noise=estimate_noise(counts),
    )


def saturation_of(planes: Sequence[NDArray[Any]]) -> float | None:
    """Find the count at which the camera was full, from a pile of pixels at a full scale.

    Only integers can tell; of them only a pile at the very top that stands out from the counts
    just below counts as saturation.
    """
    if not planes or planes[0].dtype.kind not in "ui":
        return None
    top = max(int(plane.max()) for plane in planes if plane.size)
    if top not in FULL_SCALES:
        return None
    pixels = sum(plane.size for plane in planes)
    full = sum(int((plane == top).sum()) for plane in planes)
    near = sum(int(((plane < top) & (plane >= 0.98 * top)).sum()) for plane in planes)
    # 2 % of the range below full scale hold fewer pixels than full scale itself.
    return float(top) if full > max(CLIPPED * pixels, 4) and full > near else None
