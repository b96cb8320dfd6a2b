"""A lens with aberrations, in Zernike modes: what a search for a kernel turns its screws on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from napari_deblur.protocols import Kernel
from napari_deblur.psfs._pupils import grid, noll, waves
from napari_deblur.psfs._round import Round
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
    pixel_averages,
    pixel_nodes,
    report_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.psfs._pupils import Grid

__all__ = ["Pupil"]

# Complex numbers, of 8 bytes: what is held at once of waves, and of fields in the image.
MOST_WAVES = 2_000_000

CONTINUOUS = ("na", "wavelength", "n_immersion", "defocus", "blur", "zernike")


@dataclass(frozen=True, kw_only=True)
class Pupil:
    """A lens whose wavefront is a sum of Zernike modes, in one plane or several.

    The scalar integral over the pupil, in or out of focus. Averaged over each pixel; along the
    axis, the planes are points in z, as a camera sees them. The centre is at ``n // 2`` of each
    axis: along z that is the plane at `defocus`, and across the axis of the lens, which for coma
    is not the peak. Planes go deeper into the sample with their index.

    Parameters
    ----------
    na : float
        Numerical aperture.
    wavelength : float
        Of the light in a vacuum, in µm.
    n_immersion : float
        Refractive index of immersion and sample.
    defocus : float
        Of the plane in the middle above the focus, in µm.
    zernike : tuple of float
        Zernike coefficients in waves, root mean square over the pupil, in Noll's order from
        number 4 on: defocus, oblique and vertical astigmatism, vertical and horizontal coma,
        oblique and vertical trefoil, spherical aberration (number 11), … A lens with .07 in all
        counts as free of aberrations.
    apodisation : bool
        Brighten the pupil's edge, as a lens that obeys the sine condition does for a point that
        shines alike to all sides.
    blur : float
        An extra Gaussian blur across, standard deviation in µm. What it would bring in from
        beyond the window is left out.

    References
    ----------
    Noll, J. Opt. Soc. Am. 66, 207 (1976), doi:10.1364/JOSA.66.000207.
    Pupils of microscopes: Hanser, Gustafsson, Agard and Sedat, J. Microsc. 216, 32 (2004),
    doi:10.1111/j.0022-2720.2004.01393.x.
    """

    na: float
    wavelength: Annotated[float, {"label": "wavelength (µm)"}]
    n_immersion: Annotated[float, INDEX] = 1.515
    defocus: Annotated[float, {"label": "defocus (µm)", "min": -FAR, "max": FAR}] = 0.0
    zernike: Annotated[tuple[float, ...], {"label": "Zernike from Noll 4 (waves)"}] = ()
    apodisation: bool = True
    blur: Annotated[float, {"label": "blur (µm)", "max": FAR}] = 0.0

    def __post_init__(self) -> None:
        check_lens(self.na, self.n_immersion, wavelength=self.wavelength)
        check_values(self, ("blur",))
        if not np.isfinite([self.defocus, *self.zernike]).all():
            raise ValueError("defocus and zernike must be finite numbers")

    def default_shape(self, pixel_size: Size, image: Shape | None = None) -> Shape:
        """Choose an odd shape (z, y, x) for `pixel_size` in µm.

        Along z up to the last plane whose middle has 1e-3 of the peak, at most ``2 * nz - 1``
        planes; across the geometric cone at the outermost plane and 5 Airy radii, wider by the
        rays that aberrations, `defocus` and `blur` lead astray, at most the image's size
        (nz, ny, nx).
        """
        angle = np.arcsin(self.na / self.n_immersion)
        focal = self.wavelength / (self.n_immersion * (1 - np.cos(angle)))
        slope = float(np.tan(angle))
        bends = ((noll(4 + j)[0], abs(a)) for j, a in enumerate(self.zernike))
        astray = self.wavelength / self.na * sum(n * np.sqrt(n + 1) * a for n, a in bends)
        waves = sum(map(abs, self.zernike))
        return auto_shape(
            pixel_size,
            image,
            axial=self._axial,
            reach=focal * (12 + 6 * waves) + abs(self.defocus),
            slope=slope,
            airy=0.61 * self.wavelength / self.na,
            besides=abs(self.defocus) * slope + float(astray) + 3 * self.blur,
        )

    def tensor(self, shape: Shape, pixel_size: Size, **values: Tensor) -> Tensor:
        """Give the kernel in torch, differentiable: (z, y, x), float32, sum 1.

        Parameters
        ----------
        **values : Tensor
            Numbers (0-dimensional; `zernike` of shape (modes,)) that take the place of the fields
            of the same name.
        """
        planes = self._planes(shape, pixel_size, values)[0]
        return planes / planes.sum()

    def __call__(self, shape: Shape | Auto, pixel_size: Size, image: Shape | None = None) -> Kernel:
        """Make a kernel of `shape` (z, y, x), or of `default_shape` for "auto".

        Its report says as ``left_out`` which share of the light in its planes falls beside it, and
        with "auto", as ``axial_at_the_ends``, what is left of the peak on the axis of its first
        and last plane.
        """
        import torch

        size = self.default_shape(pixel_size, image) if shape == "auto" else shape
        with torch.no_grad():
            planes, total = self._planes(size, pixel_size, {})
        array = planes.double().numpy()
        inside = array.sum() * pixel_size[1] * pixel_size[2] / size[0]
        beside = max(0.0, 1 - float(inside / total))
        if shape != "auto":
            return Kernel(array, pixel_size, report_of("pupil", self, left_out=beside))
        half = (size[0] // 2) * pixel_size[0]
        first, middle, last = self._axial(np.array([-half, 0.0, half]))
        report = report_of(
            "pupil",
            self,
            left_out=beside,
            axial_at_the_ends=float(max(first, last) / middle),
        )
        return Kernel(array, pixel_size, report)

    def _planes(
        self, shape: Shape, pixel_size: Size, given: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Give light per µm² in each pixel, (z, y, x), and all light of a plane."""
        import torch

        check_names(self, given, CONTINUOUS)
        if not len(given.get("zernike", self.zernike)):
            numbers = {name: value for name, value in given.items() if name != "zernike"}
            return self._round.planes(shape, pixel_size, numbers), torch.ones(())
        device = next(iter(given.values())).device if given else torch.device("cpu")
        v = {
            name: given[name].to(torch.float32)
            if name in given
            else torch.tensor(getattr(self, name), dtype=torch.float32, device=device)
            for name in CONTINUOUS
        }
        nz, sides, pixels = shape[0], shape[1:], pixel_size[1:]
        many = tuple(nodes_per_pixel(p, 2 * self.na / self.wavelength) for p in pixels)
        places = Places(sides, pixels, many)
        heights = v["defocus"] + (torch.arange(nz, device=device) - nz // 2) * pixel_size[0]
        points = grid(_count(shape, pixel_size, v), v["zernike"].numel(), str(device))
        scale = v["na"] / v["wavelength"]
        sigma = v["blur"] if "blur" in given or self.blur else None
        down, across = (
            pixel_averages(n, p, m, sigma).to(device)
            for n, p, m in zip(sides, pixels, many, strict=True)
        )
        # A few planes at a time: memory.
        each = max(1, MOST_WAVES // (down.shape[1] * across.shape[1]))
        planes = []
        for first in range(0, nz, each):
            field, total = self._field(points, v, heights[first : first + each])
            light = _light(field * points.weights[..., None], points, places, scale)
            planes.append(down @ light @ across.T)
        return torch.cat(planes), total / scale.detach() ** 2

    @property
    def _round(self) -> Round:
        """The same without Zernike modes, for which there is a shorter way."""
        return Round(
            na=self.na,
            wavelength=self.wavelength,
            n_immersion=self.n_immersion,
            n_coverslip=self.n_immersion,
            n_coverslip_design=self.n_immersion,
            defocus=self.defocus,
            edge=float(self.apodisation),
            blur=self.blur,
        )

    def _field(self, points: Grid, v: dict[str, Tensor], heights: Tensor) -> tuple[Tensor, Tensor]:
        """Give the field in the pupil, (columns, rows, z), and its energy."""
        import torch

        n, na = v["n_immersion"], v["na"]
        cosine = torch.sqrt(1 - points.squares * (na / n) ** 2)
        # Without the mean of the path, so that single precision is enough.
        path = (2 * np.pi / v["wavelength"]) * n * (1 - cosine)
        phase = path[..., None] * heights
        if v["zernike"].numel():
            bent = torch.tensordot(v["zernike"], points.modes, dims=1)
            phase = phase + 2 * np.pi * bent[..., None]
        amplitude = cosine**-0.5 if self.apodisation else torch.ones_like(cosine)
        energy = (points.weights * amplitude**2).sum()
        return torch.polar(amplitude[..., None].expand_as(phase), phase), energy

    def _axial(self, distances: NDArray[Any]) -> NDArray[Any]:
        """Give the intensity on the axis at distances from the centre in µm."""
        import torch

        far = float(np.abs(distances).max())
        with torch.no_grad():
            v = {n: torch.tensor(getattr(self, n), dtype=torch.float32) for n in CONTINUOUS}
            size = _count((3, 1, 1), (far, 0.0, 0.0), v)
            points = grid(size, v["zernike"].numel(), "cpu")
            heights = v["defocus"] + torch.from_numpy(distances.astype(np.float32))
            field = self._field(points, v, heights)[0] * points.weights[..., None]
            light: NDArray[Any] = (field.sum((0, 1)).abs() ** 2).double().numpy()
        return light


@dataclass(frozen=True)
class Places:
    """Where the light is asked for: in how many pixels down and across, at how many points."""

    sides: tuple[int, int]
    pixels: tuple[float, float]
    points: tuple[int, ...]

    def at(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Give the positions in µm, down and across."""
        down, across = (
            pixel_nodes(n, pixel, points)[0].ravel()
            for n, pixel, points in zip(self.sides, self.pixels, self.points, strict=True)
        )
        return down, across


def _count(shape: Shape, pixel_size: Size, v: dict[str, Tensor]) -> int:
    """Give the number of nodes per axis that the fastest turning phase needs."""
    na, wavelength, index = (float(v[n].detach()) for n in ("na", "wavelength", "n_immersion"))
    k = 2 * np.pi / wavelength
    window = max((n // 2 + 1) * p for n, p in zip(shape[1:], pixel_size[1:], strict=True))
    height = abs(float(v["defocus"].detach())) + (shape[0] // 2) * pixel_size[0]
    waves = v["zernike"].detach().abs().cpu().numpy()
    orders = np.array([noll(4 + j)[0] for j in range(waves.size)])
    turns = (
        k * na * window
        + k * na * height * float(np.tan(np.arcsin(na / index)))
        + 2 * np.pi * float((orders * np.sqrt(orders + 1) * waves).sum())
    )
    return 8 * int(np.ceil((10 + turns / 2) / 8))


def _light(field: Tensor, points: Grid, places: Places, scale: Tensor) -> Tensor:
    """Give the light of fields in the pupil, (columns, rows, z), at places: (z, y, x)."""
    import torch

    there = []
    for part in _parts(len(points.columns), places.sides[0] * places.points[0]):
        down, across = _waves(points, places, scale, part)
        columns = torch.bmm(down, field[part])
        there.append(torch.matmul(columns.permute(2, 1, 0), across))
    whole = there[0] if len(there) == 1 else torch.stack(there).sum(0)
    return torch.view_as_real(whole).square().sum(-1)


def _parts(columns: int, down: int) -> list[slice]:
    """Cut the columns of a pupil so that the waves from one part take little memory."""
    step = max(1, MOST_WAVES // (columns * down))
    return [slice(at, min(at + step, columns)) for at in range(0, columns, step)]


def _waves(points: Grid, places: Places, scale: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    whole = part.stop - part.start == len(points.columns)
    if whole and not scale.requires_grad:
        return _kept(points, places, float(scale))
    return waves(points, *places.at(), scale, part)


@lru_cache(maxsize=16)
def _kept(points: Grid, places: Places, scale: float) -> tuple[Tensor, Tensor]:
    import torch

    return waves(points, *places.at(), torch.tensor(scale, device=points.rows.device), slice(None))
