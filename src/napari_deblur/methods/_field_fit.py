"""A blur that varies, found: one parameter of a family as a smooth surface over the field.

Every value of the parameter is tried on all of the samples at once, with one kernel everywhere,
and for each small cell it is noted how well held-out light is predicted there: its profile. The
surface with the best sum over the profiles is where Adam starts (Kingma and Ba, arXiv:1412.6980),
through all iterations of a Richardson-Lucy whose kernels vary as the surface says. Cells with
little structure have a flat profile and so no say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Protocol

from napari_deblur.methods._field_ascent import ascended, crops, deviances
from napari_deblur.methods._field_surfaces import Profiles, Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._ascent import Scale
    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Blur, KernelField, Sample

__all__ = ["Varying", "fit_field"]

# Values of the parameter that are tried, and as many of the table from which weights are read.
TRIED, TRIED_DEEP, TABLE, TABLE_DEEP = 13, 9, 33, 17
# Lengths of cells, across and along z.
CELL, CELL_PLANES = 32, 4
# The deviance of all cells together is least early, for most have the wrong kernel. But a wrong
# kernel shows late: after 6 iterations the surface of a scene was off by 1.2 px, after 25 by 0.1.
# Volumes take longer to tell wide kernels from narrow ones: after 9 to 25 iterations the wide end
# of a blur that grows with depth came out as 1.8 px instead of 2.4, after 18 to 45 as 2.2.
ITERATIONS, ITERATIONS_DEEP = (9, 13, 18, 25), (18, 30, 45)
# Weights of total variation that are tried. A wide kernel keeps noise down, which is mistaken for a
# good prediction: on smooth objects it came out 0.6 px too wide without, 0 to 0.3 px with the
# weight of the least deviance.
WEIGHTS, WEIGHTS_DEEP = (0.0, 0.02, 0.06), (0.0,)
# Steps of Adam at most, and without a gain; the first as long as this share of the range.
STEPS, STEPS_DEEP, PATIENCE, STEP = 10, 5, 3, 0.03
# Of the fit's own kernels: fewer modes do, since the last field is made anew.
MODES, MODES_ERROR = 6, 0.03
# Of that field, along each axis.
NODES, NODES_DEEP = 9, 17
# Of the light, kept to restore.
SHARE = 0.8
# Voxels of the samples that are tried with every value, and that the unrolled iterations see: the
# rest has had its say by then.
MOST_TRIED, MOST_TRIED_DEEP = 110_000, 250_000
MOST_VOXELS, MOST_VOXELS_DEEP = 70_000, 130_000


class Varying(Protocol):
    """A family of kernels, as far as the fit needs it."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its free numbers."""
        ...

    @property
    def bounds(self) -> Any:
        """Least and largest value of each."""
        ...

    def kernel(self, values: Tensor) -> Tensor:
        """Give the kernel ([z,] y, x) of parameter values (k,)."""
        ...


@dataclass(frozen=True, eq=False)
class _Table:
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


def fit_field(
    samples: Sequence[Sample],
    family: Varying,
    start: Sequence[float],
    size: tuple[int, int, int],
    *,
    parameter: str | None = None,
    pixel_size: tuple[float, float, float] | None = None,
) -> KernelField:
    """Fit one parameter of a family as a surface over the field, or along z for solid kernels.

    Parameters
    ----------
    samples : of one channel, from all over the field
    family : Varying
        Its kernels have axes (y, x), or (z, y, x) for a blur that varies with depth.
    start : floats
        Values of all its parameters; those that don't vary keep theirs.
    size : (z, y, x) of the stack
    parameter : str or None
        Which one varies; None: the first.
    pixel_size : (z, y, x) in µm, or None

    Returns
    -------
    KernelField
        With the parameter as a map. Its report says ``deviance`` of held-out light per pixel, of
        the ``constant`` that is best, and the parameter's range. A surface that predicts no better
        than the constant is left out.
    """
    import torch

    fit = _Fit(samples, family, start, size, parameter)
    with torch.no_grad():
        profiles = {weight: fit.profile(weight) for weight in fit.weights}
    best, report = fit.refined(profiles)
    return fit.field(best, report, pixel_size)


class _Fit:
    """The samples with light held out, and all that the steps share."""

    def __init__(
        self,
        samples: Sequence[Sample],
        family: Varying,
        start: Sequence[float],
        size: tuple[int, int, int],
        parameter: str | None,
    ) -> None:
        import torch

        from napari_deblur.methods._ascent import scale_of
        from napari_deblur.methods.richardson_lucy import RichardsonLucy
        from napari_deblur.ops.held_out import hold_out

        self.family, self.start = family, torch.tensor([float(v) for v in start])
        self.device = samples[0].tile.device
        self.name = family.parameters[0] if parameter is None else parameter
        self.which = family.parameters.index(self.name)
        bounds = family.bounds
        if hasattr(bounds, "keys"):
            bounds = [bounds[name] for name in family.parameters]
        self.low, self.high = (float(v) for v in bounds[self.which])
        self.scale: Scale = scale_of(samples, RichardsonLucy())
        held = hold_out(samples, share=SHARE)
        first = self.kernel(float(self.start[self.which]))
        self.ndim = first.ndim
        self.surface = Surface(size, self.ndim == 3)
        self.iterations = ITERATIONS_DEEP if self.surface.deep else ITERATIONS
        self.weights = WEIGHTS_DEEP if self.surface.deep else WEIGHTS
        self.parts = crops(held, MOST_TRIED_DEEP if self.surface.deep else MOST_TRIED)

    def kernel(self, value: float) -> Tensor:
        """Make the kernel of one value of the parameter."""
        values = self.start.clone()
        values[self.which] = value
        return self.family.kernel(values).detach().to(self.device)

    def kernels(self, values: Sequence[float]) -> NDArray[Any]:
        import numpy as np

        return np.stack([self.kernel(v).cpu().numpy() for v in values])

    def table(self, low: float, high: float) -> _Table:
        """Make the modes of the family between two values."""
        import numpy as np
        import torch

        from napari_deblur.ops.fields import modes_of

        count = TABLE_DEEP if self.surface.deep else TABLE
        kernels = self.kernels([float(v) for v in np.linspace(low, high, count)])
        basis, weights = modes_of(kernels, most=MODES, error=MODES_ERROR)
        return _Table(
            torch.from_numpy(basis).to(self.device),
            torch.from_numpy(weights.astype(np.float32)).to(self.device),
            low,
            high,
        )

    # Profiles ------------------------------------------------------------------------------------

    def profile(self, weight: float) -> Profiles:
        """Try values everywhere and note the deviance in each cell, a mean over the iterations."""
        import numpy as np
        import torch

        from napari_deblur.protocols import Blur

        tried = TRIED_DEEP if self.surface.deep else TRIED
        values = np.linspace(self.low, self.high, tried)
        every = []
        for value in values:
            blur = Blur(self.kernel(float(value))[None])
            noted = torch.cat([self._noted(part, blur, weight) for part in self.parts], dim=1)
            every.append(noted.mean(dim=0).cpu().double().numpy())
        places = torch.cat([self._centres(part.sample) for part in self.parts], dim=1)
        return Profiles(values, np.stack(every), places.cpu())

    def _noted(self, part: HeldOut, blur: Blur, weight: float) -> Tensor:
        """Give the deviance of each cell after some iterations, (iterations, cells)."""
        import torch

        steps = enumerate(ascended(part.sample, blur, self.scale, weight), 1)
        few = islice(steps, self.iterations[-1])
        return torch.stack([self._cells(part, one) for n, one in few if n in self.iterations])

    def _cells(self, part: HeldOut, predicted: Tensor) -> Tensor:
        """Sum the deviance in each cell."""
        import torch

        worse = torch.nan_to_num(deviances(part, predicted))
        for axis, length in zip((-3, -2, -1), self._lengths(worse), strict=True):
            edges = [*range(0, worse.shape[axis], length), worse.shape[axis]]
            cells = [worse.narrow(axis, a, b - a).sum(axis) for a, b in pairwise(edges)]
            worse = torch.stack(cells, axis)
        return worse.flatten()

    def _lengths(self, tile: Tensor) -> tuple[int, int, int]:
        planes = CELL_PLANES if self.ndim == 3 else 1
        nz, ny, nx = tile.shape[-3:]
        return min(planes, nz), min(CELL, ny), min(CELL, nx)

    def _centres(self, sample: Sample) -> Tensor:
        """Give the cells' centres in voxels of the stack, (3, cells)."""
        import torch

        lines = []
        for (start, stop), length in zip(sample.region, self._lengths(sample.tile), strict=True):
            edges = [*range(start, stop, length), stop]
            lines.append(torch.tensor([(a + b - 1) / 2 for a, b in pairwise(edges)]))
        return torch.stack([g.flatten() for g in torch.meshgrid(*lines, indexing="ij")])

    # Unrolled -------------------------------------------------------------------------------------

    def refined(self, profiles: Mapping[float, Profiles]) -> tuple[Tensor, dict[str, Any]]:
        """Take the best of the profiles' surfaces and descend from there.

        Returns
        -------
        coefficients : Tensor
        report : dict
        """
        import torch

        surfaces = {weight: one.fitted(self.surface) for weight, one in profiles.items()}
        table = self.table(*self._range(list(surfaces.values())))
        parts = crops(self.parts, MOST_VOXELS_DEEP if self.surface.deep else MOST_VOXELS)
        judge = _Judge(self, table, parts, [self._terms(part.sample, table) for part in parts])
        with torch.no_grad():
            each = {w: judge.deviances(one, w, self.iterations) for w, one in surfaces.items()}
            weight = min(each, key=lambda w: float(each[w].min()))
            iterations = self.iterations[int(each[weight].argmin())]

            def deviance(coefficients: Tensor) -> float:
                return float(judge.deviances(coefficients, weight, (iterations,)))

            first = min(surfaces.values(), key=deviance)
            level = profiles[weight].constant(self.surface.count)
            constant, least = deviance(level), deviance(first)
        begun, best = least, first
        now = first.clone().requires_grad_()
        adam = torch.optim.Adam([now], lr=STEP * (self.high - self.low), betas=(0.8, 0.9))
        since = 0
        for _ in range(STEPS_DEEP if self.surface.deep else STEPS):
            adam.zero_grad()
            worse = judge.deviances(now, weight, (iterations,))[0]
            since += 1
            if float(worse.detach()) < least:
                best, least, since = now.detach().clone(), float(worse.detach()), 0
            elif since > PATIENCE:
                break
            torch.autograd.backward(worse)
            adam.param_groups[0]["lr"] *= 0.85
            adam.step()
        report = {
            "deviance": least,
            "deviance of the start": begun,
            "deviance of the constant": constant,
            "constant": float(level[0]),
            "iterations": iterations,
            "total variation": weight,
        }
        if least < constant:
            return best, report
        return level, report | {"deviance": constant}

    def _range(self, starts: list[Tensor]) -> tuple[float, float]:
        """Give the values that the surfaces take, and a margin for the descent."""
        values = [self._nodes(one) for one in starts]
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
        margin = max(0.25 * (high - low), 0.08 * (self.high - self.low))
        return max(low - margin, self.low), min(high + margin, self.high)

    def _terms(self, sample: Sample, table: _Table) -> Tensor:
        """Give the surface's terms on the object of a sample."""
        import torch

        shape = (1,) * (3 - self.ndim) + tuple(table.basis.shape[1:])
        places = []
        for axis, ((start, stop), n) in enumerate(zip(sample.region, shape, strict=True)):
            line = torch.arange(start - (n - 1) // 2, stop + n // 2, device=self.device).float()
            places.append(line.reshape([-1 if a == axis else 1 for a in range(3)]))
        if self.surface.deep:
            return self.surface.terms(places)
        return self.surface.terms([places[0], places[1][0], places[2][0]])

    # Result ---------------------------------------------------------------------------------------

    def _lines(self) -> list[list[float]]:
        import numpy as np

        lines = []
        for axis, n in enumerate(self.surface.size):
            if (axis == 0) != self.surface.deep:
                lines.append([(n - 1) / 2])
            else:
                count = min(n, NODES_DEEP if self.surface.deep else NODES)
                lines.append([float(v) for v in np.linspace(0, n - 1, count)])
        return lines

    def _nodes(self, coefficients: Tensor) -> Tensor:
        """Give the parameter at the nodes, (nz, ny, nx)."""
        import torch

        z, y, x = torch.meshgrid(*(torch.tensor(line) for line in self._lines()), indexing="ij")
        values: Tensor = torch.tensordot(coefficients, self.surface.terms([z, y, x]), dims=1)
        return values.clamp(self.low, self.high)

    def field(
        self,
        coefficients: Tensor,
        found: Mapping[str, Any],
        pixel_size: tuple[float, float, float] | None,
    ) -> KernelField:
        """Make the field of a surface."""
        from napari_deblur.ops.fields import field_of

        values = self._nodes(coefficients).double().numpy()
        kernels = self.kernels([float(v) for v in values.ravel()])
        planes = kernels.shape[1:] if self.ndim == 3 else (1, *kernels.shape[1:])
        report = {
            "family": self.family.name,
            "parameter": self.name,
            "values": dict(zip(self.family.parameters, self.start.tolist(), strict=True)),
            "range": [float(values.min()), float(values.max())],
            **found,
            "coefficients": [float(v) for v in coefficients],
        }
        return field_of(
            kernels.reshape(*values.shape, *planes),
            self._lines(),
            maps={self.name: values},
            pixel_size=pixel_size,
            report=report,
        )


@dataclass(frozen=True, eq=False)
class _Judge:
    """How well a surface predicts what was held out."""

    fit: _Fit
    table: _Table
    parts: Sequence[HeldOut]
    terms: Sequence[Tensor]

    def deviances(self, coefficients: Tensor, weight: float, wanted: Sequence[int]) -> Tensor:
        """Give the mean deviance after each of the wanted numbers of iterations."""
        import torch

        device = self.table.basis.device
        total, pixels = torch.zeros(len(wanted), device=device), 0
        for part, terms in zip(self.parts, self.terms, strict=True):
            values = torch.tensordot(coefficients.to(device), terms, dims=1)
            blur = self._blur(part, values)
            steps = enumerate(ascended(part.sample, blur, self.fit.scale, weight), 1)
            kept = [one for n, one in islice(steps, max(wanted)) if n in wanted]
            every = [deviances(part, one) for one in kept]
            known = torch.isfinite(every[0])
            total = total + torch.stack([torch.where(known, d, 0).sum() for d in every])
            pixels += int(known.sum())
        return total / max(pixels, 1)

    def _blur(self, part: HeldOut, values: Tensor) -> Blur:
        from napari_deblur import ops
        from napari_deblur.protocols import Blur

        weights = self.table.at(values)
        if self.fit.surface.deep:  # the same across
            kernel = tuple(self.table.basis.shape[1:])
            wide = ops.object_shape(tuple(part.sample.tile.shape), kernel)
            weights = weights.expand(-1, *wide)
        return Blur(self.table.basis, weights)
