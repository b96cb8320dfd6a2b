"""The search: which family, and which of its kernels, predicts held-out light best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.methods._prediction import FIRST as FIXED
from napari_deblur.methods._prediction import PRIORS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._families import Family
    from napari_deblur.methods._prediction import Prediction, Prior

__all__ = ["Fit", "Search", "check_size"]

# Of a family's grid, tried with each prior; of its starts, climbed from; steps of each climb.
TRIED, CLIMBED = 3, 3
FIRST, LAST = 8, 20
# Families of more free numbers are climbed from several starts, and for longer.
MANY = 3
# Pixels across planes in which a search has anything to see.
FEWEST = 100
# Evaluations for a volume, where a gradient costs too much.
SOLID_TRIES = 12
# Widths, over that of the best kernel at first, by which steps and prior are chosen.
WIDTHS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25)
# How many steps more than the best of these takes to its own best, and how many at least: without
# a prior, and with one.
MORE, MORE_SMOOTH = 1.75, 1.25
LEAST, LEAST_SMOOTH = 18, 8
# Objects are smooth where the widest of these predicts nearly as well as the best: within this
# share of what the kernel gains over none. It was 0.11 to 0.54 for filaments, beads and actin (30
# scenes of 1000 photons), below 0.03 for nuclei, and up to 0.12 for mitochondria.
REFUTED = 0.1
# In dim light that doesn't tell. There the prior is taken where it makes the prediction worse by no
# more than this share, or so many nats: a kernel too narrow does less harm.
HARMLESS, NATS = 0.01, 5.0


def check_size(shape: Sequence[int]) -> None:
    """Refuse images (y, x) of too few pixels to find a kernel in."""
    y, x = shape
    if y * x < FEWEST:
        raise ValueError(f"the image has {y} × {x} pixels: too few to find a kernel")


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
    """What was tried on some held-out light, with one prior for all kernels.

    With a `coarse` copy of the light, depth is looked for on that.
    """

    light: Prediction
    prior: Prior = PRIORS[0]
    coarse: Prediction | None = None

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

        Raises
        ------
        ValueError
            When the image or the kernel's shape is too small for any of them.
        """
        self._check(families)
        fits: list[Fit] = []
        settling = not starts and families[0].shape[0] == 1
        for family in sorted(families, key=lambda one: one.handicap):
            fits.append(self._found(family, starts, fits, whole=not settling))
        fits.sort(key=self._ranked(fits))
        if settling:
            self._settle(fits[0].kernel())
            # Only the best two can still be the best, and those that have a way to go.
            rest = [fit for fit in fits[2:] if len(fit.family.free) > MANY]
            fits = [
                self._fitted(fit.family, self._tried(fit.family, [values_of(fit)]))
                for fit in (*fits[:2], *rest)
            ]
            fits.sort(key=self._ranked(fits))
        return fits

    def _check(self, families: Sequence[Family]) -> None:
        check_size(self.light.shape[-2:])
        for family in families:
            if any(one.low > one.high for one in family.free):
                y, x = family.shape[1:]
                raise ValueError(
                    f"a kernel of {y} × {x} pixels leaves nothing to find: ask for a larger shape"
                )

    def _found(
        self,
        family: Family,
        starts: Sequence[Sequence[float]],
        rivals: Sequence[Fit],
        *,
        whole: bool,
    ) -> Fit:
        """Find a family's best kernel; not to the end where it has no chance, or unless `whole`."""
        from napari_deblur.methods import _depth_search as depth

        if self.coarse is not None and family.name == depth.FAMILY:
            return depth.found_on(self.coarse, self, family, starts[0] if starts else None)
        first = self._tried(family, starts)
        if family.handicap and any(rival.misfit < first[0][0] for rival in rivals):
            return Fit(family, np.array(first[0][1]), first[0][0])
        return self._fitted(family, first, whole=whole)

    def _tried(
        self, family: Family, starts: Sequence[Sequence[float]] = ()
    ) -> list[tuple[float, tuple[float, ...]]]:
        """Try a family's grid, or other values; best first."""
        return sorted(
            (self.misfit(family, values), tuple(values)) for values in starts or family.grid
        )

    def _ranked(self, fits: Sequence[Fit]) -> Callable[[Fit], float]:
        """Rank fits by their misfit; a family with a handicap must be better by that share.

        Of what the best gained over no kernel.
        """
        from napari_deblur import ops

        if not any(fit.family.handicap for fit in fits):
            return lambda fit: fit.misfit
        gained = self.of(ops.delta(tuple(fits[0].kernel().shape))) - min(f.misfit for f in fits)
        return lambda fit: fit.misfit + fit.family.handicap * max(gained, 0.0)

    def _settle(self, kernel: Tensor) -> None:
        """Choose steps and prior, by a kernel in several widths."""
        from napari_deblur import ops

        light, smooth = self.light, PRIORS[1]
        kernels = [ops.stretched(kernel, width) for width in WIDTHS]
        plain = [light.course(one, least=FIXED) for one in kernels]
        least = min(min(one) for one in plain)
        quickest = min(one.index(min(one)) + 1 for one in plain if min(one) == least)
        gained = min(light.course(ops.delta(tuple(kernel.shape)))) - least
        even = min(plain[-1]) - least < REFUTED * gained
        if light.dim:
            at = FIXED - 1
            tried = [light.course(one, smooth, least=FIXED) for one in kernels]
            worse = min(one[at] for one in tried) - min(one[at] for one in plain)
            even = worse < max(HARMLESS * gained, NATS)
        self.prior, more, fewest = PRIORS[0], MORE, LEAST
        if even:
            self.prior, more, fewest = smooth, MORE_SMOOTH, LEAST_SMOOTH
        light.steps = int(min(max(round(more * quickest), fewest), light.most))

    def _fitted(
        self, family: Family, first: list[tuple[float, tuple[float, ...]]], *, whole: bool = True
    ) -> Fit:
        tried: list[tuple[float, tuple[float, ...]]] = list(first)
        if family.shape[0] > 1:
            best = self._tried_out(family, tried)
        else:
            if len(family.free) > MANY:
                tried += self._sideways(family, [values for _, values in tried[:2]])
            best = self._climbed(family, sorted(tried), whole=whole)
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
        self, family: Family, tried: list[tuple[float, tuple[float, ...]]], *, whole: bool
    ) -> tuple[float, NDArray[np.float64]]:
        """Follow the gradient from the best starts, and from the best of these on if `whole`."""
        many = len(family.free) > MANY
        starts = tried[: CLIMBED if many else 1]
        ends = [self._climb(family, values, FIRST) for _, values in starts]
        best = min(ends, key=lambda end: end[0])
        return self._climb(family, best[1], LAST) if many and whole else best

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
