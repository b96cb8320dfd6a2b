"""A blur that varies, found: one parameter of a family as a smooth surface over the field.

Every value of the parameter is tried on all of the samples at once, with one kernel everywhere,
and for each small cell it is noted how well held-out light is predicted there: its profile. The
surface with the best sum over the profiles is where Adam starts (Kingma and Ba, arXiv:1412.6980),
through all iterations of a Richardson-Lucy whose kernels vary as the surface says. Cells with
little structure have a flat profile and so no say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from napari_deblur.methods._field_ascent import crops, held_of
from napari_deblur.methods._field_judge import Judge, Table
from napari_deblur.methods._field_profiles import profiled
from napari_deblur.methods._field_surfaces import Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._field_surfaces import Profiles
    from napari_deblur.protocols import KernelField, Sample

__all__ = ["FieldFit", "Varying", "fit_field"]

# Values of the parameter that are tried, and as many of the table from which weights are read.
TRIED, TRIED_DEEP, TABLE, TABLE_DEEP = 13, 9, 33, 17
# Weights of total variation that are tried, and the iterations after which a prediction is judged.
# Without: the deviance of all cells together is least early, for most have the wrong kernel. But a
# wrong kernel shows late: after 6 iterations the surface of a scene was off by 1.2 px, after 25 by
# 0.1. Volumes take longer to tell wide kernels from narrow ones: after 9 to 25 iterations the wide
# end of a blur that grows with depth came out as 1.8 px instead of 2.4, after 18 to 45 as 2.2.
# With: on smooth objects a wide kernel keeps noise down, which is mistaken for a good prediction.
# Gaussians that suit a defocus of 0.5 to 2.5 px (σ) came out as 1.3 to 3.2 without, as 0.6 to 2.4
# with the weight of the least deviance; more iterations make them wider again.
SCHEDULE: Mapping[float, tuple[int, ...]] = {
    0.0: (9, 13, 18, 25),
    0.05: (5, 7, 9, 13),
    0.15: (5, 7, 9, 13),
}
SCHEDULE_DEEP: Mapping[float, tuple[int, ...]] = {0.0: (18, 30, 45)}
# Steps of Adam at most, and without a gain; the first as long as this share of the range.
STEPS, STEPS_DEEP, PATIENCE, STEP = 10, 5, 3, 0.03
# Of the fit's own kernels: fewer modes do, since the last field is made anew.
MODES, MODES_ERROR = 6, 0.03
# Kernels of which that field is mixed, at equal steps of the parameter: all of them without
# negative values, which modes have. Where the background is 0, a Richardson-Lucy with six modes
# blew up after 15 iterations.
LEVELS = 8
# Nodes of that field, along each axis.
NODES, NODES_DEEP = 9, 17
# Values that are tried: from this share of the one that is best everywhere, to so many times that.
NARROWEST, WIDEST = 0.2, 3.0
# What a field must gain over the best constant, as a share of what it gains over no kernel. Of
# uniform blurs it was 0 to 0.004, of others 0.009 to 0.09, the least on soft bodies.
VARIES = 0.006
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


def fit_field(
    samples: Sequence[Sample],
    family: Varying,
    start: Sequence[float],
    size: tuple[int, int, int],
    *,
    parameter: str | None = None,
    pixel_size: tuple[float, float, float] | None = None,
    between: tuple[float, float] | None = None,
    seed: int = 0,
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
    between : (low, high) or None
        Values of the parameter that are tried; None: around the start.
    seed : int
        Of the light that is held out.

    Returns
    -------
    KernelField
        With the parameter as a map. Its report says ``deviance`` of held-out light per pixel, of
        the ``constant`` that is best, how many nats better the field is than that, than even light
        and than no kernel, and the parameter's range. A surface that predicts no better than the
        constant is left out.
    """
    fit = FieldFit(samples, family, start, size, parameter, between, seed)
    return fit.found(pixel_size)


class FieldFit:
    """The samples with light held out, and all that the steps share."""

    def __init__(
        self,
        samples: Sequence[Sample],
        family: Varying,
        start: Sequence[float],
        size: tuple[int, int, int],
        parameter: str | None = None,
        between: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        import torch

        self.family, self.start = family, torch.tensor([float(v) for v in start])
        self.device = samples[0].tile.device
        self.name = family.parameters[0] if parameter is None else parameter
        self.which = family.parameters.index(self.name)
        bounds = family.bounds
        if hasattr(bounds, "keys"):
            bounds = [bounds[name] for name in family.parameters]
        self.low, self.high = (float(v) for v in bounds[self.which])
        if between is not None:
            self.low, self.high = max(self.low, between[0]), min(self.high, between[1])
        elif self.low >= 0:  # a length: far from the typical one it is none of this field
            typical = float(self.start[self.which])
            self.low = max(self.low, NARROWEST * typical)
            self.high = min(self.high, WIDEST * typical)
        held, self.scale = held_of(samples, seed=seed)
        self.samples, self.seed, self.between = samples, seed, (self.low, self.high)
        self._profiles: dict[float, Profiles] = {}
        first = self.kernel(float(self.start[self.which]))
        self.ndim = first.ndim
        self.surface = Surface(size, self.ndim == 3)
        self.schedule = SCHEDULE_DEEP if self.surface.deep else SCHEDULE
        self.parts = crops(held, MOST_TRIED_DEEP if self.surface.deep else MOST_TRIED)

    def kernel(self, value: float) -> Tensor:
        """Make the kernel of one value of the parameter."""
        values = self.start.clone()
        values[self.which] = value
        return self.family.kernel(values).detach().to(self.device)

    def kernels(self, values: Sequence[float]) -> NDArray[Any]:
        import numpy as np

        return np.stack([self.kernel(v).cpu().numpy() for v in values])

    def table(self, low: float, high: float) -> Table:
        """Make the modes of the family between two values."""
        import numpy as np
        import torch

        from napari_deblur.ops.fields import modes_of

        count = TABLE_DEEP if self.surface.deep else TABLE
        kernels = self.kernels([float(v) for v in np.linspace(low, high, count)])
        basis, weights = modes_of(kernels, most=MODES, error=MODES_ERROR)
        return Table(
            torch.from_numpy(basis).to(self.device),
            torch.from_numpy(weights.astype(np.float32)).to(self.device),
            low,
            high,
        )

    def profile(self, weight: float) -> Profiles:
        """Try values everywhere."""
        import numpy as np

        if weight in self._profiles:
            return self._profiles[weight]
        tried = TRIED_DEEP if self.surface.deep else TRIED
        self._profiles[weight] = profiled(
            self.parts,
            self.kernel,
            np.linspace(self.low, self.high, tried),
            scale=self.scale,
            weight=weight,
            iterations=self.schedule[weight],
        )
        return self._profiles[weight]

    def plain(self) -> float:
        """Give the deviance of the best surface before any descent, without total variation."""
        import torch

        with torch.no_grad():
            one = self.profile(0.0).fitted(self.surface)
            judge = self._judge([one])
            return float(judge.deviances(one, 0.0, self.schedule[0.0]).min())

    def found(self, pixel_size: tuple[float, float, float] | None) -> KernelField:
        """Give the field of the best surface."""
        best, report = self.refined()
        return self.field(best, report, pixel_size)

    def refined(self) -> tuple[Tensor, dict[str, Any]]:
        """Take the best of the profiles' surfaces and descend from there.

        Returns
        -------
        coefficients : Tensor
        report : dict
        """
        import torch

        with torch.no_grad():
            profiles = {weight: self.profile(weight) for weight in self.schedule}
            surfaces = {weight: one.fitted(self.surface) for weight, one in profiles.items()}
            judge = self._judge(list(surfaces.values()))
            each = {w: judge.deviances(one, w, self.schedule[w]) for w, one in surfaces.items()}
            weight = min(each, key=lambda w: float(each[w].min()))
            iterations = self.schedule[weight][int(each[weight].argmin())]

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
            if now.grad is None or not bool(now.grad.isfinite().all()):
                break
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
        if least >= constant:
            best, report = level, report | {"deviance": constant}
        with torch.no_grad():
            report |= judge.nats(report["deviance"], constant, weight, iterations)
            if best is not level:
                report["agreement"] = self._agreement(best, weight)
        return best, report

    def on_other_light(self, more: int) -> FieldFit:
        """Give the same fit with other light held out."""
        return FieldFit(
            self.samples,
            self.family,
            self.start.tolist(),
            self.surface.size,
            self.name,
            self.between,
            self.seed + more,
        )

    def _agreement(self, found: Tensor, weight: float) -> float:
        """Give how alike the kernels of a surface that other light suits are: 1 if the same."""
        import torch

        again = self.on_other_light(1).profile(weight).fitted(self.surface)
        each = []
        both = (self.values_at_nodes(one).flatten() for one in (found, again))
        for pair in zip(*both, strict=True):
            one, two = (self.kernel(float(v)) for v in pair)
            each.append((one * two).sum() / (one.square().sum() * two.square().sum()).sqrt())
        return float(torch.stack(each).mean())

    def _judge(self, surfaces: list[Tensor]) -> Judge:
        parts = crops(self.parts, MOST_VOXELS_DEEP if self.surface.deep else MOST_VOXELS)
        return Judge(self.surface, self.table(*self._range(surfaces)), parts, self.scale)

    def _range(self, starts: list[Tensor]) -> tuple[float, float]:
        """Give the values that the surfaces take, and a margin for the descent."""
        values = [self.values_at_nodes(one) for one in starts]
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
        margin = max(0.25 * (high - low), 0.08 * (self.high - self.low))
        return max(low - margin, self.low), min(high + margin, self.high)

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

    def values_at_nodes(self, coefficients: Tensor) -> Tensor:
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
        import numpy as np

        from napari_deblur.protocols import KernelField

        values = self.values_at_nodes(coefficients).double().numpy()
        low, high = float(values.min()), float(values.max())
        levels = np.linspace(low, high, LEVELS if high > low else 1)
        kernels = self.kernels([float(v) for v in levels])
        kernels /= kernels.sum(axis=tuple(range(1, kernels.ndim)), keepdims=True)
        planes = kernels.shape[1:] if self.ndim == 3 else (1, *kernels.shape[1:])
        least = VARIES * max(found["nats better than no kernel"], 0.0)
        rest = dict(zip(self.family.parameters, self.start.tolist(), strict=True))
        report = {
            "family": self.family.name,
            "parameter": self.name,
            "values": rest,
            "parameters": {**rest, self.name: float(values.mean())},
            "range": [low, high],
            "bounds": [self.low, self.high],
            "varies": bool(found["nats better than the constant"] > least),
            **found,
            "coefficients": [float(v) for v in coefficients],
        }
        z, y, x = (tuple(line) for line in self._lines())
        return KernelField(
            kernels.reshape(len(levels), *planes),
            (z, y, x),
            np.stack([np.interp(values, levels, unit) for unit in np.eye(len(levels))]),
            {self.name: values},
            pixel_size,
            report,
        )
