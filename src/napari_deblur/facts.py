"""Facts of a channel: what the metadata say, what the samples show, and where each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.ops.camera import estimate_camera
from napari_deblur.ops.statistics import estimate_background, estimate_noise
from napari_deblur.protocols import Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Stack

__all__ = ["check_given", "facts_of", "saturation_of"]

# Full scale of the usual cameras.
FULL_SCALES = tuple(2**bits - 1 for bits in (8, 10, 11, 12, 14, 16))
# A single pixel at full scale may be chance or dust; this share of them is a clipped camera.
CLIPPED = 1e-5


def facts_of(stack: Stack, c: int, planes: Sequence[NDArray[Any]], given: Facts) -> Facts:
    """Complete the facts of channel `c`: given ones first, then read, then estimated.

    Gain, offset and read noise are never read: in OME-XML a detector's gain and offset are settings
    of its electronics, without a unit, and say nothing of counts. They stay None where the noise is
    not that of photons.

    Parameters
    ----------
    planes : arrays (..., y, x) in the stack's type
        Pieces of the channel.
    given : Facts
        What the user said; never changed.

    Raises
    ------
    ValueError
        When a given value makes no sense: see `check_given`.
    """
    check_given(
        gain=given.gain,
        offset=given.offset,
        read_noise=given.read_noise,
        background=given.background,
    )
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
    if not stack.rgb:  # colour photographs were developed: their noise is no longer of photons
        facts = _with_camera(facts, counts)
    return facts.completed(
        "estimated",
        # Colour photographs have no camera offset left; blacks are black.
        background=0.0 if stack.rgb else estimate_background(counts),
        white=float(np.percentile(finite, 99.9)),
        noise=estimate_noise(counts),
    )


def check_given(**values: float | None) -> None:
    """Refuse a gain, offset, read noise or background that no camera can have.

    Raises
    ------
    ValueError
        When one is not finite, the gain is not above 0, or the read noise below 0.
    """
    rules = {"gain": "counts for a photon, above 0", "read_noise": "counts, 0 or more"}
    for name, value in values.items():
        if value is None:
            continue
        small = (name == "gain" and value <= 0) or (name == "read_noise" and value < 0)
        if small or not np.isfinite(value):
            rule = rules.get(name, "a number of counts")
            raise ValueError(f"{name.replace('_', ' ')} is {value:g}: give {rule}")


def _with_camera(facts: Facts, counts: Sequence[NDArray[np.float32]]) -> Facts:
    """Estimate what is not given of gain, offset and read noise."""
    gain, offset, noise = facts.gain, facts.offset, facts.read_noise
    if None not in (gain, offset, noise):
        return facts
    full = np.inf if facts.saturation is None else facts.saturation
    # Clipped pixels have no noise.
    valid = [np.where(plane < full, plane, np.float32(np.nan)) for plane in counts]
    camera = estimate_camera(valid, gain=gain, offset=offset, read_noise=noise)
    if camera is None:
        return facts
    if noise is None:
        # Read noise makes all pixels noisier and shifts the zero down, as a smaller offset would:
        # they can't be told apart without dark frames. So it is 0, unless the offset is given.
        above = 0.0 if offset is None else max(camera.gain * (offset - camera.zero), 0.0)
        noise = float(np.sqrt(above))
    return facts.completed(
        "estimated",
        gain=camera.gain,
        offset=camera.zero + noise**2 / camera.gain,
        read_noise=noise,
        colour=camera.colour if camera.colour > 1 else None,
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
