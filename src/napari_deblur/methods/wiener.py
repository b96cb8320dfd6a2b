"""Wiener deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["Wiener"]

# Float32 transforms are exact to about 1e-7: amplifying more than this shows their rounding.
LEAST_RATIO = 1e-7
# Share of the power that a frequency must have kept to tell about the object.
PASSED = 0.1
# Share below which nothing but noise is left, and the share of frequencies that it must concern.
BLOCKED, ENOUGH = 1e-4, 0.05
# The median of the power of noise is so much of its mean; it minds outliers less.
LN2 = log(2)


@dataclass(frozen=True)
class Wiener:
    """Filter in one go: the linear estimate of least expected error, for those in a hurry.

    The object's spectrum is taken to fall as one over frequency squared, as edges and most
    images do; its height is measured on samples, and so is the noise. The result may go below
    zero. The image is continued smoothly beyond its border, and into holes, before it is
    filtered.

    Parameters
    ----------
    noise : float or "auto"
        Standard deviation of a pixel, in counts. Less is sharper and noisier.
    power : float or "auto"
        Mean squared difference of neighbouring pixels of the sharp object, in counts².
    background : float or "auto"
        Counts without light, to which the image is continued far beyond its border.

    References
    ----------
    Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series (1949),
    doi:10.7551/mitpress/2946.001.0001.
    """

    noise: float | Literal["auto"] = "auto"
    power: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 30

    def __post_init__(self) -> None:
        if self.noise != "auto" and self.noise < 0:
            raise ValueError(f"noise is {self.noise} counts and must be 0 or more")
        if self.power != "auto" and self.power <= 0:
            raise ValueError(f"power is {self.power} counts² and must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Measure noise and power on samples whose blur is known."""
        from napari_deblur.ops.statistics import background_of, estimate_noise

        background = background_of(samples) if self.background == "auto" else self.background
        noise = self.noise
        if noise == "auto":
            known = samples[0].facts.noise
            arrays = [sample.tile.cpu().numpy() for sample in samples]
            # The estimate from pixels knows the dim ones; bright ones have more photon noise.
            floors = [_spectra(s)[2] for s in samples if s.blur is not None]
            noise = max(known if known is not None else estimate_noise(arrays), *floors, 0.0)
        power = _power(samples, float(noise)) if self.power == "auto" else self.power
        return replace(self, noise=noise, power=power, background=background)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        import torch

        from napari_deblur import ops
        from napari_deblur.protocols import Estimate

        if "auto" in (self.noise, self.power, self.background):
            raise ValueError('wiener has an "auto" left: call resolved(samples) first')
        if blur.weights is not None:
            raise ValueError(
                "wiener can't use a blur that varies over the field: take richardson-lucy, "
                "or one kernel"
            )
        ops.checkpoint()
        ratio = max(float(self.noise) ** 2 / float(self.power), LEAST_RATIO)
        image = _filtered(tile, blur, ratio, float(self.background))
        return Estimate(image, None, torch.zeros(0, device=tile.device))


def _filtered(tile: Tensor, blur: Blur, ratio: float, background: float) -> Tensor:
    """Divide by the transfer function where it is strong against `ratio` × frequency²."""
    import torch

    from napari_deblur import ops

    size = tuple(tile.shape[-blur.ndim :])
    # Continued by a kernel on either side, and two kernels of background between: the inverse
    # filter reaches that far, and opposite borders must not meet.
    lengths = ops.transform_shape(tuple(n + 4 * k for n, k in zip(size, blur.shape, strict=True)))
    values, mask = ops.split(tile)
    grid = ops.filled(values - background, mask, lengths, blur.shape)
    dims = tuple(range(-blur.ndim, 0))
    # transfer_function begins at the valid part's first index; crop() would start later.
    otf = ops.transfer_function(blur.basis[0], lengths)
    shifts = [(n - 1) // 2 for n in blur.shape]
    spectrum = torch.fft.rfftn(grid, dim=dims) * otf.conj()
    spectrum /= otf.abs().square() + ratio * _roughness(lengths, tile)
    image = torch.fft.irfftn(spectrum, s=lengths, dim=dims)
    image = torch.roll(image, [-s for s in shifts], dims)
    where: tuple[Any, ...] = (..., *(slice(n) for n in size))
    return image[where] + background


def _roughness(lengths: tuple[int, ...], like: Tensor) -> Tensor:
    """Give the squared response of the difference between neighbours, on the half grid."""
    import torch

    total = torch.zeros((), dtype=like.dtype, device=like.device)
    for axis, n in enumerate(lengths):
        make = torch.fft.rfftfreq if axis == len(lengths) - 1 else torch.fft.fftfreq
        part = 4 * torch.sin(torch.pi * make(n, dtype=like.dtype, device=like.device)).square()
        total = total[..., None] + part if axis else part
    return total


def _power(samples: Sequence[Sample], noise: float) -> float:
    """Estimate the sharp object's gradient power from the frequencies that the blur let pass.

    What is measured there, less the noise, divided by the transfer function. (Measuring the
    gradients of a restored sample instead runs away: restored noise looks like power.)
    """
    known = [
        sample for sample in samples if sample.blur is not None and sample.blur.weights is None
    ]
    if not known:
        raise ValueError("wiener needs a kernel to estimate its power: give power, or a kernel")
    powers = [_power_of(sample, noise) for sample in known]
    return max(sum(powers) / len(powers), 1e-12)


def _power_of(sample: Sample, noise: float) -> float:
    spectrum, gain, _, rough, share = _spectra(sample)
    # The lowest frequencies hold the illumination, not the edges.
    passed = (gain > PASSED) & (rough > 1e-3)
    if not bool(passed.any()):
        passed = rough > 0
    above = ((spectrum - noise**2 * share) * rough / gain.clamp(min=1e-6))[passed]
    return max(float(above.mean()), 1e-3 * float((spectrum * rough)[passed].mean()))


def _spectra(sample: Sample) -> tuple[Tensor, Tensor, float, Tensor, float]:
    """Give a sample's power spectrum, the blur's, the noise in it, `_roughness` and a share.

    Spectra are per pixel of the grid, of which the tile, the only part with noise, is `share`.
    The noise is the standard deviation seen where the blur lets nothing pass; 0 if it does not
    block enough.
    """
    import torch

    from napari_deblur import ops

    blur = sample.blur
    assert blur is not None
    size = tuple(sample.tile.shape[-blur.ndim :])
    lengths = ops.transform_shape(tuple(n + 4 * k for n, k in zip(size, blur.shape, strict=True)))
    values, mask = ops.split(sample.tile)
    mean = values.sum() / (values.numel() if mask is None else mask.sum().clamp(min=1))
    grid = ops.filled(values - mean, mask, lengths, blur.shape)
    dims = tuple(range(-blur.ndim, 0))
    gain = ops.transfer_function(blur.basis[0], lengths).abs().square()
    spectrum = torch.fft.rfftn(grid, dim=dims).abs().square()
    spectrum = spectrum.reshape(-1, *spectrum.shape[-blur.ndim :]).mean(dim=0)
    spectrum = spectrum / prod(lengths)
    share = prod(size) / prod(lengths)
    blocked = gain < BLOCKED
    noise = 0.0
    if float(blocked.float().mean()) > ENOUGH:
        noise = float((spectrum[blocked].median() / LN2 / share).sqrt())
    return spectrum, gain, noise, _roughness(lengths, grid), share
