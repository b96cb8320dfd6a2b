"""The search: which family, and which of its kernels, predicts held-out light best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.methods._prediction import PRIORS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._families import Family
    from napari_deblur.methods._prediction import Prediction, Prior

__all__ = ["Fit", "Search"]

# Of a family's grid, tried with each prior; of its starts, climbed from; steps of each climb.
TRIED, CLIMBED = 3, 3
FIRST, LAST = 8, 20
# Evaluations for a volume, where a gradient costs too much.
SOLID_TRIES = 12
# Nats by which another prior than none must be better.
CLEARLY = 10.0


@dataclass(frozen=True, eq=False)
class Fit:
    """A family's best kernel.

    `misfit` is in nats, over all that was held out, with what is unusual in the values added; less
    is better. `profile` are the values of the first free number that were tried, with the misfit.
    """

    family: Family
    values: NDArray[np.float64]
    misfit: float
    profile: tuple[tuple[float, float], ...] = ()

    def kernel(self) -> Tensor:
        """Make the kernel ([z,] y, x)."""
        import torch

        with torch.no_grad():
            return self.family.kernel(torch.tensor(self.values, dtype=torch.float32))

    def named(self) -> dict[str, float]:
        """Give the free numbers by name; lengths in µm, or in pixels where these have no size."""
        names = self.family.parameters
        return {n: float(f"{v:.4g}") for n, v in zip(names, self.values, strict=True)}


def values_of(fit: Fit) -> tuple[float, ...]:
    """Give a fit's values as plain numbers."""
    return tuple(float(v) for v in fit.values)


@dataclass(eq=False)
class Search:
    """What was tried on some held-out light, with one prior for all kernels."""

    light: Prediction
    prior: Prior = PRIORS[0]

    def misfit(self, family: Family, values: Sequence[float], prior: Prior | None = None) -> float:
        """Give the misfit of a family's kernel, in nats."""
        import torch

        with torch.no_grad():
            at = torch.tensor(list(values), dtype=torch.float32)
            deviance = float(self.light.deviance(family.kernel(at), prior or self.prior))
            return deviance * self.light.nats + float(family.unusual(at))

    def of(self, kernel: Tensor) -> float:
        """Give the misfit of any kernel."""
        import torch

        with torch.no_grad():
            return float(self.light.deviance(kernel, self.prior)) * self.light.nats

    def best(self, families: Sequence[Family], starts: Sequence[Sequence[float]] = ()) -> list[Fit]:
        """Find the best kernel of each family, best family first.

        `starts` are values of the only family to begin from, in the place of its grid.
        """
        first = {
            family.name: sorted(
                (self.misfit(family, values), tuple(values)) for values in starts or family.grid
            )
            for family in families
        }
        if not starts and families[0].shape[0] == 1:  # the grid of a volume is too coarse for it
            self.prior = self._prior_of(families, first)
            if self.prior != PRIORS[0]:
                first = {
                    family.name: sorted(
                        (self.misfit(family, values), values)
                        for _, values in first[family.name][: 2 * TRIED]
                    )
                    for family in families
                }
        fits = [self._fitted(family, first[family.name]) for family in families]
        fits.sort(key=self._ranked(fits))
        if not starts and self._settle(fits[0]):
            # Only the best two can still be the best.
            again = [
                self._fitted(
                    fit.family, [(self.misfit(fit.family, values_of(fit)), values_of(fit))]
                )
                for fit in fits[:2]
            ]
            fits = sorted(again, key=self._ranked(again))
        return fits

    def _ranked(self, fits: Sequence[Fit]) -> Callable[[Fit], float]:
        """Rank fits by their misfit; a family with a handicap must be better by that share.

        Of what the best gained over no kernel.
        """
        from napari_deblur import ops

        if not any(fit.family.handicap for fit in fits):
            return lambda fit: fit.misfit
        gained = self.of(ops.delta(tuple(fits[0].kernel().shape))) - min(f.misfit for f in fits)
        return lambda fit: fit.misfit + fit.family.handicap * max(gained, 0.0)

    def _settle(self, fit: Fit) -> bool:
        """Choose the number of steps by the best fit; tell whether it changed."""
        import torch

        before = self.light.steps
        with torch.no_grad():
            self.light.settle([fit.kernel()])
        return self.light.steps != before

    def _prior_of(
        self,
        families: Sequence[Family],
        first: dict[str, list[tuple[float, tuple[float, ...]]]],
    ) -> Prior:
        """Take the prior under which the best kernels of the grids predict best."""

        def least(prior: Prior) -> float:
            if prior == PRIORS[0]:
                return min(tried[0][0] for tried in first.values())
            return min(
                self.misfit(family, values, prior)
                for family in families
                for _, values in first[family.name][:TRIED]
            )

        # A little better is no sign: on filaments, where none is right, it was up to 7 nats.
        first_prior, *others = PRIORS
        best = min(others, key=least)
        return best if least(best) < least(first_prior) - CLEARLY else first_prior

    def _fitted(self, family: Family, first: list[tuple[float, tuple[float, ...]]]) -> Fit:
        tried: list[tuple[float, tuple[float, ...]]] = list(first)
        if family.shape[0] > 1:
            best = self._tried_out(family, tried)
        else:
            if len(family.free) > 3:
                tried += self._sideways(family, [values for _, values in tried[:2]])
            best = self._climbed(family, sorted(tried))
        profile = {round(values[0], 6): misfit for misfit, values in sorted(tried, reverse=True)}
        profile[round(float(best[1][0]), 6)] = best[0]
        return Fit(family, best[1], best[0], tuple(sorted(profile.items())))

    def _sideways(
        self, family: Family, starts: Sequence[tuple[float, ...]]
    ) -> list[tuple[float, tuple[float, ...]]]:
        """Try each number but the first and the last to both sides of some starts."""
        tried = []
        for values in starts:
            for j in range(1, len(values) - 1):
                for sign in (-1, 1):
                    moved = list(values)
                    moved[j] += sign * 1.4 * family.free[j].step
                    tried.append((self.misfit(family, moved), tuple(moved)))
        return tried

    def _climbed(
        self, family: Family, tried: list[tuple[float, tuple[float, ...]]]
    ) -> tuple[float, NDArray[np.float64]]:
        """Follow the gradient from the best starts, and from the best of these to the end."""
        many = len(family.free) > 3
        starts = tried[: CLIMBED if many else 1]
        ends = [self._climb(family, values, FIRST) for _, values in starts]
        best = min(ends, key=lambda end: end[0])
        return self._climb(family, best[1], LAST) if many else best

    def _climb(
        self, family: Family, values: Sequence[float] | NDArray[np.float64], steps: int
    ) -> tuple[float, NDArray[np.float64]]:
        import torch
        from scipy.optimize import minimize

        scale = np.array([one.step for one in family.free])

        def both(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            at = torch.tensor(scaled * scale, dtype=torch.float32, requires_grad=True)
            loss = self.light.deviance(family.kernel(at), self.prior) * self.light.nats
            loss = loss + family.unusual(at)
            (slope,) = torch.autograd.grad(loss, at)
            return float(loss.detach()), slope.double().numpy() * scale

        found = minimize(
            both,
            np.clip(values, *np.transpose(family.bounds)) / scale,
            jac=True,
            method="L-BFGS-B",
            bounds=[(a / s, b / s) for (a, b), s in zip(family.bounds, scale, strict=True)],
            options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-7, "gtol": 1e-2},
        )
        return float(found.fun), found.x * scale

    def _tried_out(
        self, family: Family, tried: list[tuple[float, tuple[float, ...]]]
    ) -> tuple[float, NDArray[np.float64]]:
        """Look around the best of a grid without gradients: a simplex of Nelder and Mead."""
        from scipy.optimize import minimize

        scale = np.array([one.step for one in family.free])
        low, high = np.transpose(family.bounds) / scale

        def one(scaled: NDArray[np.float64]) -> float:
            values = tuple(np.clip(scaled, low, high) * scale)
            misfit = self.misfit(family, values)
            tried.append((misfit, values))
            return misfit

        start = np.clip(np.array(tried[0][1]) / scale, low, high)
        corners = [start]
        for j in range(len(start)):
            corner = start.copy()
            corner[j] += 1 if corner[j] + 1 <= high[j] else -1
            corners.append(corner)
        minimize(
            one,
            start,
            method="Nelder-Mead",
            options={
                "maxfev": SOLID_TRIES,
                "xatol": 0.05,
                "fatol": 0.5,
                "initial_simplex": np.array(corners),
            },
        )
        misfit, values = min(tried)
        return misfit, np.array(values)
