"""How deep a lens looks into a sample: found on a coarse copy of a volume.

Spherical aberration is seen along the axis and far from it, not in fine detail. So pixels are
summed across: for the same time more planes and a wider field can be looked at, with more light in
each pixel. Of six scenes (three objects, 300 photons, 6 to 8 µm deep) the difference between half
the depth and the true one was 700 to 2300 nats on such a copy, and 0 to 90 on a piece of 28 × 72²
of the stack's own pixels.

Here each depth may stop at its own best, other than where the width of a blur is looked for (see
`_prediction`). After the same number of steps for all the depth came out as whatever that number
makes it: a half too small after 20, right after some 40, too large after 60.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_deblur.methods._judging_copies import summed
from napari_deblur.methods._prediction import Prediction

if TYPE_CHECKING:
    from napari_deblur.methods._families import Family
    from napari_deblur.methods._family_search import Fit, Search
    from napari_deblur.protocols import Sample

__all__ = ["FAMILY", "coarse_of", "coarser", "found_on", "least"]

# The family that has a depth.
FAMILY = "gibson-lanni"

# Of what is looked at, after pixels were summed, and of the kernel there.
LOOKED, KERNEL = (48, 48, 48), (47, 31, 31)
# Pixels across, in the finest period that the lens passes.
PERIOD = 0.9
STEPS = 70
# Extra blurs across that are tried, in pixels; the second of them also while depth is looked for.
BLURS = (0.02, 0.3, 0.6, 1.2, 2.0, 3.0)
# Values looked at between those of a grid: of depth, of blur.
NARROWED = 4, 2


def coarse_of(samples: Sequence[Sample], *, seed: int) -> Prediction | None:
    """Hold out light of a coarse copy of volumes; None where the lens is not known."""
    facts, size = samples[0].facts, samples[0].pixel_size
    if size is None or facts.na is None or facts.wavelength is None:
        return None
    wide = PERIOD * facts.wavelength / (2 * facts.na)
    by = max(1, round(wide / max(size[1:])))
    made = [coarser(sample, by) for sample in samples]
    light = Prediction(made, 3, seed=seed, limits=LOOKED)
    light.most = STEPS
    return light


def coarser(sample: Sample, by: int) -> Sample:
    """Sum `by` × `by` pixels across, and say what that makes of the camera."""
    tile = sample.tile
    while tile.ndim > 3:
        tile = tile[tile.shape[0] // 2]
    if by == 1 or min(tile.shape[1:]) < by:
        return sample
    return summed(replace(sample, tile=tile), (1, by, by))


def found_on(
    coarse: Prediction, search: Search, family: Family, start: Sequence[float] | None
) -> Fit:
    """Find the depth on a coarse copy, then the blur across on the light of a search.

    Parameters
    ----------
    start : depth and blur, or None
        To begin from, in the place of the family's grid.
    """
    import numpy as np
    import torch

    from napari_deblur.methods._family_search import Fit

    shape = (min(k, (n + 1) // 2 * 2 - 1) for k, n in zip(KERNEL, coarse.shape, strict=True))
    z, y, x = shape
    assert coarse.pixel_size is not None
    lens = replace(family, shape=(z, y, x), pixel_size=coarse.pixel_size)
    little = BLURS[1] * coarse.pixel_size[2]

    def misfit(depth: float) -> float:
        with torch.no_grad():
            # At its own best.
            return min(coarse.course(lens.kernel(torch.tensor([depth, little]))))

    deep, wide = family.free
    depths = sorted({values[0] for values in family.grid})
    blurs = [pixels * family.pixel_size[2] for pixels in BLURS]
    if start is not None:
        depth, blur = start
        depths = [0.75 * depth - 0.5, depth, 1.3 * depth + 0.5]
        blurs = [blur - wide.step, blur, blur + wide.step]
        depths = sorted({min(max(value, deep.low), deep.high) for value in depths})
        blurs = sorted({min(max(value, wide.low), wide.high) for value in blurs})
    found = least(misfit, depths, NARROWED[0])
    best = min(found, key=lambda value: found[value])
    across = least(lambda value: search.misfit(family, (best, value)), blurs, NARROWED[1])
    blur = min(across, key=lambda value: across[value])
    # How much worse other depths are the coarse copy tells.
    profile = tuple((at, across[blur] + found[at] - found[best]) for at in sorted(found))
    return Fit(family, np.array([best, blur]), across[blur], profile)


def least(
    misfit: Callable[[float], float], grid: Sequence[float], narrowed: int
) -> dict[float, float]:
    """Go up a grid until it has got worse twice; then look between, along parabolas.

    Parameters
    ----------
    misfit : of a value
    grid : ascending
    narrowed : int
        Values to look at between those of the grid.

    Returns
    -------
    dict of what was tried, and its misfit
    """
    tried: dict[float, float] = {}
    worse = 0
    for value in grid:
        tried[value] = misfit(value)
        worse = worse + 1 if tried[value] > min(tried.values()) else 0
        if worse == 2:
            break
    for _ in range(narrowed):
        at = sorted(tried)
        i = min(range(len(at)), key=lambda j: tried[at[j]])
        low, middle, high = at[max(i - 1, 0)], at[i], at[min(i + 1, len(at) - 1)]
        new = (low + high) / 2
        if low < middle < high:
            new = _vertex([(a, tried[a]) for a in (low, middle, high)])
            if abs(new - middle) < 0.05 * (high - low):
                # Right beside what is known: look into the longer side instead.
                new = middle + 0.3 * ((high if high - middle > middle - low else low) - middle)
        if new in tried:
            break
        tried[new] = misfit(new)
    return tried


def _vertex(points: Sequence[tuple[float, float]]) -> float:
    """Give where a parabola through three points, the middle one lowest, is lowest."""
    (a, fa), (b, fb), (c, fc) = points
    left, right = (b - a) * (fb - fc), (b - c) * (fb - fa)
    if left == right:
        return b
    return b - ((b - a) * left - (b - c) * right) / (2 * (left - right))
