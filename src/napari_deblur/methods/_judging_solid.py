"""Whether the image speaks for a kernel of several planes.

As for one plane, kernels much like it must not predict light better that was held out: narrower and
wider ones, across and along z, and those that are less or more uneven along z, as a lens makes them
at another depth. A small copy of the volume will do (see `_judging_copies`): what a lens does deep
in a sample is seen along the axis and far from it, not in fine detail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.methods._duels import SEED, Duels
from napari_deblur.methods._judging_copies import (
    best_piece,
    cut,
    inside,
    stretched,
    summed,
    summed_kernel,
)
from napari_deblur.methods._prediction import PRIORS, Prediction, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Sample

__all__ = ["LIMITS_SOLID", "SMALLEST_SOLID", "compared_solid", "rivals"]

# Voxels of what is looked at, after pixels were summed, and of the kernel there.
PIECE, KERNEL = (32, 32, 32), (35, 31, 31)
# The smallest image that says anything.
SMALLEST_SOLID = (8, 32, 32)
# Pixels are summed until so many hold so much of the kernel's light.
NEAR, ENERGY = (27, 21, 21), 0.8
# A kernel that keeps so much of its light when it is cut has lost none.
ENOUGH = 0.98
# Across, sums of so many do no harm.
ACROSS = 2
# Pixels that stay across the piece at least.
LEAST = 24

# What is tried beside a kernel: so many times as wide across, along z, and as uneven along z.
WIDTHS = {"narrower": (0.7, 0.85), "wider": (1.2, 1.4)}
LENGTHS = {"shorter": (0.65, 0.8), "longer": (1.25, 1.55)}
SKEW = 1.5
# How far from even a kernel is along z, as a share of its root mean square, before it is turned.
UNEVEN = 0.05
# By how much these may predict better: nats, over the root of those gained over even light. Set on
# eight volumes (`bench blind --only trust`, seed 3): with these 43 of 44 wrong kernels are doubted,
# and none of 18 that are right or nearly so. The largest of these were 0.14 shorter (filaments in
# dim light), 0.07 longer, 0.02 others; the least of wrong ones 0.12. A measured kernel that is
# turned over and added to itself has less noise: 0.10 for the mean of beads of a microscope.
LIMITS_SOLID = {
    "narrower": 0.065,
    "wider": 0.065,
    "shorter": 0.2,
    "longer": 0.075,
    "turned": 0.15,
    "uneven": 0.065,
}


class _HazyLight(Prediction):
    """The best piece of a volume with light held out; kernels may have been cut.

    The light that a kernel has lost comes from afar: `haze` of it everywhere, as a share of the
    light that the volume has in the mean.
    """

    def __init__(self, whole: Sample, haze: float) -> None:
        from napari_deblur.ops.statistics import background_of

        piece = best_piece(whole, PIECE)
        super().__init__([piece], 3, seed=SEED, limits=PIECE)
        background = float(background_of([whole]))
        here, all_over = (float(one.tile.nanmean()) - background for one in (piece, whole))
        self.clear = self.dark
        self.haze = haze * self.start * min(max(all_over / max(here, 1e-6), 0.0), 1.0)

    def level(self) -> Tensor:
        self.dark = self.clear
        return super().level()

    def _predictions(
        self, kernel: Tensor, prior: Prior = PRIORS[0], *, only: int | None = None
    ) -> Iterator[Tensor]:
        self.dark = self.clear + max(1 - float(kernel.sum()), 0.0) * self.haze
        yield from super()._predictions(kernel, prior, only=only)


def compared_solid(
    samples: Sequence[Sample], kernel: NDArray[np.float32]
) -> tuple[dict[str, float], dict[str, str]]:
    """Give how much better others predict held-out light, and what they are; {} if all is noise.

    Parameters
    ----------
    samples : of one channel
        The first one is looked at.
    kernel : array (z, y, x)
    """
    by = binning(kernel, samples[0].tile.shape)
    whole, small = summed(samples[0], by), summed_kernel(kernel, by)
    found = _compared(whole, small, 0.0)
    # How much light comes from afar is not known: what speaks against a kernel must do so whether
    # there is none or as much as anywhere. With none, two of three volumes deep in a sample would
    # have had their own kernels doubted: wider ones have more light where they are cut. With as
    # much the third.
    if _largest(found) > 1 and float(cut(small, KERNEL).sum()) < ENOUGH:
        found = min(found, _compared(whole, small, 1.0), key=_largest)
    return found


def _largest(found: tuple[dict[str, float], dict[str, str]]) -> float:
    """Give the largest sign, in units of its limit."""
    signs, names = found
    return max((signs[name] / LIMITS_SOLID[name] for name in names), default=-np.inf)


def _compared(
    whole: Sample, kernel: NDArray[np.float32], haze: float
) -> tuple[dict[str, float], dict[str, str]]:
    duels = Duels([], cut(kernel, KERNEL), light=_HazyLight(whole, haze))
    if duels.blind:
        return {}, {}
    signs: dict[str, float] = {}
    names: dict[str, str] = {}
    for sign, name, rival in rivals(kernel):
        better = duels.either(cut(rival, KERNEL))
        if better > signs.get(sign, -np.inf):
            signs[sign], names[sign] = better, name
    signs["colour"] = duels.colour()
    return signs, names


def rivals(kernel: NDArray[np.float32]) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Give kernels to compare with: the sign that each is for, what it is, and itself."""
    for sign, factors in WIDTHS.items():
        for f in factors:
            yield sign, f"one {f:g} times as wide", stretched(kernel, (1.0, f, f))
    for sign, factors in LENGTHS.items():
        for f in factors:
            yield sign, f"one {f:g} times as long along z", stretched(kernel, (f, 1.0, 1.0))
    turned = kernel[::-1].copy()
    if kernel.shape[0] % 2 == 0:  # the middle stays where it is
        turned = np.concatenate([np.zeros_like(kernel[:1]), turned[:-1]])
    if np.square(kernel - turned).sum() > UNEVEN**2 * np.square(kernel).sum():
        yield "turned", "one that is turned over along z", turned
        even = np.asarray((kernel + turned) / 2, np.float32)
        yield "turned", "one that is even along z", even
    for f, where in ((SKEW, "after"), (1 / SKEW, "before")):
        yield "uneven", f"one that reaches further {where} the focus", _skewed(kernel, f)


def binning(kernel: NDArray[np.float32], image: Sequence[int]) -> tuple[int, int, int]:
    """Give how many voxels are summed along z, y and x, for most of the kernel to be looked at."""
    peaks = [kernel.max(axis=tuple(b for b in range(3) if b != axis)) for axis in range(3)]
    wide = [int((line >= line.max() / 2).sum()) for line in peaks]
    across, along = 1, 1
    most = min(max(ACROSS, min(wide[1:])), min(image[-2:]) // LEAST)
    while across < most and inside(kernel, (None, NEAR[1] * across, NEAR[2] * across)) < ENERGY:
        across += 1
    most = min(wide[0] // 2, image[-3] // SMALLEST_SOLID[0])
    while along < most and inside(kernel, (NEAR[0] * along, None, None)) < ENERGY:
        along += 1
    return along, across, across


def _skewed(kernel: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Make a kernel longer along z after its middle plane and shorter before it."""
    from napari_deblur import ops

    after, before = (stretched(kernel, (f, 1.0, 1.0)) for f in (factor, 1 / factor))
    n = max(after.shape[0], before.shape[0])
    after, before = (ops.reshaped(one, (n, *one.shape[1:])) for one in (after, before))
    # Each plane keeps its light: stretching has divided it by the factor.
    made = np.concatenate([before[: n // 2] / factor, after[n // 2 :] * factor])
    return np.asarray(made / made.sum(dtype=np.float64), np.float32)
