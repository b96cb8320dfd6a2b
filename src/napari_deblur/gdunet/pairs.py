"""Training batches from images of the same place, once blurred and once sharp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from napari_deblur.gdunet.holes import HOLES, filled
from napari_deblur.gdunet.physics import inner
from napari_deblur.gdunet.scene import extended
from napari_deblur.gdunet.synthesis import EDGES, Batch, Recipe, default_kernel
from napari_deblur.ops.statistics import estimate_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cut", "Pairs", "crops_of_pair", "crops_of_pairs", "gathered", "paired_batch"]

# Of the sharp image's deviation: below it there is nothing in a crop to learn from.
FLAT = 0.03
# Standard deviations of the blur between the two, in pixels, that are tried.
BLURS = (0.0, *(2 ** (k / 4) for k in range(-2, 14)))
# Pixels at the edge that aren't compared: what lies beyond blurs into them.
EDGE = 16


class Cut(NamedTuple):
    """A crop of a pair: blurred, sharp, and the deviation of the blurred one's dim pixels."""

    seen: NDArray[np.float32]
    sharp: NDArray[np.float32]
    noise: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """Crops of pairs.

    Parameters
    ----------
    seen, sharp : arrays, shape (count, side, side)
        The blurred ones between 0 and about 1; the sharp ones on the same scale.
    noise : array, shape (count,)
        Standard deviation of dim pixels of the blurred ones.
    """

    seen: NDArray[np.float32]
    sharp: NDArray[np.float32]
    noise: NDArray[np.float32]


def crops_of_pairs(
    images: Iterable[tuple[NDArray[Any], NDArray[Any]]], side: int, each: int, seed: int
) -> Pairs:
    """Cut crops from pairs (blurred, sharp) of arrays (y, x) of one shape.

    The sharp image is scaled to the blurred one: cameras differ in gain and offset, and exposures
    in length.

    Raises
    ------
    ValueError
        When shapes differ, or no pair has a crop with structure.
    """
    cuts = [
        cut for i, pair in enumerate(images) for cut in crops_of_pair(i, pair, side, each, seed)
    ]
    if not cuts:
        raise ValueError(
            f"no pair has a crop of {side} × {side} px with structure in it: give larger images, "
            "or smaller sizes"
        )
    return gathered(cuts)


def gathered(cuts: Sequence[Cut]) -> Pairs:
    """Put crops together, of which there is at least one."""
    seen, sharp, noise = zip(*cuts, strict=True)
    return Pairs(np.stack(seen), np.stack(sharp), np.array(noise, np.float32))


def crops_of_pair(
    number: int, pair: tuple[NDArray[Any], ...], side: int, each: int, seed: int
) -> list[Cut]:
    """Cut `crops_of_pairs` of one pair of many, of each of its planes if it is (planes, y, x)."""
    blurred, clear = pair
    if blurred.shape != clear.shape:
        raise ValueError(
            f"pair {number + 1} has images of {blurred.shape} and {clear.shape} px: both must show "
            "the same place, pixel by pixel"
        )
    random = np.random.default_rng((seed, number))
    ones, others = (one.reshape(-1, *one.shape[-2:]) for one in pair)
    both = zip(ones, others, strict=True)
    return [cut for a, b in both for cut in _crops(a, b, side, each, random)]


def _crops(
    blurred: NDArray[Any],
    clear: NDArray[Any],
    side: int,
    each: int,
    random: np.random.Generator,
) -> list[Cut]:
    (blurred, missing), (clear, lacking) = filled(blurred), filled(clear)
    holes = missing | lacking
    if min(blurred.shape) < side or holes.all():
        return []
    low, high = np.percentile(blurred[~holes], (0.5, 99.9))
    if high <= low:
        return []
    one = ((blurred.astype(np.float64) - low) / (high - low)).astype(np.float32)
    gain, offset = _scale(one, clear.astype(np.float64), ~holes)
    if gain <= 0:  # nothing that is bright in both
        return []
    other = (gain * clear.astype(np.float64) + offset).astype(np.float32)
    deviation = float(estimate_noise([one]))
    cuts = []
    for _ in range(each):
        y, x = (random.integers(0, n - side + 1) for n in one.shape)
        where = np.s_[y : y + side, x : x + side]
        if other[where].std() >= FLAT and holes[where].mean() <= HOLES:
            cuts.append(Cut(one[where], other[where], deviation))
    return cuts


def _scale(
    seen: NDArray[np.float32], sharp: NDArray[np.float64], known: NDArray[np.bool_]
) -> tuple[float, float]:
    """Give gain and offset that bring the sharp image onto the scale of the blurred one.

    Compared as they are, blur passes for a lower gain: it takes contrast and leaves the light. So
    the sharp image is blurred first, by that Gaussian with which it explains the other one best.
    Both are blurred by a pixel besides, lest noise of the sharp one passes for a lower gain too.
    """
    edge = min(EDGE, min(seen.shape) // 4)
    inside = np.s_[edge : seen.shape[0] - edge, edge : seen.shape[1] - edge]
    data = gaussian_filter(seen.astype(np.float64), 1.0)[inside][known[inside]]
    best, found = np.inf, (0.0, 0.0)
    for sigma in BLURS:
        soft = gaussian_filter(sharp, np.hypot(sigma, 1.0))[inside][known[inside]]
        mean, variance = soft.mean(), soft.var()
        if not variance > 0:
            continue
        gain = float(((soft - mean) * (data - data.mean())).mean() / variance)
        offset = float(data.mean() - gain * mean)
        misfit = float(np.square(gain * soft + offset - data).mean())
        if misfit < best:
            best, found = misfit, (gain, offset)
    return found


def paired_batch(pairs: Pairs, recipe: Recipe, number: int, seed: int) -> Batch:
    """Make the batch of a number from pairs: the same for the same number and seed."""
    random = np.random.default_rng((seed, number, 1))
    chosen = random.integers(len(pairs.seen), size=recipe.count)
    room = pairs.seen.shape[-1] - recipe.side + 1
    seen: list[NDArray[np.float32]] = []
    sharp: list[NDArray[np.float32]] = []
    for one in chosen:
        y, x = random.integers(room, size=2)
        turns, flipped = int(random.integers(4)), bool(random.random() < 0.5)
        for crops, into in ((pairs.seen, seen), (pairs.sharp, sharp)):
            piece = np.rot90(crops[one, y : y + recipe.side, x : x + recipe.side], turns)
            into.append(piece[::-1] if flipped else piece)
    data, truth = (torch.from_numpy(np.stack(some).copy())[:, None] for some in (seen, sharp))
    size = (recipe.kernel, recipe.kernel)
    clean = inner(data, size)
    made_up = bool(random.random() < EDGES)
    if made_up:
        data = extended(clean, size)
    noise = torch.zeros(recipe.count, 2)
    noise[:, 1] = torch.from_numpy(pairs.noise[chosen]).square()
    first = default_kernel(recipe.count, size)
    return Batch(data, truth, clean, noise, first, first, made_up, known=False)
