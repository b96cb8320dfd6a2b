"""A field against its own relatives, narrower and wider everywhere, at places all over it.

A single kernel can be judged by others beside it (`_judging`). Where the blur varies that fails:
within 85 pixels a defocus of 1 px becomes one of 2.5, and no single kernel suits. So the field as
a whole is compared with itself, its parameter a few times as large, and how well each predicts
held-out light is summed at each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.methods._field_ascent import crops, deviances
from napari_deblur.methods._field_judge import Judge
from napari_deblur.methods._field_profiles import cells_of, centres_of

if TYPE_CHECKING:
    from napari_deblur.methods._field_fit import FieldFit
    from napari_deblur.ops.held_out import HeldOut

__all__ = ["PLACES", "Place", "places"]

# Light held out by these took no part in the fit.
OTHER = 2
# Times as large; steps at most, and how many more than the field takes to its own best.
FACTORS, FACTORS_DEEP = (0.62, 0.75, 0.87, 1.15, 1.33, 1.6), (0.7, 1.4)
MOST, MOST_DEEP, MORE = 40, 60, 1.25
VOXELS, VOXELS_DEEP = 110_000, 60_000
# Places along each axis over which a field varies.
PLACES = 3


@dataclass(frozen=True)
class Place:
    """What was seen at one place of the field.

    Parameters
    ----------
    where : (z, y, x) of 0, 1 and 2: which third of each axis
    gained : float
        Nats of the prediction over that of even light.
    better : {factor: nats}
        How much better the same field predicts with its parameter so many times as large.
    """

    where: tuple[int, int, int]
    gained: float
    better: dict[float, float]


def places(fit: FieldFit, surface: Sequence[float]) -> list[Place]:
    """Compare the field of a surface with narrower and wider ones: see `Place`."""
    import torch

    coefficients = torch.tensor([float(v) for v in surface])
    other, deep = fit.on_other_light(OTHER), fit.surface.deep
    parts = crops(other.parts, VOXELS_DEEP if deep else VOXELS)
    axes = 3 if deep else 2
    most = MOST_DEEP if deep else MOST
    centres = torch.cat([centres_of(part.sample, axes) for part in parts], dim=1).numpy()
    size = np.array(fit.surface.size)[:, None]
    thirds = np.minimum(PLACES * (centres + 0.5) // size, PLACES - 1).astype(int)
    thirds[0 if not deep else slice(1, 3)] = 1
    thirds[np.broadcast_to(size == 1, thirds.shape)] = 1

    nodes = fit.values_at_nodes(coefficients)
    low, high = float(nodes.min()), float(nodes.max())
    high = max(high, 1.01 * low + 1e-6)

    def seen(factor: float, wanted: tuple[int, ...]) -> np.ndarray:
        """Give the misfit in nats of each cell, by the number of steps."""
        moved = factor * coefficients
        judge = Judge(fit.surface, other.table(factor * low, factor * high), parts, other.scale)
        every = []
        for _, maps in judge.each(moved, 0.0, wanted):
            every.append(torch.stack([cells_of(one, axes) for one in maps]))
        return torch.cat(every, dim=1).double().cpu().numpy() / 2

    with torch.no_grad():
        steps = range(1, most + 1)
        course = seen(1.0, tuple(steps))
        best = int(course.sum(axis=1).argmin()) + 1
        taken = min(max(round(MORE * best), 5), most)
        own = course[taken - 1]
        level = np.concatenate([_even(part, axes) for part in parts])
        factors = FACTORS_DEEP if deep else FACTORS
        rivals = {factor: seen(factor, (taken,))[0] for factor in factors}
    found = []
    for where in sorted({(int(z), int(y), int(x)) for z, y, x in thirds.T}):
        here = (thirds == np.array(where)[:, None]).all(axis=0)
        gained = float((level - own)[here].sum())
        better = {factor: float((own - worse)[here].sum()) for factor, worse in rivals.items()}
        found.append(Place(where, gained, better))
    return found


def _even(part: HeldOut, axes: int) -> np.ndarray:
    """Give the misfit of even light in each cell, in nats."""
    import torch

    tile = part.sample.tile
    even = torch.where(tile.isfinite(), tile.nanmean(), torch.nan)
    return cells_of(deviances(part, even), axes).double().cpu().numpy() / 2
