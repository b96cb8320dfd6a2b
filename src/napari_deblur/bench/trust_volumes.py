"""Volumes whose kernels are judged: small ones, right and wrong kernels for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import torch

from napari_deblur import ops
from napari_deblur.bench.blind_scenes import Volume
from napari_deblur.kernel_comparison import ncc
from napari_deblur.methods._judging_copies import stretched
from napari_deblur.psfs.gaussian import Gaussian

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]

__all__ = ["SEEDS", "SOLID", "Even", "planted_solid"]

# Of the scenes: the limit was set on those of the first.
SEEDS = (3, 4)
SHAPE, REACH = (24, 64, 64), (31, 35, 35)
SIZE = (0.35, 0.12, 0.12)
# Nearly right: so many times as wide. Wrong: across, along.
NEARLY = (0.95, 1.05)
ACROSS, ALONG = (0.7, 1.4), (0.6, 1.6)
# Another depth, in µm.
OTHER = 6.0


@dataclass(frozen=True)
class Even(Volume):
    """A volume as a confocal microscope sees it: its kernel is a Gaussian, in voxels."""

    sigma: tuple[float, float] = (1.5, 1.5)

    def __str__(self) -> str:
        z, across = self.sigma
        return f"{self.thing}, Gaussian of {z:g} and {across:g} px, {self.peak:g} photons"

    @cached_property
    def true(self) -> Tensor:
        """The kernel that the volume was blurred with."""
        return _gaussian(*self.sigma)


def _deep(thing: str, peak: float, depth: float) -> Volume:
    return Volume(thing, peak, depth, 1.38, SHAPE, REACH, SEEDS[0], 10.0, SIZE)


def _even(thing: str, peak: float, z: float, across: float) -> Even:
    return Even(thing, peak, 0.0, 1.38, SHAPE, REACH, SEEDS[0], 10.0, SIZE, (z, across))


SOLID = (
    _deep("mixed", 300, 6.0),
    _deep("filaments", 300, 0.0),
    _deep("blobs", 300, 6.0),
    _deep("beads", 100, 6.0),
    _even("mixed", 300, 1.5, 1.5),
    _even("filaments", 100, 2.0, 1.2),
    _even("blobs", 300, 1.5, 1.5),
    _deep("mixed", 100, 0.0),
)


def planted_solid(volume: Volume) -> Iterator[tuple[str, Tensor]]:
    """Give kernels that are nearly right, and wrong, for a volume, with what is wrong in each."""
    true = volume.true.numpy()
    for f in NEARLY:
        yield f"{f:g} × as wide", _stretched(true, (f, f, f))
    for f in ACROSS:
        yield f"{f:g} × across", _stretched(true, (1.0, f, f))
    for f in ALONG:
        yield f"{f:g} × along", _stretched(true, (f, 1.0, 1.0))
    if isinstance(volume, Even):
        yield "other family", volume.psf(OTHER)
        return
    yield "other depth", volume.psf(0.0 if volume.depth else OTHER)
    yield "turned over", torch.from_numpy(true[::-1].copy())
    grid = product((1.0, 1.5, 2.0, 3.0, 4.0), (0.7, 1.0, 1.4, 2.0, 3.0, 4.5))
    every = [_gaussian(z, across) for z, across in grid]
    yield "other family", max(every, key=lambda one: ncc(one.numpy(), true))


def _stretched(kernel: Array, factors: tuple[float, float, float]) -> Tensor:
    made = torch.from_numpy(ops.reshaped(stretched(kernel, factors), kernel.shape))
    return ops.normalised(made)


def _gaussian(z: float, across: float) -> Tensor:
    made = Gaussian((z, across, across))(REACH, (1.0, 1.0, 1.0))
    return torch.from_numpy(made.at().copy())
