"""Surfaces of a parameter, and profiles: how well each cell is predicted with each value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Profiles", "Surface"]

# Values between two that were tried; steps of Adam, and its first as a share of half the range.
BETWEEN, STEPS, STEP = 20, 200, 0.05


@dataclass(frozen=True, eq=False)
class Surface:
    """Terms of a polynomial: of y and x up to the second order, or of z alone."""

    size: tuple[int, int, int]
    deep: bool

    def terms(self, places: Sequence[Tensor]) -> Tensor:
        """Give the terms, first axis, at places (z, y, x) in voxels, broadcast to each other."""
        import torch

        z, y, x = (2 * p / max(n - 1, 1) - 1 for p, n in zip(places, self.size, strict=True))
        if self.deep:
            return torch.stack([torch.ones_like(z), z, z * z])
        y, x = y + 0 * x, x + 0 * y
        return torch.stack([torch.ones_like(y), y, x, y * y, y * x, x * x])

    @property
    def count(self) -> int:
        return 3 if self.deep else 6


@dataclass(frozen=True, eq=False)
class Profiles:
    """The deviance of each cell by the parameter's value: `worse` is (values, cells)."""

    values: NDArray[Any]
    worse: NDArray[Any]
    places: Tensor

    def constant(self, count: int) -> Tensor:
        """Give the coefficients of the best value for all cells."""
        import torch

        fine, table = self._fine(BETWEEN)
        coefficients = torch.zeros(count)
        coefficients[0] = float(fine[int(table.sum(axis=1).argmin())])
        return coefficients

    def fitted(self, surface: Surface) -> Tensor:
        """Give the surface with the least sum of deviances, of descents from several starts."""
        import torch

        fine, table = self._fine(BETWEEN)
        worse = torch.from_numpy(table.T.copy()).float()  # cells, values
        worse = worse - worse.amin(dim=1, keepdim=True)
        terms = surface.terms(list(self.places.float()))
        low, high = float(fine[0]), float(fine[-1])
        half = (high - low) / 2
        first = self.constant(surface.count)
        tries = [first, self._least_squares(terms, worse, fine)]
        for term in range(1, surface.count):
            for sign in (-0.3, 0.3):
                one = first.clone()
                one[term] = sign * half
                tries.append(one)
        now = torch.stack(tries).requires_grad_()
        last = worse.shape[1] - 1
        cells = torch.arange(worse.shape[0])
        adam = torch.optim.Adam([now], lr=STEP * half)

        def sums(coefficients: Tensor) -> Tensor:
            values = coefficients @ terms
            places = (values - low) / (high - low) * last
            inside = places.clamp(0, last - 1e-3)
            below = inside.detach().floor().long()
            part = inside - below
            there = torch.lerp(worse[cells, below], worse[cells, below + 1], part)
            beyond = (places - inside).square()  # values out of bounds don't help
            return (there + beyond * worse.mean() / last).sum(dim=1)

        with torch.enable_grad():
            for step in range(STEPS):
                adam.param_groups[0]["lr"] = STEP * half * 0.985**step
                adam.zero_grad()
                torch.autograd.backward(sums(now).sum())
                adam.step()
        with torch.no_grad():
            return now[int(sums(now).argmin())].detach().clone()

    def at(self, surface: Surface, coefficients: Tensor) -> tuple[NDArray[Any], float]:
        """Give a surface's value in each cell, and the sum of the deviances there."""
        import numpy as np

        fine, table = self._fine(BETWEEN)
        values = (coefficients @ surface.terms(list(self.places.float()))).numpy()
        values = values.clip(fine[0], fine[-1])
        nearest = np.rint((values - fine[0]) / (fine[-1] - fine[0]) * (len(fine) - 1)).astype(int)
        return values, float(table[nearest, np.arange(len(nearest))].sum())

    def _fine(self, times: int) -> tuple[NDArray[Any], NDArray[Any]]:
        import numpy as np
        from scipy.interpolate import PchipInterpolator

        fine = np.linspace(self.values[0], self.values[-1], times * (len(self.values) - 1) + 1)
        return fine, PchipInterpolator(self.values, self.worse, axis=0)(fine)

    @staticmethod
    def _least_squares(terms: Tensor, worse: Tensor, fine: NDArray[Any]) -> Tensor:
        """Put a surface through the cells' best values, each as heavy as its profile is deep."""
        import torch

        best = torch.from_numpy(fine).float()[worse.argmin(dim=1)]
        depth = worse.mean(dim=1).sqrt()
        solved = torch.linalg.lstsq((terms * depth).T, (best * depth)[:, None])
        coefficients: Tensor = solved.solution[:, 0]
        return coefficients
