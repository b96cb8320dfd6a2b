"""Light from a point in a sample, through coverslip and immersion: what scalar and vectorial share.

The blur depends on the radius only. It is an integral over the angles in the immersion, done by
Gauss and Legendre in one product of matrices for all radii and planes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from napari_deblur.protocols import Kernel
from napari_deblur.psfs._layers import CUSP, Nodes, Values, nodes_of, wavefront
from napari_deblur.psfs._radial import bessel, blurring, radial_averages
from napari_deblur.psfs._sampling import (
    FAR,
    INDEX,
    Auto,
    Shape,
    Size,
    auto_shape,
    check_lens,
    check_names,
    check_values,
    nodes_per_pixel,
    report_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Layers"]

# Radii per period of the finest detail: cubic interpolation errs by less than 1e-3 of it.
RADII = 10
# Nodes of the integral beyond half a radian each.
NODES = 24
# By so many wavelengths rays may miss each other; a lens for oil does 80, 100 µm deep in water.
MISSED = 300


@dataclass(frozen=True, kw_only=True)
class Layers(ABC):
    """A lens, its immersion, a coverslip and a sample: the parameters of all such models."""

    na: float
    n_immersion: Annotated[float, INDEX] = 1.515
    n_sample: Annotated[float, INDEX] = 1.46
    depth: Annotated[float, {"label": "depth (µm)", "max": FAR}] = 0.0
    blur: Annotated[float, {"label": "blur (µm)", "max": FAR}] = 0.0
    coverslip: Annotated[float, {"label": "coverslip (µm)", "max": FAR}] = 170.0
    coverslip_design: Annotated[float, {"label": "coverslip, design (µm)", "max": FAR}] = 170.0
    n_coverslip: Annotated[float, INDEX] = 1.52
    n_coverslip_design: Annotated[float, INDEX] = 1.52
    n_immersion_design: float | Literal["same"] = "same"
    working_distance: Annotated[float, {"label": "working distance (µm)", "max": FAR}] = 150.0
    centre: Literal["focus", "paraxial"] = "focus"

    name: ClassVar[str]
    # All light of a plane can be told without sampling far beyond the kernel.
    light_is_known: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_lens(self.na, self.n_immersion, **self.lights)
        check_values(self, ("depth", "blur", "coverslip", "coverslip_design", "working_distance"))
        check_values(self, ("n_sample", "n_coverslip", "n_coverslip_design"), low=1.0)
        if min(self.n_coverslip, self.n_coverslip_design, self._design) <= self.na:
            raise ValueError(
                f"na is {self.na:g}: n_coverslip, n_coverslip_design and n_immersion_design must "
                "be larger, since the lens was made for light of that angle"
            )
        if self.centre not in ("focus", "paraxial"):
            raise ValueError(f'centre is "{self.centre}": it is "focus" or "paraxial"')

    @property
    def _design(self) -> float:
        same = self.n_immersion_design == "same"
        return self.n_immersion if same else float(self.n_immersion_design)

    @property
    @abstractmethod
    def lights(self) -> dict[str, float]:
        """The wavelengths in µm that the model is made of, by the names of their fields."""

    @abstractmethod
    def profile(self, values: Values, radii: NDArray[Any], heights: Tensor) -> Tensor:
        """Give the intensity, (radii, z), at radii and heights above the paraxial focus in µm."""

    def default_shape(self, pixel_size: Size, image: Shape | None = None) -> Shape:
        """Choose an odd shape (z, y, x) for `pixel_size` in µm.

        Along z up to the last plane whose middle has 1e-3 of the peak, at most ``2 * nz - 1``
        planes; across the geometric cone at the outermost plane, 5 Airy radii and 3 `blur`, at
        most the image's size (nz, ny, nx). Without an image at most 255 planes, and 17 million
        voxels.

        Raises
        ------
        ValueError
            When the layers leave no focus.
        """
        missed = self._missed()
        longest = max(self.lights.values())
        angle = np.arcsin(self.na / self.n_immersion)
        focal = longest / (self.n_immersion * (1 - np.cos(angle)))
        # By these many µm the focus is smeared where the layers are not as they should be.
        smear = missed / (self.n_immersion * (1 - np.cos(angle)))
        return auto_shape(
            pixel_size,
            image,
            axial=self._axial,
            reach=12 * focal + 2 * smear,
            slope=float(np.tan(angle)),
            airy=0.61 * longest / self.na,
            besides=3 * self.blur,
        )

    def tensor(self, shape: Shape, pixel_size: Size, **values: Tensor) -> Tensor:
        """Give the kernel in torch, differentiable: (z, y, x), float32, sum 1.

        Parameters
        ----------
        **values : Tensor
            Numbers (0-dimensional) that take the place of the fields of the same name.
        """
        planes = self.planes(shape, pixel_size, values)
        return planes / planes.sum()

    def __call__(self, shape: Shape | Auto, pixel_size: Size, image: Shape | None = None) -> Kernel:
        """Make a kernel of `shape` (z, y, x), or of `default_shape` for "auto".

        Its report says as ``left_out`` which share of the light in its planes falls beside it
        (where that takes long to find, only with "auto"); and with "auto", as
        ``axial_at_the_ends``, what is left of the peak on the axis of its first and last plane.

        Raises
        ------
        ValueError
            When the layers leave no focus: a depth of millimetres, say.
        """
        import torch

        self._missed()
        size = self.default_shape(pixel_size, image) if shape == "auto" else shape
        with torch.no_grad():
            planes = self.planes(size, pixel_size, {})
        array = planes.double().numpy()
        if shape != "auto" and not self.light_is_known:
            return Kernel(array, pixel_size, report_of(self.name, self))
        inside = array.sum() * pixel_size[1] * pixel_size[2]
        heights = (np.arange(size[0]) - size[0] // 2) * pixel_size[0]
        beside = max(0.0, 1 - float(inside / self.light_of_planes(heights, size, pixel_size)))
        if shape != "auto":
            return Kernel(array, pixel_size, report_of(self.name, self, left_out=beside))
        first, middle, last = self._axial(np.array([heights[0], 0.0, heights[-1]]))
        ends = float(max(first, last) / middle)
        report = report_of(self.name, self, left_out=beside, axial_at_the_ends=ends)
        return Kernel(array, pixel_size, report)

    def _missed(self) -> float:
        """Give by how many µm rays miss each other; ValueError if there is no focus at all."""
        missed = _excursion(self.values({}))
        waves = missed / min(self.lights.values())
        if waves > MISSED:
            raise ValueError(
                f"rays through these layers miss each other by {waves:.0f} wavelengths, so there "
                f"is no focus: depth is {self.depth:g} µm and n_sample {self.n_sample:g}, with an "
                f"immersion of {self.n_immersion:g} and a coverslip of {self.coverslip:g} µm; "
                "check these"
            )
        return missed

    def planes(self, shape: Shape, pixel_size: Size, given: Values) -> Tensor:
        """Give light per µm² in each pixel, (z, y, x)."""
        import torch

        check_names(self, given, self._continuous())
        values = self.values(given)
        step = self.step
        far = float(
            np.hypot((shape[1] // 2 + 1) * pixel_size[1], (shape[2] // 2 + 1) * pixel_size[2])
        )
        radii = np.arange(int(far / step) + 4) * step
        planes = torch.arange(shape[0], dtype=torch.float64, device=values["na"].device)
        heights = self.middle(values) + (planes - shape[0] // 2) * pixel_size[0]
        profile = self.profile(values, radii, heights)
        if "blur" in given or self.blur:
            profile = blurring(radii, values["blur"]) @ profile
        points = nodes_per_pixel(max(pixel_size[1:]), self.cutoff)
        return radial_averages(profile, shape, pixel_size, step, points)

    def _continuous(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(self) if f.name != "centre")

    def values(self, given: Values) -> Values:
        """Give all numbers as tensors of double precision on one device."""
        import torch

        device = next(iter(given.values())).device if given else torch.device("cpu")
        values = {}
        for name in self._continuous():
            value = given.get(name, getattr(self, name))
            if value == "same":
                continue
            values[name] = torch.as_tensor(value, dtype=torch.float64, device=device)
        values.setdefault("n_immersion_design", values["n_immersion"])
        return values

    @property
    def cutoff(self) -> float:
        """The highest frequency of the light, in 1/µm."""
        return sum(2 * self.na / light for light in self.lights.values())

    @property
    def step(self) -> float:
        """The distance of the radii, in µm."""
        return 1 / (RADII * self.cutoff)

    def middle(self, values: Values) -> Tensor | float:
        """Give the height of the kernel's centre above the paraxial focus."""
        if self.centre == "paraxial":
            return 0.0
        nodes = nodes_of(64, values)
        k = 2 * np.pi / max(self.lights.values())
        aberration, lift = wavefront(nodes, values)
        weights = nodes.weight * (-2 * k * aberration.imag).exp()
        weights = weights / weights.sum()
        lift = lift - (weights * lift).sum()
        return -(weights * aberration.real * lift).sum() / (weights * lift**2).sum()

    def _axial(self, distances: NDArray[Any]) -> NDArray[Any]:
        """Give the intensity on the axis at distances from the centre in µm."""
        import torch

        with torch.no_grad():
            values = self.values({})
            heights = self.middle(values) + torch.from_numpy(distances)
            found: NDArray[Any] = (
                self.profile(values, np.arange(2) * self.step, heights)[0].double().numpy()
            )
        return found

    def light_of_planes(self, heights: NDArray[Any], shape: Shape, pixel_size: Size) -> float:
        """Give all light of the planes at heights above the centre, that beside the kernel too."""
        import torch

        # A product of two blurs falls by 1/r⁶: four times as far there is nothing left.
        far = 4 * max(n * p for n, p in zip(shape[1:], pixel_size[1:], strict=True))
        radii = np.arange(int(far / self.step) + 1) * self.step
        with torch.no_grad():
            values = self.values({})
            middle = self.middle(values)
            profile = self.profile(values, radii, middle + torch.from_numpy(heights)).numpy()
        return float((profile.sum(1) * 2 * np.pi * radii).sum() * self.step)

    def wave(self, values: Values, wavelength: str, radii: NDArray[Any], heights: Tensor) -> Tensor:
        """Give the light of one wavelength, 1 per plane, at radii and heights in µm: (radii, z).

        Parameters
        ----------
        wavelength : str
            The name of the field.
        heights : Tensor
            Of the focus above the paraxial one: larger is deeper in the sample.
        """
        import torch

        k = 2 * np.pi / values[wavelength]
        nodes = nodes_of(_count(values, float(k.detach()), radii, heights), values)
        aberration, lift = wavefront(nodes, values)
        wave = torch.exp(1j * k * (aberration[:, None] + lift[:, None] * heights))
        found: Any = 0.0
        total: Any = 0.0
        for order, share, amplitude in self.field(nodes, values):
            fan = (amplitude * nodes.weight)[:, None] * wave
            waves = torch.cat([fan.real, fan.imag], dim=1).to(torch.float32)
            fans = bessel(order, radii, k * nodes.s) @ waves
            real, imaginary = fans.chunk(2, dim=1)
            found = found + share * (real**2 + imaginary**2)
            # By Parseval: the planes hold what the pupil holds.
            held = fan[:, 0].abs() ** 2 / (nodes.weight * nodes.s * nodes.c)
            total = total + share * held.sum() * 2 * np.pi / k**2
        light_found: Tensor = found / total.to(torch.float32)
        return light_found

    def field(self, nodes: Nodes, values: Values) -> list[tuple[int, float, Tensor]]:
        """Give the integrals of the wave: order of the Bessel function, share, amplitude.

        The scalar one: light is a number, and the lens is free of apodisation.
        """
        return [(0, 1.0, nodes.s * nodes.c)]


def _count(values: Values, k: float, radii: NDArray[Any], heights: Tensor) -> int:
    """Give the number of nodes that the fastest turning phase needs."""
    na, n_immersion, n_sample = (
        float(values[name].detach()) for name in ("na", "n_immersion", "n_sample")
    )
    lifted = float(heights.detach().abs().max()) * (n_immersion - np.sqrt(n_immersion**2 - na**2))
    most = NODES + k * (na * radii[-1] + lifted + _excursion(values)) / 2
    if na >= CUSP * n_sample:
        most *= 2  # their distance is up to twice as large
    return 16 * int(np.ceil(most / 16))


def _excursion(values: Values) -> float:
    """Give how much longer one ray's way is than another's where the layers don't fit, in µm."""
    still = {name: value.detach() for name, value in values.items()}
    aberration = wavefront(nodes_of(64, still), still)[0].real
    return float(aberration.max() - aberration.min())
