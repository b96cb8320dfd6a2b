"""Where a trained network's search for a kernel begins, and what the image allows it to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Facts, Kernel, Sample

__all__ = ["centred", "held", "likeness", "optical", "plane", "rounded", "sound", "starts"]

# A microscope's kernel is wider than the diffraction limit by about so much, to begin with.
WIDER = 1.5
# The finest detail of images of so many pixels at least says something.
SEEN = 32
# Full width at half the height of a Gaussian of σ = 1.
FWHM = 2.3548
# Standard deviations in pixels of the Gaussians to begin with where nothing is known: what is found
# leans a little on where it began. On 48 images with kernels of other families the mean of four had
# an error 2.3 dB lower than what was found from the third, which trainings begin with.
STARTS = (1.2, 2.0, 3.1, 4.5)
# And no wider than this, relative to the longer axis of the kernel's shape. Of 9 × 31 px, in strips
# of 20 rows (10 images, 1000 photons), that was 5 dB better for σ of 1.8 px and 8 dB for 2.5 than
# to go by the shorter one, and 4 dB than to cut each axis by its own; of σ 1 px 5 dB worse.
WIDEST = 0.15


def plane(kernel: Kernel) -> NDArray[np.float32]:
    """Give a kernel's middle plane."""
    one = kernel.at()
    plane: NDArray[np.float32] = one[one.shape[0] // 2]
    return plane


def sound(sample: Sample) -> Tensor:
    """Give a sample without its single outliers, NaN in their places: they would look sharp.

    Five hot pixels of 256² made a kernel of 3.2 px one of 2.6.
    """
    import torch

    from napari_deblur.methods._detail import outliers

    found = sample.tile.reshape(-1, *sample.tile.shape[-2:])
    places = [outliers(one.cpu(), sample.facts) for one in found]
    if not any(len(y) for y, _ in places):
        return sample.tile
    made = found.clone()
    for one, (y, x) in zip(made, places, strict=True):
        one[y.to(one.device), x.to(one.device)] = torch.nan
    return made.reshape(sample.tile.shape)


def starts(sample: Sample, size: tuple[int, int], first: Kernel | None) -> list[Tensor]:
    """Give the kernels to begin with: the user's, the optics', or Gaussians of several widths."""
    import torch

    from napari_deblur import ops
    from napari_deblur.gdunet.kernels import gaussians

    if first is not None:
        array = torch.from_numpy(ops.reshaped(plane(first), size))
        if not float(array.sum()) > 0:
            raise ValueError(
                f"the kernel to begin with has no light in the {size[0]} × {size[1]} px around its "
                "middle: centre it, or ask for a larger shape"
            )
        return [ops.normalised(array)]
    known = optical(sample.facts, sample.pixel_size, size)
    if known is not None:
        return [known]
    widest = max(max(size) * WIDEST, min(STARTS))
    sigmas = torch.tensor([sigma for sigma in STARTS if sigma <= widest])
    return [one[0] for one in gaussians(sigmas, size)]


def optical(
    facts: Facts, pixel: tuple[float, float, float] | None, size: tuple[int, int]
) -> Tensor | None:
    """Give a kernel somewhat wider than the diffraction limit, where the optics are known."""
    import torch

    from napari_deblur.psfs.gaussian import Gaussian

    if facts.na is None or facts.wavelength is None or not pixel:
        return None
    limit = Gaussian.from_optics(facts.na, facts.wavelength, facts.n_immersion or 1.515)
    across = WIDER * limit.sigma[1]
    model = Gaussian((0.0, across, across))
    return torch.from_numpy(model((1, *size), pixel).at()[0].copy())


def centred(kernel: Tensor) -> Tensor:
    """Move what is left of the centre of mass, a part of a pixel, to the middle."""
    from napari_deblur import ops

    kernel = ops.normalised(kernel)
    for axis, n in enumerate(kernel.shape):
        if n % 2 == 0:  # what has no counterpart on the other side would move the image
            kernel.select(axis, 0).zero_()
    for _ in range(3):
        kernel = ops.normalised(ops.shifted(kernel, -ops.centroid(kernel)))
    return kernel


def held(samples: Sequence[Sample], kernel: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Hold a kernel to the finest detail of the image: no blur as wide would have left it.

    Returns
    -------
    kernel : Tensor
        Narrowed until it lets through what is there; a point where the image is as sharp as its
        pixels.
    report : dict
    """
    import numpy as np

    from napari_deblur import ops
    from napari_deblur.kernel_widths import line_width, profile
    from napari_deblur.methods._detail import SHARP, detail_of

    detail = detail_of(samples[:2]) if min(samples[0].tile.shape[-2:]) >= SEEN else None
    if detail is None:
        return kernel, {}
    widest = detail.widest()
    if widest < SHARP:
        why = "the image is as sharp as its pixels"
        point = ops.delta(tuple(kernel.shape)).to(kernel)
        return point, {"verdict": "nothing to deblur", "why": why}
    array = kernel.numpy()
    widths = [line_width(profile(array[None].astype(np.float64), axis)) for axis in (1, 2)]
    factor = widest * FWHM / (sum(widths) / 2)
    if not 0 < factor < 1:  # 0 where a shape is too small for half its height
        return kernel, {}
    return ops.stretched(kernel, factor), {"narrowed": rounded(factor)}


def likeness(one: Tensor, other: Tensor) -> float:
    """Give the normalised correlation of two kernels."""
    return float((one * other).sum() / (one.norm() * other.norm()))


def rounded(value: float) -> float:
    """Give four digits of what is not negative."""
    return float(f"{max(value, 0.0):.4g}")
