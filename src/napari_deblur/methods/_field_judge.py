"""How well a surface of a parameter predicts held-out light, with gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from napari_deblur.methods._field_ascent import ascended, deviances

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._ascent import Scale
    from napari_deblur.methods._field_surfaces import Surface
    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Blur, Sample

__all__ = ["Judge", "Table"]


@dataclass(frozen=True, eq=False)
class Table:
    """The family's kernels as modes, and their weights by the parameter's value."""

    basis: Tensor
    weights: Tensor  # (rank, values)
    low: float
    high: float

    def at(self, values: Tensor) -> Tensor:
        """Give the weights for an array of values, (rank, *values), along straight lines."""
        import torch

        last = self.weights.shape[1] - 1
        places = ((values - self.low) / (self.high - self.low) * last).clamp(0, last - 1e-4)
        below = places.detach().floor().long()
        part = places - below
        return torch.lerp(self.weights[:, below], self.weights[:, below + 1], part)


@dataclass(frozen=True, eq=False)
class Judge:
    """How well a surface predicts what was held out."""

    surface: Surface
    table: Table
    parts: Sequence[HeldOut]
    scale: Scale

    @cached_property
    def _terms(self) -> list[Tensor]:
        """The surface's terms on the object of each part."""
        return [self._terms_on(part.sample) for part in self.parts]

    def deviances(self, coefficients: Tensor, weight: float, wanted: Sequence[int]) -> Tensor:
        """Give the mean deviance after each of the wanted numbers of iterations."""
        import torch

        device = self.table.basis.device
        total, pixels = torch.zeros(len(wanted), device=device), 0
        for _, every in self.each(coefficients, weight, wanted):
            known = torch.isfinite(every[0])
            total = total + torch.stack([torch.where(known, d, 0).sum() for d in every])
            pixels += int(known.sum())
        return total / max(pixels, 1)

    def each(
        self, coefficients: Tensor, weight: float, wanted: Sequence[int]
    ) -> Iterator[tuple[HeldOut, list[Tensor]]]:
        """Give, for each part, the deviance of each pixel after the wanted numbers of steps."""
        import torch

        device = self.table.basis.device
        for part, terms in zip(self.parts, self._terms, strict=True):
            values = torch.tensordot(coefficients.to(device), terms, dims=1)
            blur = self._blur(part, values)
            steps = enumerate(ascended(part.sample, blur, self.scale, weight), 1)
            yield (
                part,
                [deviances(part, one) for n, one in islice(steps, max(wanted)) if n in wanted],
            )

    def nats(
        self, deviance: float, constant: float, weight: float, iterations: int
    ) -> dict[str, float]:
        """Say how much better a mean deviance is than others, in nats over all that was held out.

        Than the best constant's, no kernel's (as many iterations), and that of even light.
        """
        import torch

        from napari_deblur import ops
        from napari_deblur.protocols import Blur

        device = self.table.basis.device
        point = Blur(ops.delta((1,) * (self.table.basis.ndim - 1))[None].to(device))
        level, without, pixels = 0.0, 0.0, 0
        for part in self.parts:
            tile = part.sample.tile
            even = torch.where(tile.isfinite(), tile.nanmean(), torch.nan)
            *_, last = islice(ascended(part.sample, point, self.scale, weight), iterations)
            worse = deviances(part, even)
            known = torch.isfinite(worse)
            level += float(torch.where(known, worse, 0).sum(dtype=torch.float64))
            without += float(torch.where(known, deviances(part, last), 0).sum(dtype=torch.float64))
            pixels += int(known.sum())
        return {
            "nats better than the constant": (constant - deviance) * pixels / 2,
            "nats better than no kernel": (without - deviance * pixels) / 2,
            "nats better than even light": (level - deviance * pixels) / 2,
        }

    def _blur(self, part: HeldOut, values: Tensor) -> Blur:
        from napari_deblur import ops
        from napari_deblur.protocols import Blur

        weights = self.table.at(values)
        if self.surface.deep:  # the same across
            kernel = tuple(self.table.basis.shape[1:])
            wide = ops.object_shape(tuple(part.sample.tile.shape), kernel)
            weights = weights.expand(-1, *wide)
        return Blur(self.table.basis, weights)

    def _terms_on(self, sample: Sample) -> Tensor:
        import torch

        basis = self.table.basis
        shape = (1,) * (4 - basis.ndim) + tuple(basis.shape[1:])
        places = []
        for axis, ((start, stop), n) in enumerate(zip(sample.region, shape, strict=True)):
            line = torch.arange(start - (n - 1) // 2, stop + n // 2, device=basis.device).float()
            places.append(line.reshape([-1 if a == axis else 1 for a in range(3)]))
        if self.surface.deep:
            return self.surface.terms(places)
        return self.surface.terms([places[0], places[1][0], places[2][0]])
