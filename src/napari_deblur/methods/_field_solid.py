"""Families of volumes as a field needs them: one number that widens a Gaussian along all axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._families import Family
    from napari_deblur.methods._field_fit import Varying

__all__ = ["tied"]

ACROSS, ALONG = "sigma across", "sigma along"


def tied(family: Family, start: Sequence[float]) -> tuple[Varying, tuple[float, ...]]:
    """Give a family of which the first number varies with depth, and values of all its numbers.

    A Gaussian's width along z grows with that across: what widens a kernel with depth, spherical
    aberration say, does so along all axes.
    """
    if family.parameters != (ACROSS, ALONG):
        return family, tuple(start)
    return _Tied(family, start[1] / start[0]), (float(start[0]),)


@dataclass(frozen=True)
class _Tied:
    """A Gaussian whose width along z is so many times that across."""

    family: Family
    ratio: float

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def parameters(self) -> tuple[str, ...]:
        return (ACROSS,)

    @property
    def bounds(self) -> Any:
        return self.family.bounds[:1]

    def kernel(self, values: Tensor) -> Tensor:
        import torch

        return self.family.kernel(torch.stack([values[0], self.ratio * values[0]]))
