"""How much a field of kernels gains over the best single one, where the blur varies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.bench.scenes import OBJECTS, psnr
from napari_deblur.ops.fields import field_of
from napari_deblur.protocols import Blur, Facts, KernelField, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["CASES", "Case", "DeepGaussian", "Disc", "rows"]

# Kernels between which the true one of a place is mixed, so fine that the mixing is not seen.
FINE = 81
# Single kernels of which the best, by the truth, is what a field has to beat.
OTHERS = 7


@dataclass(frozen=True)
class Disc:
    """Geometric defocus by its radius in pixels, integrated over each."""

    reach: int = 7
    name: str = "disc"
    parameters: tuple[str, ...] = ("radius",)
    bounds: tuple[tuple[float, float], ...] = ((0.5, 6.5),)

    def kernel(self, values: Tensor) -> Tensor:
        """Give the kernel (y, x) of a radius."""
        parts = 5
        n = 2 * self.reach + 1
        line = (torch.arange(n * parts) + 0.5) / parts - n / 2
        away = torch.hypot(line[:, None], line[None])
        # A rim as soft as a part of a pixel keeps it differentiable.
        inside = ((values[0] - away) * parts + 0.5).clamp(0, 1)
        kernel = inside.reshape(n, parts, n, parts).sum(dim=(1, 3))
        return kernel / kernel.sum()


@dataclass(frozen=True)
class DeepGaussian:
    """A 3-D blur that gets wider, along z twice as fast, as spherical aberration does roughly."""

    shape: tuple[int, int, int] = (15, 15, 15)
    name: str = "gaussian"
    parameters: tuple[str, ...] = ("sigma",)
    bounds: tuple[tuple[float, float], ...] = ((0.7, 2.6),)

    def kernel(self, values: Tensor) -> Tensor:
        """Give the kernel (z, y, x) of a standard deviation across; along z it is 1.3 times it."""
        kernel = torch.ones(())
        for n, factor in zip(self.shape, (1.3, 1.0, 1.0), strict=True):
            line = torch.arange(n) - n // 2
            kernel = kernel[..., None] * torch.exp(-((line / (factor * values[0])) ** 2) / 2)
        return kernel / kernel.sum()


def tilted(z: Any, y: Any, x: Any) -> Any:
    """Give 0 to 1 along a slanting direction; places go from -1 to 1."""
    return 0.5 + 0.35 * x + 0.15 * y + 0 * z


def radial(z: Any, y: Any, x: Any) -> Any:
    """Give 0 in the middle and 1 in the corners."""
    return (y * y + x * x) / 2 + 0 * z


def deep(z: Any, y: Any, x: Any) -> Any:
    """Give 0 to 1 along z."""
    return (z + 1) / 2 + 0 * y + 0 * x


@dataclass(frozen=True)
class Case:
    """A scene with a blur that varies: the object, how it varies, and between which values."""

    thing: str
    variation: str
    shape: tuple[int, ...] = (256, 256)
    values: tuple[float, float] = (1.0, 5.0)
    peak: float = 500
    background: float = 10.0
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.thing}, {self.variation}"

    @property
    def family(self) -> Any:
        """What the kernels are."""
        return DeepGaussian() if len(self.shape) == 3 else Disc()

    def truth(self, nodes: tuple[int, int, int]) -> KernelField:
        """Give the true field on a grid of nodes."""
        size = (1, *self.shape)[-3:]
        lines: list[Any] = [
            np.linspace(0, n - 1, m) if m > 1 else [(n - 1) / 2]
            for n, m in zip(size, nodes, strict=True)
        ]
        grid = np.meshgrid(*lines, indexing="ij")
        values = self._values(grid)
        kernels = torch.stack(
            [self.family.kernel(torch.tensor([float(v)])) for v in values.ravel()]
        )
        planes = kernels.shape[1:] if len(self.shape) == 3 else (1, *kernels.shape[1:])
        grid_of = kernels.numpy().reshape(*values.shape, *planes)
        return field_of(grid_of, lines, most=12, error=2e-3)

    def _values(self, grid: Any) -> NDArray[np.float64]:
        size = (1, *self.shape)[-3:]
        places = [2 * g / max(n - 1, 1) - 1 for g, n in zip(grid, size, strict=True)]
        low, high = self.values
        share = VARIATIONS[self.variation](*places)
        return np.asarray((low + (high - low) * share).clip(*self.family.bounds[0]))

    def seen(self) -> tuple[Tensor, Tensor, Facts]:
        """Give truth and counts, background included, and what is known of the camera.

        Every voxel of the object is blurred by its own kernel: far finer than any field.
        """
        random = np.random.default_rng((self.seed, *self.shape))
        low, high = self.family.bounds[0]
        fine = np.linspace(low, high, FINE)
        kernels = torch.stack([self.family.kernel(torch.tensor([float(v)])) for v in fine])
        shape = tuple(kernels.shape[1:])
        wide = ops.object_shape(self.shape, shape)
        light = torch.from_numpy(OBJECTS[self.thing](wide, random).astype(np.float32))
        lines = [np.arange(n) - (k - 1) // 2 for n, k in zip(wide, shape, strict=True)]
        grid = np.meshgrid(*([np.zeros(1)] * (3 - len(wide))), *lines, indexing="ij")
        values = torch.from_numpy(self._values(grid)).reshape(wide)
        places = (values - low) / (high - low) * (FINE - 1)
        seen = torch.zeros(self.shape)
        for i, kernel in enumerate(kernels):
            share = (1 - (places - i).abs()).clamp(min=0).float()
            if bool(share.any()):
                seen += ops.blur(light * share, Blur(kernel[None]))
        truth = ops.crop(light, Blur(kernels[:1]))
        scale = self.peak / float(truth.max())
        mean = seen.mul(scale).clamp(min=0).add(self.background).double().numpy()
        counts = random.poisson(mean).astype(np.float32)
        facts = Facts(
            gain=1.0,
            offset=0.0,
            read_noise=0.0,
            background=self.background,
            white=float(np.percentile(counts, 99.9)),
            noise=self.background**0.5,
        )
        lead = (1,) * (3 - len(self.shape))
        tile = torch.from_numpy(counts).reshape(*lead, *self.shape)
        return truth.mul(scale).add(self.background).reshape(tile.shape), tile, facts


VARIATIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "tilted": tilted,
    "radial": radial,
    "deep": deep,
}
CASES = (
    *(Case(thing, how) for thing in ("filaments", "blobs") for how in ("tilted", "radial")),
    *(Case(thing, "deep", (48, 64, 64), (0.8, 2.4)) for thing in ("filaments", "mixed")),
)


def rows(cases: tuple[Case, ...] = CASES) -> Iterator[dict[str, Any]]:
    """Restore each scene with the best single kernel, with the fitted field and with the true one.

    Yields
    ------
    dict
        ``case``; ``raw``, ``one`` (the kernel that predicts best), ``best one`` (of several, by the
        truth), ``field`` and ``true`` in dB; ``gain`` of the field over the best one; ``seconds``
        of the fit.
    """
    from napari_deblur.methods._field_fit import fit_field

    for case in cases:
        truth, tile, facts = case.seen()
        region = tuple((0, n) for n in tile.shape)
        size = (int(tile.shape[0]), int(tile.shape[1]), int(tile.shape[2]))
        sample = Sample(tile, region, 0, 0, None, facts)
        family = case.family
        begun = perf_counter()
        field = fit_field([sample], family, [sum(family.bounds[0]) / 2], size)
        seconds = perf_counter() - begun
        one = Blur(family.kernel(torch.tensor([field.report["constant"]]))[None])
        others = [
            (v, Blur(family.kernel(torch.tensor([float(v)]))[None]))
            for v in np.linspace(*case.values, OTHERS)
        ]
        exact = case.truth((33, 1, 1) if len(case.shape) == 3 else (1, 17, 17))
        found = {
            "one": _restored(tile, one, facts, region),
            **{f"one of {v:.3g}": _restored(tile, blur, facts, region) for v, blur in others},
            "field": _restored(tile, field.at(region), facts, region),
            "true": _restored(tile, exact.at(region), facts, region),
        }
        decibels = {"raw": psnr(tile, truth, case.peak)}
        decibels |= {name: psnr(image, truth, case.peak) for name, image in found.items()}
        ones = [decibels.pop(name) for name in tuple(decibels) if name.startswith("one")]
        yield {
            "case": str(case),
            **decibels,
            "one": ones[0],
            "best one": max(ones),
            "gain": decibels["field"] - max(ones),
            "seconds": seconds,
            "report": field.report,
        }


def _restored(tile: Tensor, blur: Blur, facts: Facts, region: Any) -> Tensor:
    from napari_deblur.methods.accelerated_richardson_lucy import AcceleratedRichardsonLucy

    sample = Sample(tile, region, 0, 0, blur, facts)
    return AcceleratedRichardsonLucy().resolved([sample])(tile, blur).image
