"""Which family a blur that varies is of: each with a surface of its own.

One kernel for all is a poor start: a mixture of discs looks like a Gaussian. So several values of
each family's first parameter are tried on all samples, and its best surface over the field is what
families are compared by. Those that come near the best are fitted to the end, and then what
predicts held-out light best is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.methods._field_ascent import crops, held_of
from napari_deblur.methods._field_fit import FieldFit
from napari_deblur.methods._field_profiles import profiled
from napari_deblur.methods._field_surfaces import Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._families import Family
    from napari_deblur.methods._field_surfaces import Profiles
    from napari_deblur.protocols import Sample

__all__ = ["Candidate", "Chosen", "candidates", "chosen"]

# Values of a parameter that are tried, from this share of the smallest that a single search would
# try; after these iterations, with these weights of total variation.
VALUES, NARROWER = 11, 0.55
ITERATIONS = (9, 13, 18, 25)
WEIGHTS = (0.0, 0.06)
MOST_VOXELS = 110_000
# A fit tries values from this share of the surface's least one to so many times its largest.
MARGINS = (0.5, 1.35)
# The extra blur of a lens, in pixels: it stays the same over the field.
BLURS = (0.3, 0.9)
# Families that are looked at closely.
CLOSELY = 2


@dataclass(frozen=True, eq=False)
class Chosen:
    """A family's fit, ready to be done, and the deviance per pixel that it starts from."""

    family: Family
    fit: FieldFit
    deviance: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """A family with a surface that suits: what stays the same, and the first parameter's range.

    `misfit` is in nats.
    """

    family: Family
    start: tuple[float, ...]
    between: tuple[float, float]
    misfit: float


def chosen(
    samples: Sequence[Sample],
    families: Sequence[Family],
    size: tuple[int, int, int],
    *,
    seed: int = 0,
) -> list[Chosen]:
    """Give the families that suit planes from all over a field of `size`, best first.

    The last word has the deviance with kernels that vary, without total variation: with it, a
    Gaussian was preferred to the true disc on filaments.
    """
    found = []
    for one in candidates(samples, families, size, seed=seed):
        fit = FieldFit(samples, one.family, one.start, size, between=one.between, seed=seed)
        found.append(Chosen(one.family, fit, fit.plain()))
    return sorted(found, key=lambda one: one.deviance)


def candidates(
    samples: Sequence[Sample],
    families: Sequence[Family],
    size: tuple[int, int, int],
    *,
    seed: int = 0,
) -> list[Candidate]:
    """Try families on samples of planes all over the field; give those worth a fit, best first."""
    import torch

    held, scale = held_of(samples, seed=seed)
    parts, surface = crops(held, MOST_VOXELS), Surface(size, deep=False)
    device = samples[0].tile.device
    found: list[Candidate] = []
    for family in families:
        own = []
        for start in _starts(family):

            def kernel(value: float, start: Any = start, family: Any = family) -> Tensor:
                made: Tensor = family.kernel(torch.tensor([value, *start[1:]]))
                return made.to(device)

            for weight in WEIGHTS:
                with torch.no_grad():
                    profile = profiled(
                        parts,
                        kernel,
                        values_of(family),
                        scale=scale,
                        weight=weight,
                        iterations=ITERATIONS,
                    )
                values, misfit = _best(profile, surface)
                low, high = (m * v for m, v in zip(MARGINS, values, strict=True))
                own.append(Candidate(family, start, (low, high), misfit))
        best = min(own, key=lambda one: one.misfit)
        # The surfaces of all weights may be right: total variation hides narrow kernels.
        same = [one for one in own if one.start == best.start]
        low, high = min(o.between[0] for o in same), max(o.between[1] for o in same)
        found.append(Candidate(family, best.start, (low, high), best.misfit))
    return sorted(found, key=lambda one: one.misfit)[:CLOSELY]


def values_of(family: Family) -> NDArray[np.float64]:
    """Choose values of a family's first parameter to try, rising."""
    first = [values[0] for values in family.grid]
    low, high = min(first), max(first)
    if low <= 0:
        return np.linspace(low, high, VALUES)
    return np.geomspace(max(NARROWER * low, family.bounds[0][0]), high, VALUES)


def _starts(family: Family) -> Iterator[tuple[float, ...]]:
    """Give values of all parameters; the first one is about to vary."""
    start = family.grid[0]
    if family.name != "pupil":
        yield start
        return
    for blur in BLURS:
        yield (*start[:-1], blur * family.pixel_size[2])


def _best(profile: Profiles, surface: Surface) -> tuple[tuple[float, float], float]:
    """Give the least and largest value of the best surface, and its misfit in nats."""
    values, worse = profile.at(surface, profile.fitted(surface))
    return (float(values.min()), float(values.max())), worse / 2
