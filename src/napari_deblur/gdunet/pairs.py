"""Training batches from images of the same place, once blurred and once sharp."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur.gdunet.network import extended
from napari_deblur.gdunet.physics import inner
from napari_deblur.gdunet.synthesis import EDGES, Batch, Recipe, default_kernel
from napari_deblur.ops.statistics import estimate_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pairs", "crops_of_pairs", "paired_batch"]

# Of the sharp image's deviation: below it there is nothing in a crop to learn from.
FLAT = 0.03


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

    The sharp image is scaled to the blurred one by least squares: cameras differ in gain and
    offset, and exposures in length.

    Raises
    ------
    ValueError
        When shapes differ, or no pair has a crop with structure.
    """
    seen, sharp, noise = [], [], []
    for i, (blurred, clear) in enumerate(images):
        if blurred.shape != clear.shape:
            raise ValueError(
                f"pair {i + 1} has images of {blurred.shape} and {clear.shape} px: both must show "
                "the same place, pixel by pixel"
            )
        if min(blurred.shape) < side:
            continue
        low, high = np.percentile(blurred, (0.5, 99.9))
        if high <= low:
            continue
        one = ((blurred.astype(np.float64) - low) / (high - low)).astype(np.float32)
        gain, offset = np.polyfit(clear.ravel().astype(np.float64), one.ravel(), 1)
        other = (gain * clear.astype(np.float64) + offset).astype(np.float32)
        deviation = estimate_noise([one])
        random = np.random.default_rng((seed, i))
        for _ in range(each):
            y, x = (random.integers(0, n - side + 1) for n in one.shape)
            where = np.s_[y : y + side, x : x + side]
            if other[where].std() >= FLAT:
                seen.append(one[where])
                sharp.append(other[where])
                noise.append(deviation)
    if not seen:
        raise ValueError(
            f"no pair has a crop of {side} × {side} px with structure in it: give larger images, "
            "or smaller sizes"
        )
    return Pairs(np.stack(seen), np.stack(sharp), np.array(noise, np.float32))


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
