"""Turbulence: a medium whose refractive index wavers, as air does or thick tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from napari_deblur.psfs._compact import Compact, number, odd, offsets, rule
from napari_deblur.psfs._sampling import FAR

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Turbulence"]

# The FWHM of exp(-3.44 (f w)^(5/3)) in units of w = λ / r0; and the half side, in the same unit, of
# the square that holds 99.9 % of it: from its Hankel transform. Its tails fall as r^(-11/3).
FWHM, HALF = 0.97553, 13.2
# Subpixels: the transfer function is 1e-13 at the highest frequency that they keep.
FINEST = 10.0
NARROWEST = 0.1  # pixels
# Pupil pixels for each r0, which make the field 8 times as wide as the long exposure; least number.
ACROSS, LEAST = 8, 64
SCREEN = 4  # diameters of the pupil: a phase screen repeats itself
STRONGEST = 64.0


@dataclass(frozen=True)
class Turbulence(Compact):
    """Light through a turbulent medium (Kolmogorov): its mean, or one moment of it.

    A long exposure sees the mean, which is smooth, and is centred at its middle. A short one sees
    speckles: one random phase screen in the pupil, centred at the centre of mass. Both act plane
    by plane and are integrated over each pixel.

    Parameters
    ----------
    fwhm : float, in µm
        Of the long exposure: 0.976 λ / r0 times the distance of the image, with r0 the length over
        which the wave front is nearly plane.
    exposure : "long" or "short"
        Long: the mean, which is smooth; short: the speckles of one moment.
    speckle : float, in µm
        Size of a speckle, λ over the aperture; for the short exposure.
    seed : int
        Which of the phase screens.

    References
    ----------
    Long exposures: Fried, J. Opt. Soc. Am. 56, 1372 (1966), doi:10.1364/JOSA.56.001372. The
    spectrum of the phase: Noll, J. Opt. Soc. Am. 66, 207 (1976), doi:10.1364/JOSA.66.000207. A
    screen has no waves longer than four apertures, of which little but a tilt is left out, and a
    tilt only shifts.
    """

    fwhm: Annotated[float, {"label": "FWHM (µm)", "min": 0.0, "max": FAR}] = 0.4
    exposure: Literal["long", "short"] = "long"
    speckle: Annotated[float, {"label": "speckle (µm)", "min": 0.0, "max": FAR}] = 0.1
    seed: Annotated[int, {"min": 0}] = 0

    continuous: ClassVar[tuple[str, ...]] = ("fwhm",)

    def __post_init__(self) -> None:
        rule(self, "fwhm")
        rule(self, "speckle", above=True)
        rule(self, "seed")
        if self.exposure not in ("long", "short"):
            raise ValueError(f'exposure of turbulence is "{self.exposure}": take long or short')
        if self.exposure == "short" and self._strength > STRONGEST:
            raise ValueError(
                f"speckle is {self.speckle:g} µm and fwhm {self.fwhm:g} µm, which is more than "
                f"{STRONGEST:g} speckles across: make the speckles larger"
            )

    @property
    def _strength(self) -> float:
        """Give the aperture over r0."""
        return self.fwhm / FWHM / self.speckle

    @property
    def _across(self) -> int:
        return max(LEAST, 2 * int(np.ceil(ACROSS / 2 * self._strength)))

    def reach(self, pixel_size: tuple[float, float, float]) -> tuple[int, int, int]:
        """Give the shape of 99.9 %."""
        if self.exposure == "long":
            half = HALF * self.fwhm / FWHM
        else:
            half = _half(self.seed, self._across, self._strength) * self.speckle
        y, x = (odd(half, p) for p in pixel_size[1:])
        return 1, y, x

    def share(
        self,
        shape: tuple[int, int, int],
        pixel_size: tuple[float, float, float],
        values: Mapping[str, Tensor],
    ) -> Tensor:
        """Give the share of the light in each pixel."""
        fwhm = number(self, values, "fwhm")
        made = self._long if self.exposure == "long" else self._short
        plane = made(shape[1:], pixel_size[1:], fwhm)
        share = plane.new_zeros(shape)
        share[shape[0] // 2] = plane.clamp(min=0)
        return share

    def _long(self, shape: tuple[int, ...], size: tuple[float, ...], fwhm: Tensor) -> Tensor:
        import torch

        from napari_deblur import ops

        fwhm = fwhm.clamp(min=NARROWEST * min(size))
        wide = float(fwhm.detach()) / FWHM
        parts = [2 * int(np.ceil((FINEST * p / wide - 1) / 2).clip(0)) + 1 for p in size]
        grid = [
            ops.good_length(max(2 * n, int(np.ceil(16 * wide / p))), even=True)
            for n, p in zip(shape, size, strict=True)
        ]
        fine = [p / k for p, k in zip(size, parts, strict=True)]
        lengths = (grid[0] * parts[0], grid[1] * parts[1])
        like = {"dtype": torch.float64, "device": fwhm.device}
        y = torch.fft.fftfreq(lengths[0], fine[0], **like)[:, None]
        x = torch.fft.rfftfreq(lengths[1], fine[1], **like)[None]
        waves = (y**2 + x**2 + 1e-300) ** (5 / 6)
        otf = (-3.44 * waves * (fwhm / FWHM) ** (5 / 3)).exp()
        otf = otf * torch.sinc(y * fine[0]) * torch.sinc(x * fine[1])
        plane = ops.backward(otf.to(torch.complex128), lengths)
        plane = plane.roll((parts[0] // 2, parts[1] // 2), (0, 1))
        plane = plane.reshape(grid[0], parts[0], grid[1], parts[1]).sum(dim=(1, 3))
        plane = plane.roll((shape[0] // 2, shape[1] // 2), (0, 1))
        return plane[: shape[0], : shape[1]]

    def _short(self, shape: tuple[int, ...], size: tuple[float, ...], fwhm: Tensor) -> Tensor:
        import torch

        across = self._across
        wave = _wave(self.seed, across, fwhm / FWHM / self.speckle)
        middle = _middle(wave)
        pupil = torch.arange(across, dtype=torch.float64, device=fwhm.device)
        pupil = (pupil + 0.5) / across - 0.5
        sides, parts = [], []
        for n, p, m in zip(shape, size, middle, strict=True):
            # A tenth of a speckle: finer subpixels change no pixel by 1 %.
            part = 2 * int(np.ceil((10 * p / self.speckle - 1) / 2).clip(0)) + 1
            edges = offsets(n * part, p / part, fwhm)
            places = (edges[:-1] + edges[1:]) / 2
            # Whole pixels are centred at n // 2, whatever the number of parts.
            places = places - places[n // 2 * part + part // 2]
            places = places / self.speckle + m
            turns = 2j * torch.pi * places[:, None] * pupil[None]
            # The field repeats itself beyond.
            seen = (places.detach() - m.detach()).abs() <= across / 2
            sides.append(torch.exp(turns) * seen[:, None])
            parts.append(part)
        light = (sides[0] @ wave @ sides[1].T).abs() ** 2
        light = light.reshape(shape[0], parts[0], shape[1], parts[1]).sum(dim=(1, 3))
        cell = size[0] * size[1] / (parts[0] * parts[1] * (across * self.speckle) ** 2)
        return light * cell


def _wave(seed: int, across: int, strength: Tensor) -> Tensor:
    """Give the wave in the pupil, of energy 1."""
    import torch

    phase, pupil = (torch.from_numpy(a).to(strength) for a in _screen(seed, across))
    return torch.exp(1j * phase * strength ** (5 / 6)) * (pupil / pupil.sum().sqrt())


def _light(wave: Tensor) -> Tensor:
    """Give the light at steps of half a speckle, centre at ``across``, of sum 1."""
    import torch

    n = wave.shape[0]
    light = torch.fft.fftshift(torch.fft.ifft2(wave, s=(2 * n, 2 * n)).abs() ** 2)
    normalised: Tensor = light / light.sum()
    return normalised


def _middle(wave: Tensor) -> list[Tensor]:
    """Give the centre of mass of the light (y, x), in speckles."""
    import torch

    light = _light(wave)
    places = torch.arange(light.shape[0], dtype=torch.float64, device=light.device)
    places = (places - light.shape[0] // 2) / 2
    return [(light.sum(dim=1 - axis) * places).sum() for axis in (0, 1)]


@lru_cache(maxsize=16)
def _half(seed: int, across: int, strength: float) -> float:
    """Give half the side of the square that holds 99.9 % of the light, in speckles."""
    import torch

    wave = _wave(seed, across, torch.tensor(strength, dtype=torch.float64))
    light = _light(wave).numpy()
    places = (np.arange(2 * across) - across) / 2
    y, x = (abs(places - float(m)) for m in _middle(wave))
    far = np.maximum(y[:, None], x[None]).ravel()
    order = np.argsort(far)
    held = np.cumsum(light.ravel()[order])
    return float(far[order][min(int(np.searchsorted(held, 0.9991)), far.size - 1)])


@lru_cache(maxsize=16)
def _screen(seed: int, across: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give a phase in rad for an aperture of one r0, without tilt, and the round pupil."""
    n = SCREEN * across
    random = np.random.default_rng(seed)
    noise = random.standard_normal((n, n)) + 1j * random.standard_normal((n, n))
    step = 1 / SCREEN  # waves for each diameter
    f = np.fft.fftfreq(n) * n * step
    waves = np.hypot(f[:, None], f[None])
    waves[0, 0] = np.inf
    # The power of the phase is 0.023 r0^(-5/3) f^(-11/3).
    amplitude = np.sqrt(0.023) * waves ** (-11 / 6) * step
    phase = np.fft.fft2(noise * amplitude).real[:across, :across]
    u = (np.arange(across) + 0.5) / across - 0.5
    y, x = np.meshgrid(u, u, indexing="ij")
    pupil = (np.hypot(y, x) <= 0.5).astype(np.float64)
    inside = pupil > 0
    flat = np.stack([np.ones(inside.sum()), y[inside], x[inside]], axis=1)
    found = np.linalg.lstsq(flat, phase[inside], rcond=None)[0]
    return phase - (found[0] + found[1] * y + found[2] * x), pupil
