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

from napari_deblur.methods._field_ascent import crops
from napari_deblur.methods._field_judge import Judge, Table
from napari_deblur.methods._field_profiles import profiled
from napari_deblur.methods._field_surfaces import Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._ascent import Scale
    from napari_deblur.methods._field_surfaces import Profiles
    from napari_deblur.protocols import KernelField, Sample

__all__ = ["Varying", "fit_field"]

# Values of the parameter that are tried, and as many of the table from which weights are read.
TRIED, TRIED_DEEP, TABLE, TABLE_DEEP = 13, 9, 33, 17
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
# Of the light, kept to restore: no more than tells kernels from each other after so few iterations.
# With 800 photons kept, and other bounds, a disc of 0.9 to 5.1 px came out as 1.4 to 2.4; so as 1.3
# to 5.0. On soft bodies with a radial defocus it costs 1.6 dB, though.
SHARE, PHOTONS = 0.8, 150
# Values that are tried: from this share of the one that is best everywhere, to so many times that.
NARROWEST, WIDEST = 0.2, 3.0
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
        if self.low >= 0:  # a length: far from the typical one it is none of this field
            typical = float(self.start[self.which])
            self.low = max(self.low, NARROWEST * typical)
            self.high = min(self.high, WIDEST * typical)
        self.scale: Scale = scale_of(samples, RichardsonLucy())
        facts = samples[0].facts
        share = SHARE
        if facts.gain is not None and facts.white is not None:
            light = (facts.white - self.scale.background) / facts.gain
            share = min(share, PHOTONS / max(light, 1.0))
        held = hold_out(samples, share=share)
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

        tried = TRIED_DEEP if self.surface.deep else TRIED
        return profiled(
            self.parts,
            self.kernel,
            np.linspace(self.low, self.high, tried),
            scale=self.scale,
            weight=weight,
            iterations=self.iterations,
        )

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
        judge = Judge(self.surface, table, parts, self.scale)
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
