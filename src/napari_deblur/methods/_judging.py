"""Whether to believe a kernel that somebody brings, told without knowing the true one.

Four signs. The detail of the image: a kernel that lets less through than is there is wrong. Light
held out: the kernel's own relatives, narrower and wider, and Gaussians must not predict it better
(see `_duels`). What it leaves of that light unexplained must be noise of single pixels. And the
parts of the image must not want opposite changes of its width: then the blur varies.

Kernels of several planes have the second and the third (see `_judging_solid`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_deblur.methods._detail import RISES, SHARP, detail_of
from napari_deblur.methods._duels import CLEARLY, SEED, Duels
from napari_deblur.methods._judging_copies import best_piece, summed, summed_kernel
from napari_deblur.methods._judging_solid import LIMITS_SOLID, SMALLEST_SOLID, compared_solid
from napari_deblur.methods._prediction import SIDE, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Kernel, Sample

__all__ = ["LARGEST", "LIMITS", "SMALLEST", "Duels", "Trust", "judged", "reach_of"]

FILTERED = (
    "neighbouring pixels share their noise: the image was filtered or resampled, and light held "
    "out says less"
)

Verdict = Literal["believe", "doubtful", "nothing to deblur", "not judged"]

# What is tried beside a kernel: its own widths, times these, and Gaussians.
NARROWER, WIDER = (0.62, 0.75, 0.87), (1.15, 1.33, 1.6)
WIDTHS = (*NARROWER, 1.0, *WIDER)
# And so much narrower, both after as many steps as suit them.
OWN = 0.75
# By how much these may predict better: nats, over the root of those gained over even light. Set on
# 30 planes (`bench blind --only trust`, seed 0), that of Gaussians once more on seeds 2 and 3.
# The last one tells of too wide a kernel on photographs, which have little fine detail: with 3000
# photons it was 0.09 to 2.5 for a Gaussian 1.25 times too wide (six pictures), and below 0 for the
# true one. On the planes it was up to 0.28 for right kernels (beads in dim light).
LIMITS = {"narrower": 0.0, "wider": 0.3, "gaussian": 0.2, "own": 0.35}
# Correlation of neighbours in what is left unexplained.
COLOURED = 0.06
# By how much halves of a sample, or two samples, may want opposite changes of the width, in the
# same units, each of their quarters; and nats that speak for each quarter. Of 80 planes of one blur
# (five objects, three kernels, two amounts of light, four seeds) the largest two were 0.64 and
# 0.27. Where σ goes from 1 to 3 px within 144, and the kernel's is 1.5 or 2, 31 of 32 planes of
# filaments and actin had more than the limit, 11 of 48 others. Of quarters by themselves those of
# beads and mitochondria differed with one blur too.
VARIES, SURELY = 0.9, 5.0
# Sides of a quarter, at least, and samples whose quarters are compared.
QUARTER, PLACES = 48, 2
# The halves of a sample, by their quarters.
HALVES = (((0, 1), (2, 3)), ((0, 2), (1, 3)))
# Pixels across of the smallest image that says anything, and of the largest kernel; for a larger
# one pixels are summed.
SMALLEST, LARGEST = 48, 121
# What is left of a kernel holds so much of its light, and has room to be stretched.
ENERGY, ROOM = 0.999, 1.6


@dataclass(frozen=True)
class Trust:
    """A judgement of a kernel.

    Parameters
    ----------
    verdict : "believe", "doubtful", "nothing to deblur" or "not judged"
    why : str
        What could follow "because".
    signs : {name: number}
        ``rise`` of the object's power with the frequency (see `Detail.rise`), ``widest`` blur in
        pixels that the detail allows, how much better ``narrower``, ``wider`` kernels and a
        ``gaussian`` predict, and a narrower one if both stop where they are best (``own``), the
        ``colour`` of what is left (see `Prediction.colour`), and by how much halves of the
        image want opposite changes of the width (``varies``).
    """

    verdict: Verdict
    why: str
    signs: Mapping[str, float] = field(default_factory=dict)


def judged(samples: Sequence[Sample], kernel: Kernel, *, everywhere: bool = True) -> Trust:
    """Judge a kernel by what the image itself says: seconds on one thread.

    Parameters
    ----------
    samples : of one channel
        The first one or two are looked at. Volumes for a kernel of several planes; planes, as wide
        as the image allows or wider than the kernel, for one of one plane.
    kernel : Kernel
        Of several frames the first one's is judged. What holds less than 0.1 % of its light is
        left out.
    everywhere : bool
        Whether the kernel is meant for all of the image: then the parts of a plane must not want
        others.
    """
    import torch

    from napari_deblur import ops

    array = kernel.at()
    if array[tuple(n // 2 for n in array.shape)] == 1:
        return Trust("not judged", "it is a point, and leaves the image as it is")
    if not samples:
        return Trust("not judged", "there is nothing to judge it by")
    with ops.one_thread(), torch.no_grad():
        if array.shape[0] > 1:
            return _judged_solid(samples, array)
        return _judged_plane(samples, array[0], everywhere=everywhere)


def _judged_solid(samples: Sequence[Sample], array: NDArray[np.float32]) -> Trust:
    shape = (1, 1, *samples[0].tile.shape)[-3:]
    if any(n < least for n, least in zip(shape, SMALLEST_SOLID, strict=True)):
        smallest = " × ".join(str(n) for n in SMALLEST_SOLID)
        return Trust("not judged", f"the image is smaller than {smallest} voxels (z, y, x)")
    signs, names = compared_solid(samples, array)
    if not signs:
        return Trust("nothing to deblur", "no structure stands out from the noise")
    reasons = [
        f"{names[name]} predicts held-out light better"
        for name in names
        if signs[name] > LIMITS_SOLID[name]
    ]
    if signs["colour"] > COLOURED:
        reasons.append("what it leaves unexplained has structure")
    reasons += filtered(samples)
    return _trust(signs, reasons, "none narrower, wider, shorter, longer or more uneven along z")


def _judged_plane(
    samples: Sequence[Sample], kernel: NDArray[np.float32], *, everywhere: bool
) -> Trust:
    import torch

    reach = reach_of(kernel)
    if any(n > size for n, size in zip(reach, samples[0].tile.shape[-2:], strict=True)):
        return Trust("doubtful", "it is wider than the image")
    # Pixels are summed where the kernel would be too wide to look at.
    by = (-(-max(reach) // LARGEST),) * 2
    if min(samples[0].tile.shape[-2:]) // by[0] < SMALLEST:
        return Trust("not judged", f"the image is smaller than {SMALLEST * by[0]} pixels")
    detail = detail_of(samples[:2])
    rise, widest = -np.inf, np.inf
    if detail is not None:
        rise, widest = detail.rise(torch.from_numpy(_without_rim(kernel))), detail.widest()
    if widest < SHARP:
        return Trust("nothing to deblur", "the image is as sharp as its pixels", {"widest": widest})
    if by[0] > 1:
        # One piece of such a kernel's width is no place where one could ask for others.
        samples = [best_piece(summed(samples[0], by), (SIDE, SIDE))]
        kernel, everywhere = summed_kernel(kernel, by), False
    array = torch.from_numpy(_without_rim(kernel, LARGEST))
    signs, names = _compared(samples, array, by[0], everywhere=everywhere)
    if not signs:
        return Trust("nothing to deblur", "no structure stands out from the noise")
    reasons = [
        f"{names[name]} predicts held-out light better"
        for name, limit in LIMITS.items()
        if signs[name] > limit
    ]
    if rise > RISES:
        reasons.insert(0, "the image holds finer detail than it lets through")
    if signs["colour"] > COLOURED:
        reasons.append("what it leaves unexplained has structure")
    if signs.get("varies", 0.0) > VARIES:
        reasons.append("parts of the image want other widths: try the scope field")
    reasons += filtered(samples)
    return _trust({"rise": rise, **signs}, reasons, "no narrower or wider one")


def filtered(samples: Sequence[Sample]) -> list[str]:
    """Give the reason for doubt that an image gives whose noise is not a camera's own."""
    return [FILTERED] if any(sample.facts.colour is not None for sample in samples) else []


def _trust(signs: Mapping[str, float], reasons: Sequence[str], rivals: str) -> Trust:
    signs = {name: float(f"{v:.4g}") for name, v in signs.items() if v > -np.inf}
    if reasons:
        return Trust("doubtful", "; ".join(reasons), signs)
    return Trust("believe", f"{rivals} predicts held-out light better", signs)


def reach_of(kernel: NDArray[np.float32]) -> tuple[int, int]:
    """Give the lengths along y and x, odd, in which nearly all of a kernel's light lies."""
    lost = (1 - ENERGY) / 2 * float(kernel.sum(dtype=np.float64))
    reach = []
    for axis, n in enumerate(kernel.shape):
        line = kernel.sum(axis=1 - axis, dtype=np.float64)
        far = np.bincount(np.abs(np.arange(n) - n // 2), weights=line)
        # Light that lies farther from the middle than each distance.
        beyond = far.sum() - far.cumsum()
        reach.append(2 * int(np.argmax(beyond <= lost + 1e-12)) + 1)
    return reach[0], reach[1]


def _without_rim(kernel: NDArray[np.float32], largest: int | None = None) -> NDArray[np.float32]:
    """Cut off what holds next to no light, but leave room for a kernel 1.6 times as wide."""
    from napari_deblur import ops

    lengths = [round(ROOM * n) // 2 * 2 + 1 for n in reach_of(kernel)]
    if largest is not None:
        lengths = [min(n, largest) for n in lengths]
    shape = tuple(min(n, size) for n, size in zip(lengths, kernel.shape, strict=True))
    if shape == kernel.shape:
        return kernel.copy()
    made = ops.reshaped(kernel, shape)
    made /= made.sum()
    return made


def _compared(
    samples: Sequence[Sample], array: Tensor, pixel: int, *, everywhere: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """Give how much better others predict held-out light, and what they are; {} if all is noise.

    `pixel` says how many of the image's pixels were summed along an axis.
    """
    from napari_deblur import ops

    duels = Duels(samples, array)
    if duels.blind:
        return {}, {}
    seen = {f: duels.predicted(ops.stretched(array, f)) for f in WIDTHS}
    rivals = {
        "narrower": {f"one {f:g} times as wide": seen[f] for f in NARROWER},
        "wider": {f"one {f:g} times as wide": seen[f] for f in WIDER},
        "gaussian": {
            f"a Gaussian of σ {pixel * sigma:.2g} px": duels.predicted(one)
            for sigma, one in duels.gaussians().items()
        },
    }
    signs, names = {}, {}
    for name, some in rivals.items():
        tried = {one: duels.better(other) for one, other in some.items()}
        names[name] = max(tried, key=lambda one: tried[one])
        signs[name] = tried[names[name]]
    signs["own"] = duels.better_at_best(ops.stretched(array, OWN))
    names["own"] = f"one {OWN:g} times as wide, each after as many steps as suit it,"
    signs["colour"] = duels.colour()
    if everywhere and min(duels.light.shape) >= 2 * QUARTER:
        signs["varies"] = _varying(duels.light, samples[1:PLACES], array, list(seen.values()))
    return signs, names


def _varying(
    light: Prediction, others: Sequence[Sample], array: Tensor, seen: Sequence[Tensor]
) -> float:
    """Give by how much one place wants a narrower kernel where another wants a wider one.

    For the pair of places, halves of a sample or two samples, and the pair of widths that differ
    most: what speaks for the quarter of them that cares least.

    Parameters
    ----------
    light : Prediction
        Of the first sample.
    others : more samples
    array : Tensor (y, x)
        The kernel.
    seen : what was predicted of the first sample with the kernel in each of `WIDTHS`
    """
    from napari_deblur import ops

    quarters = [_wishes(light, seen)]
    for sample in others:
        other = Prediction([sample], 2, seed=SEED)
        other.steps = light.steps
        device = other.kept.device
        if min(other.shape) >= 2 * QUARTER:
            tried = [other.predicted(ops.stretched(array, f).to(device)) for f in WIDTHS]
            quarters.append(_wishes(other, tried))
    places = [(every[list(a)], every[list(b)]) for every in quarters for a, b in HALVES]
    places += list(combinations(quarters, 2))
    most = 0.0
    for pair in places:
        for one, other_one in (pair, pair[::-1]):
            both = np.concatenate([np.triu(-one), np.triu(other_one)])
            most = max(most, float(both.min(axis=0).max()))
    return most


def _wishes(light: Prediction, seen: Sequence[Tensor]) -> NDArray[np.float64]:
    """Give by how much each quarter is predicted better by each width (last axis) than by another.

    In nats over the root of those that are gained over even light; 0 where that is no evidence.
    """
    import torch

    made = []
    middles = [n // 2 for n in light.shape]
    for y in (slice(None, middles[0]), slice(middles[0], None)):
        for x in (slice(None, middles[1]), slice(middles[1], None)):
            part = copy(light)
            mask = torch.zeros_like(light.held)
            mask[..., y, x] = 1
            part.mask = mask if light.mask is None else mask * light.mask
            level = float(part.compared(light.level()))
            misfits = np.array([float(part.compared(one)) - level for one in seen]) * light.nats
            nats = misfits[:, None] - misfits[None]
            gained = max(-float(misfits.min()), CLEARLY)
            made.append(np.where(np.abs(nats) > SURELY, nats, 0.0) / gained**0.5)
    return np.array(made)
