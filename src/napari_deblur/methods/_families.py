"""Families of kernels that a search tries: a model of the catalogue with a few free numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Facts, Kernel

__all__ = ["Family", "Free", "families_of", "given"]

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
Arguments = Callable[["Tensor"], "dict[str, Tensor]"]

# Zernike coefficients, in waves: what a decent lens and sample have, root mean square.
USUAL = 0.05
# Noll's numbers of the modes beside defocus (4), which is its own parameter.
MODES = tuple(range(5, 12))
# Of samples whose index is not known: between water and tissue.
N_SAMPLE = 1.38
# Grids of a search: values of one number, and of each of two.
FINE, COARSE = 12, 4
# A Gaussian is the blur of a confocal microscope; where it is a widefield one nobody may have said.
HANDICAP = 0.1


@dataclass(frozen=True)
class Free:
    """A free number: its range, the step that a search begins with, and what is usual."""

    name: str
    low: float
    high: float
    step: float
    usual: float | None = None


@dataclass(frozen=True)
class Family:
    """Kernels of one model, as a function of its free numbers.

    `kernel` gives ([z,] y, x) of sum 1, differentiable. `grid` are the values that a search tries
    first, each with one number for every free one; lengths in µm. With a `handicap` it must gain
    that share more than others to be taken: what is known of the optics speaks against it.
    """

    name: str
    model: Any
    free: tuple[Free, ...]
    grid: tuple[tuple[float, ...], ...]
    shape: Triple
    pixel_size: Size
    arguments: Arguments
    handicap: float = 0.0

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the free numbers."""
        return tuple(one.name for one in self.free)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Least and largest values of the free numbers."""
        return tuple((one.low, one.high) for one in self.free)

    def kernel(self, values: Tensor) -> Tensor:
        """Make the kernel of values (k,)."""
        made: Tensor = self.model.tensor(self.shape, self.pixel_size, **self.arguments(values))
        return made[0] if self.shape[0] == 1 else made

    def unusual(self, values: Tensor) -> Tensor:
        """Give how unusual the values are, in nats: a normal distribution where one is known."""
        import torch

        parts = [
            (value / one.usual).square() / 2
            for value, one in zip(values, self.free, strict=True)
            if one.usual is not None
        ]
        return torch.stack(parts).sum() if parts else torch.zeros(())


def families_of(
    shape: Triple, pixel_size: Size | None, facts: Facts, names: Sequence[str] = ()
) -> list[Family]:
    """Give the families that suit a kernel's shape and what is known of the optics.

    Parameters
    ----------
    shape : (z, y, x)
    pixel_size : (z, y, x) in µm, or None: lengths are then in pixels
    facts : Facts
        With `na` and `wavelength` the families of a lens are tried.
    names : of families; all that are possible when empty

    Raises
    ------
    ValueError
        When a name is none, or needs optics that are not known.
    """
    size = pixel_size or (1.0, 1.0, 1.0)
    lens = pixel_size is not None and facts.na is not None and facts.wavelength is not None
    makers: Mapping[str, Callable[[], Family]]
    if shape[0] == 1:
        makers = {"gaussian": lambda: _gaussian(shape, size), "disc": lambda: _disc(shape, size)}
        if lens:
            makers = {**makers, "pupil": lambda: _pupil(shape, size, facts)}
    else:
        makers = {"gaussian": lambda: _gaussian_solid(shape, size, HANDICAP if lens else 0.0)}
        if lens:
            makers = {**makers, "gibson-lanni": lambda: _gibson_lanni(shape, size, facts)}
    for name in names:
        if name not in makers:
            need = {"pupil": 1, "gibson-lanni": 3}
            why = (
                "needs na, wavelength and the voxel size"
                if name in need and not lens
                else f"suits no kernel of shape {shape}"
            )
            raise ValueError(f'the family "{name}" {why}: there are {", ".join(makers)}')
    return [make() for name, make in makers.items() if not names or name in names]


def given(kernel: Kernel, shape: Triple, pixel_size: Size | None) -> Family:
    """Give a family of one kernel, with an extra blur across."""
    size = pixel_size or (1.0, 1.0, 1.0)
    return Family(
        "given",
        _Given(kernel),
        (Free("blur", 0.02 * size[2], 4 * size[2], 0.3 * size[2]),),
        tuple((float(b) * size[2],) for b in (0.02, 0.6, 1.0, 1.5, 2.2)),
        shape,
        size,
        lambda v: {"blur": v[0]},
    )


@dataclass(frozen=True, eq=False)
class _Given:
    """A kernel that the user gave, as a model: fitted to a shape, and blurred."""

    kernel: Kernel

    def tensor(self, shape: Triple, pixel_size: Size, *, blur: Tensor) -> Tensor:
        import torch

        from napari_deblur import ops

        array = torch.from_numpy(ops.reshaped(self.kernel.at(), shape))
        made = array
        for axis in (1, 2):
            n = shape[axis]
            sigma = blur / pixel_size[axis]
            at = torch.arange(n)[:, None] - torch.arange(n)[None]
            edges = torch.stack([at - 0.5, at + 0.5]) / (2**0.5 * sigma)
            low, high = torch.special.erf(edges)
            made = torch.movedim(torch.tensordot((high - low) / 2, made, ([1], [axis])), 0, axis)
        return made / made.sum()


def _gaussian(shape: Triple, size: Size) -> Family:
    import torch

    from napari_deblur.psfs.gaussian import Gaussian

    low, high = 0.3 * size[2], max(shape[1:]) / 5 * size[2]
    return Family(
        "gaussian",
        Gaussian(),
        (Free("sigma", low, high, 0.15 * size[2]),),
        tuple((float(v),) for v in np.geomspace(0.6 * size[2], high, FINE)),
        shape,
        size,
        lambda v: {"sigma": torch.stack([torch.zeros_like(v[0]), v[0], v[0]])},
    )


def _disc(shape: Triple, size: Size) -> Family:
    from napari_deblur.psfs.disc import Disc

    high = (max(shape[1:]) / 2 - 1) * size[2]
    low = min(1.0 * size[2], high / 2)
    return Family(
        "disc",
        Disc(),
        (Free("radius", low, high, 0.25 * size[2]),),
        tuple((float(v),) for v in np.linspace(1.5 * low, 0.9 * high, FINE)),
        shape,
        size,
        lambda v: {"radius": v[0]},
    )


def _pupil(shape: Triple, size: Size, facts: Facts) -> Family:
    import torch

    from napari_deblur.psfs.pupil import Pupil

    assert facts.na is not None
    assert facts.wavelength is not None
    index = _index(facts)
    model = Pupil(na=facts.na, wavelength=facts.wavelength, n_immersion=index)
    # Rays from farther out of focus leave the kernel.
    slope = facts.na / (index**2 - facts.na**2) ** 0.5
    far = max(shape[1:]) / 2 * size[2] / slope
    depth = index * facts.wavelength / facts.na**2
    free = (
        Free("defocus", -far, far, 0.3 * depth),
        *(Free(f"zernike {j}", -0.4, 0.4, 0.05, USUAL) for j in MODES),
        Free("blur", 0.02 * size[2], 3 * size[2], 0.3 * size[2]),
    )
    heights = np.linspace(0, min(0.7 * far, 6 * depth), FINE)
    rest = (0.0,) * len(MODES)
    return Family(
        "pupil",
        model,
        free,
        tuple((float(d), *rest, 0.3 * size[2]) for d in heights),
        shape,
        size,
        lambda v: {
            "defocus": v[0],
            "zernike": torch.cat([v.new_zeros(1), v[1:-1]]),
            "blur": v[-1],
        },
    )


def _gaussian_solid(shape: Triple, size: Size, handicap: float) -> Family:
    import torch

    from napari_deblur.psfs.gaussian import Gaussian

    z, x = size[0], size[2]
    across, along = max(shape[1:]) / 5 * x, max(shape[0] / 4 * z, 0.5 * z)
    free = (
        Free("sigma across", 0.3 * x, across, 0.2 * x),
        Free("sigma along", 0.2 * z, along, 0.3 * z),
    )
    grid = [
        (float(a), float(b))
        for a in np.geomspace(0.7 * x, 0.8 * across, COARSE)
        for b in np.geomspace(0.5 * z, 0.9 * along, COARSE)
    ]
    return Family(
        "gaussian",
        Gaussian(),
        free,
        tuple(grid),
        shape,
        size,
        lambda v: {"sigma": torch.stack([v[1], v[0], v[0]])},
        handicap,
    )


def _gibson_lanni(shape: Triple, size: Size, facts: Facts) -> Family:
    from napari_deblur.psfs.gibson_lanni import GibsonLanni

    assert facts.na is not None
    assert facts.wavelength is not None
    index = _index(facts)
    sample = facts.n_sample or (N_SAMPLE if index > 1.4 or index < 1.2 else 1.36)
    model = GibsonLanni(
        na=facts.na, wavelength=facts.wavelength, n_immersion=index, n_sample=sample
    )
    free = (
        Free("depth", 0.0, 40.0, 1.5),
        Free("blur", 0.02 * size[2], 4 * size[2], 0.4 * size[2]),
    )
    depths = (0.0, 1.5, 3.0, 5.0, 7.5, 11.0, 16.0, 24.0)
    grid = (*((d, 0.3 * size[2]) for d in depths), (0.0, 1.5 * size[2]), (3.0, 1.5 * size[2]))
    return Family(
        "gibson-lanni",
        model,
        free,
        grid,
        shape,
        size,
        lambda v: {"depth": v[0], "blur": v[1]},
    )


def _index(facts: Facts) -> float:
    """Give the immersion's refractive index; air, water or oil, by the aperture, if not known."""
    if facts.n_immersion is not None:
        return facts.n_immersion
    assert facts.na is not None
    return 1.0 if facts.na < 1 else 1.33 if facts.na <= 1.2 else 1.515
