"""The blur model in batches, each item with a kernel of its own, and both of its gradients.

The object is ``n − 1`` longer than the tile, as everywhere in this package: ``(n − 1) // 2`` before
and ``n // 2`` after. Only pixels of which the whole neighbourhood is known are data, so nothing
has to be invented beyond an edge, and the adjoints are exact.

`ops.blur` has one kernel for a whole batch, so that the same transforms are put together anew
here; all of it is differentiable.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from napari_deblur import ops

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "autocorrelation",
    "blurred",
    "data_direction",
    "data_directions",
    "data_gradient",
    "inner",
    "kernel_convolution",
    "kernel_direction",
    "kernel_gradient",
]


def inner(thing: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut the tile's part out of an object for a kernel of `size`; a view."""
    (ny, nx), (ky, kx) = thing.shape[-2:], size
    return thing[..., (ky - 1) // 2 : ny - ky // 2, (kx - 1) // 2 : nx - kx // 2]


def blurred(image: Tensor, kernel: Tensor) -> Tensor:
    """Blur each object with its kernel.

    Parameters
    ----------
    image : Tensor, shape (batch, channels, y, x), float32
    kernel : Tensor, shape (batch, 1, ky, kx), float32
        Of sum 1; serves all channels of its item.

    Returns
    -------
    Tensor, shape (batch, channels, y − ky + 1, x − kx + 1)
    """
    lengths = _lengths(image)
    spectrum = ops.forward(image, lengths) * ops.transfer_function(kernel, lengths)
    (ny, nx), (ky, kx) = image.shape[-2:], kernel.shape[-2:]
    return ops.backward(spectrum, lengths)[..., : ny - ky + 1, : nx - kx + 1]


def data_gradient(residual: Tensor, kernel: Tensor) -> Tensor:
    """Give the gradient of half the squared `residual` with respect to the image.

    Parameters
    ----------
    residual : Tensor, shape (batch, channels, y − ky + 1, x − kx + 1)
        What `blurred` gives, less the data.
    kernel : Tensor, shape (batch, 1, ky, kx)

    Returns
    -------
    Tensor, shape (batch, channels, y, x)
    """
    return _pulled(residual, kernel, None)


def data_direction(residual: Tensor, kernel: Tensor, damping: Tensor) -> Tensor:
    """Give `data_gradient`, preconditioned: as Wiener's filter would undo the `residual`.

    Each frequency is divided by |OTF|² + `damping`; a step of 1 along it leaves
    ``damping / (|OTF|² + damping)`` of a residual, where a plain gradient step leaves 1 − |OTF|².

    Parameters
    ----------
    residual, kernel : see `data_gradient`
    damping : Tensor, shape (batch, 1, 1, 1), above 0
    """
    return _pulled(residual, kernel, damping)


def data_directions(residual: Tensor, kernel: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Give `data_direction` for several dampings at once, and what each makes of white noise.

    Parameters
    ----------
    residual, kernel : see `data_gradient`
    damping : Tensor, shape (batch, dampings, 1, 1), above 0

    Returns
    -------
    directions : Tensor, shape (batch, channels, dampings, y, x)
    gain : Tensor, shape (batch, dampings, 1, 1)
        Standard deviation of the direction where that of the residual is 1.
    """
    ny, nx = (t + k - 1 for t, k in zip(residual.shape[-2:], kernel.shape[-2:], strict=True))
    lengths = ops.transform_shape((ny, nx))
    otf = ops.transfer_function(kernel, lengths)
    filters = otf.conj() / (_square(otf) + damping)
    spectrum = ops.forward(residual, lengths)[:, :, None] * filters[:, None]
    gain = _square(filters).mean(dim=(-2, -1), keepdim=True).sqrt()
    return ops.backward(spectrum, lengths)[..., :ny, :nx], gain


def kernel_gradient(residual: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Give the gradient of half the squared `residual` with respect to the kernel.

    Parameters
    ----------
    residual : Tensor, shape (batch, channels, y − ky + 1, x − kx + 1)
    image : Tensor, shape (batch, channels, y, x)
    size : (ky, kx)

    Returns
    -------
    Tensor, shape (batch, 1, ky, kx)
        Summed over the channels, which share the kernel.
    """
    lengths = _lengths(image)
    product = ops.forward(image, lengths) * ops.forward(residual, lengths).conj()
    return _lags(product.sum(dim=1, keepdim=True), lengths, size)


def kernel_convolution(residual: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Convolve `residual` and `image`, which is no gradient: what the published code does.

    The same sum as `kernel_gradient` with one of the two turned round; for comparison only.
    """
    lengths = _lengths(image)
    product = ops.forward(image, lengths) * ops.forward(residual, lengths)
    ny, nx = residual.shape[-2:]
    whole = ops.backward(product.sum(dim=1, keepdim=True), lengths)
    return whole[..., ny - 1 : ny - 1 + size[0], nx - 1 : nx - 1 + size[1]]


def kernel_direction(
    residual: Tensor, image: Tensor, size: tuple[int, int], damping: Tensor
) -> Tensor:
    """Give `kernel_gradient`, preconditioned: the kernel's error by damped least squares.

    In differences of neighbouring pixels, which know nothing of a background. Each frequency is
    divided by the image's power plus `damping` times its mean, so that a step of about 1 is right
    whatever the tile's size and brightness. Towards the tile's edge the residual fades out.

    Parameters
    ----------
    residual, image, size : see `kernel_gradient`
    damping : Tensor, 0-dimensional, above 0

    References
    ----------
    Cho and Lee, ACM Trans. Graph. 28, 145 (2009), doi:10.1145/1618452.1618491: least squares in
    differences, there solved to the end.
    """
    lengths = _lengths(image)
    steep = _steepness(lengths, image.device)
    fading = _fading(tuple(residual.shape[-2:]), image.device)
    spectrum = ops.forward(image, lengths)
    power = (steep * _square(spectrum)).sum(dim=1, keepdim=True)
    power = power + damping * power.mean(dim=(-2, -1), keepdim=True) + 1e-12
    product = spectrum * ops.forward(residual * fading, lengths).conj()
    product = product.sum(dim=1, keepdim=True) * (steep / power)
    # The residual covers this share of what the image covers, and explains only so much.
    share = float(fading.sum()) / (image.shape[-2] * image.shape[-1])
    return _lags(product, lengths, size) / share


def autocorrelation(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Correlate the differences of an image with themselves: how far blur spreads, and whereto.

    Parameters
    ----------
    image : Tensor, shape (batch, channels, y, x)
    size : (ky, kx)

    Returns
    -------
    Tensor, shape (batch, 1, ky, kx)
        By lags, 0 at index ``n // 2``, where it is 1.
    """
    lengths = _lengths(image)
    faded = image * _fading(tuple(image.shape[-2:]), image.device)
    power = _square(ops.forward(faded, lengths)).sum(dim=1, keepdim=True)
    lags = ops.backward(
        torch.complex(power * _steepness(lengths, image.device), torch.zeros_like(power)), lengths
    )
    ky, kx = size
    lags = lags.roll((ky // 2, kx // 2), dims=(-2, -1))[..., :ky, :kx]
    return lags / (lags[..., ky // 2, kx // 2][..., None, None] + 1e-12)


def _pulled(residual: Tensor, kernel: Tensor, damping: Tensor | None) -> Tensor:
    ny, nx = (t + k - 1 for t, k in zip(residual.shape[-2:], kernel.shape[-2:], strict=True))
    lengths = ops.transform_shape((ny, nx))
    otf = ops.transfer_function(kernel, lengths)
    filtered = otf.conj() if damping is None else otf.conj() / (_square(otf) + damping)
    return ops.backward(ops.forward(residual, lengths) * filtered, lengths)[..., :ny, :nx]


def _lags(product: Tensor, lengths: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """Give a correlation in the kernel's order: its pixel j sees the shift n − 1 − j."""
    return ops.backward(product, lengths)[..., : size[0], : size[1]].flip((-2, -1))


def _lengths(image: Tensor) -> tuple[int, ...]:
    return ops.transform_shape(tuple(image.shape[-2:]))


def _square(spectrum: Tensor) -> Tensor:
    return torch.view_as_real(spectrum).square().sum(-1)


@lru_cache(maxsize=32)
def _steepness(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Give the squared transfer function of forward differences along both axes, summed."""
    y = torch.fft.fftfreq(lengths[0], device=device)[:, None]
    x = torch.fft.rfftfreq(lengths[1], device=device)
    return 4 - 2 * torch.cos(2 * torch.pi * y) - 2 * torch.cos(2 * torch.pi * x)


@lru_cache(maxsize=32)
def _fading(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Give a window that falls to 0 beyond the edges, late: the fourth root of Hann's."""
    y, x = (
        torch.sin(torch.pi * (torch.arange(n, device=device) + 0.5) / n).clamp(min=0).sqrt()
        for n in size
    )
    window: Tensor = y[:, None] * x
    return window
