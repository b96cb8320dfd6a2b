"""Whether to believe a kernel that somebody brings, told without knowing the true one.

Four signs. The detail of the image: a kernel that lets less through than is there is wrong. Light
held out: the kernel's own relatives, narrower and wider, and Gaussians must not predict it better.
What it leaves of that light unexplained must be noise of single pixels. And the parts of the image
must not want opposite changes of its width: then the blur varies. Compared is after some more steps
than the kernel takes to its own best: after few the narrow one always predicts better, after many
the wide one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_deblur.methods._detail import RISES, SHARP, detail_of
from napari_deblur.methods._prediction import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Kernel, Sample

__all__ = ["LARGEST", "LIMITS", "SMALLEST", "Duels", "Trust", "judged", "stretched"]

Verdict = Literal["believe", "doubtful", "nothing to deblur", "not judged"]

# Light held out by this seed took no part in a search, whose seeds are 0 and 1.
SEED = 2
# Steps at most, and how many more than a kernel takes to its own best.
MOST, MORE = 40, 1.25
# What is tried beside a kernel: its own widths, times these, and Gaussians of these σ in pixels.
NARROWER, WIDER = (0.62, 0.75, 0.87), (1.15, 1.33, 1.6)
WIDTHS = (*NARROWER, 1.0, *WIDER)
# And so much narrower, both after as many steps as suit them.
OWN = 0.75
GAUSSIANS = tuple(np.geomspace(0.5, 5, 11))
# By how much these may predict better: nats, over the root of those gained over even light. Set on
# 30 planes (`bench blind --only trust`, seed 0), that of Gaussians once more on seeds 2 and 3.
# The last one tells of too wide a kernel on photographs, which have little fine detail: with 3000
# photons it was 0.09 to 2.5 for a Gaussian 1.25 times too wide (six pictures), and below 0 for the
# true one. On the planes it was up to 0.28 for right kernels (beads in dim light).
LIMITS = {"narrower": 0.0, "wider": 0.3, "gaussian": 0.2, "own": 0.35}
# And by so many nats at least: less is no evidence.
EVIDENCE = 2.0
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
# Nats that must be gained over even light, or there is nothing but noise.
CLEARLY = 5.0
# Pixels across of a Gaussian, of the smallest image that says anything, and of the largest kernel.
SIDE, SMALLEST, LARGEST = 41, 48, 121
# Samples of planes are so wide at least; a smaller one is all of its image.
SAMPLE = 144
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
    """Judge a kernel of a plane by what the image itself says: a second or two on one thread.

    Parameters
    ----------
    samples : of one channel
        The first one or two are looked at.
    kernel : Kernel
        Of several frames the first one's is judged. One of several planes is not judged. What
        holds less than 0.1 % of its light is left out.
    everywhere : bool
        Whether the kernel is meant for all of the image: then its parts must not want others.
    """
    import torch

    from napari_deblur import ops

    if kernel.shape[0] == 1 and samples:
        sides = zip(_reach(kernel.at()[0]), samples[0].tile.shape[-2:], strict=True)
        if any(n > size < SAMPLE for n, size in sides):
            return Trust("doubtful", "it is wider than the image")
    why = _unable(samples, kernel)
    if why is not None:
        return Trust("not judged", why)
    array = torch.from_numpy(_without_rim(kernel.at()[0]))
    with ops.one_thread(), torch.no_grad():
        detail = detail_of(samples[:2])
        rise, widest = (
            (-np.inf, np.inf) if detail is None else (detail.rise(array), detail.widest())
        )
        if widest < SHARP:
            return Trust(
                "nothing to deblur", "the image is as sharp as its pixels", {"widest": widest}
            )
        signs, names = _compared(samples, array, everywhere=everywhere)
    if not signs:
        return Trust("nothing to deblur", "there is nothing but noise")
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
    signs = {name: float(f"{v:.4g}") for name, v in {"rise": rise, **signs}.items() if v > -np.inf}
    if reasons:
        return Trust("doubtful", "; ".join(reasons), signs)
    return Trust("believe", "no narrower or wider one predicts held-out light better", signs)


def _unable(samples: Sequence[Sample], kernel: Kernel) -> str | None:
    """Say why nothing can be said of a kernel."""
    if kernel.at()[tuple(n // 2 for n in kernel.shape)] == 1:
        return "it is a point, and leaves the image as it is"
    if kernel.shape[0] > 1:
        return "only kernels of one plane can be"
    if max(_reach(kernel.at()[0])) > LARGEST:
        return f"it is wider than {LARGEST} pixels"
    if not samples or min(samples[0].tile.shape[-2:]) < SMALLEST:
        return f"the image is smaller than {SMALLEST} pixels"
    return None


def _reach(kernel: NDArray[np.float32]) -> tuple[int, int]:
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


def _without_rim(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut off what holds next to no light, but leave room for a kernel 1.6 times as wide."""
    from napari_deblur import ops

    lengths = (min(round(ROOM * n) // 2 * 2 + 1, LARGEST) for n in _reach(kernel))
    shape = tuple(min(n, size) for n, size in zip(lengths, kernel.shape, strict=True))
    if shape == kernel.shape:
        return kernel.copy()
    made = ops.reshaped(kernel, shape)
    made /= made.sum()
    return made


class Duels:
    """Compares kernels by how well they predict light that was held out, with one as the measure.

    Parameters
    ----------
    samples : of one channel
        The first one is looked at.
    kernel : Tensor (y, x)
    """

    def __init__(self, samples: Sequence[Sample], kernel: Tensor) -> None:
        self.light = Prediction(samples[:1], 2, seed=SEED)
        self.light.most = MOST
        self.kernel = kernel.to(self.light.kept.device)
        self.course = self.light.course(self.kernel)
        level = float(self.light.compared(self.light.level()))
        # Nats that the kernel gains over even light.
        self.gained = level * self.light.nats - min(self.course)
        best = self.course.index(min(self.course)) + 1
        self.light.steps = min(max(round(MORE * best), 5), MOST)

    @property
    def blind(self) -> bool:
        """Whether there is nothing but noise to see."""
        return self.gained < CLEARLY

    def predicted(self, other: Tensor) -> Tensor:
        """Give what another kernel predicts."""
        return self.light.predicted(other.to(self.kernel.device))

    def better(self, light: Tensor) -> float:
        """Give by how much what another kernel predicts is better, as `LIMITS` has it."""
        misfit = float(self.light.compared(light)) * self.light.nats
        return self._clear(self.course[self.light.steps - 1] - misfit)

    def better_at_best(self, other: Tensor) -> float:
        """Give the same, with each after as many steps as suit it."""
        own = self.light.course(other.to(self.kernel.device))
        return self._clear(min(self.course) - min(own))

    def colour(self) -> float:
        """Give the structure of what the kernel leaves (see `Prediction.colour`)."""
        return self.light.colour(self.light.predicted(self.kernel))

    def gaussians(self) -> dict[float, Tensor]:
        """Make Gaussians to compare with, by σ in pixels."""
        import torch

        from napari_deblur.psfs.gaussian import Gaussian

        side = min(SIDE, min(self.light.shape) // 3 * 2 + 1)
        return {
            sigma: torch.from_numpy(
                Gaussian((0.0, sigma, sigma))((1, side, side), (1.0, 1.0, 1.0)).at()[0].copy()
            )
            for sigma in GAUSSIANS
            if sigma < side / 5
        }

    def _clear(self, nats: float) -> float:
        return float((nats if nats > EVIDENCE else min(nats, 0.0)) / self.gained**0.5)


def _compared(
    samples: Sequence[Sample], array: Tensor, *, everywhere: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """Give how much better others predict held-out light, and what they are; {} if all is noise."""
    duels = Duels(samples, array)
    if duels.blind:
        return {}, {}
    seen = {f: duels.predicted(stretched(array, f)) for f in WIDTHS}
    rivals = {
        "narrower": {f"one {f:g} times as wide": seen[f] for f in NARROWER},
        "wider": {f"one {f:g} times as wide": seen[f] for f in WIDER},
        "gaussian": {
            f"a Gaussian of σ {sigma:.2g} px": duels.predicted(one)
            for sigma, one in duels.gaussians().items()
        },
    }
    signs, names = {}, {}
    for name, some in rivals.items():
        tried = {one: duels.better(other) for one, other in some.items()}
        names[name] = max(tried, key=lambda one: tried[one])
        signs[name] = tried[names[name]]
    signs["own"] = duels.better_at_best(stretched(array, OWN))
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
    quarters = [_wishes(light, seen)]
    for sample in others:
        other = Prediction([sample], 2, seed=SEED)
        other.steps = light.steps
        device = other.kept.device
        if min(other.shape) >= 2 * QUARTER:
            tried = [other.predicted(stretched(array, f).to(device)) for f in WIDTHS]
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


def stretched(kernel: Tensor, factor: float) -> Tensor:
    """Stretch a kernel (y, x) about its middle, in its shape."""
    import torch
    from scipy.ndimage import affine_transform

    from napari_deblur import ops

    middles = np.array([n // 2 for n in kernel.shape])
    made = affine_transform(kernel.numpy(), (1 / factor,) * 2, middles * (1 - 1 / factor), order=1)
    return ops.normalised(torch.from_numpy(made))
