"""Back projectors other than the blur's adjoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_deblur.ops.fourier import object_shape, transfer_function, transform_shape

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur

__all__ = ["half_widths", "wiener_butterworth"]

ORDER = 2


def half_widths(kernel: Tensor) -> tuple[float, ...]:
    """Give the full width at half maximum on each axis, along the lines through the peak, in px."""
    peak = int(kernel.argmax())
    places = torch.unravel_index(torch.tensor(peak), kernel.shape)
    widths = []
    for axis in range(kernel.ndim):
        line = kernel
        for other in reversed(range(kernel.ndim)):
            if other != axis:
                line = line.select(other, int(places[other]))
        values = (line / line.max()).tolist()
        centre = int(places[axis])
        widths.append(_half(values[centre:]) + _half(values[centre::-1]))
    return tuple(widths)


def _half(falling: list[float]) -> float:
    """Give where a line that begins at its peak of 1 passes one half."""
    for i in range(len(falling) - 1):
        if falling[i + 1] < 0.5:
            return i + (falling[i] - 0.5) / (falling[i] - falling[i + 1])
    return float(len(falling) - 0.5)


def wiener_butterworth(
    of: Blur, tile: tuple[int, ...], damping: float, *, cut: float = 0.3
) -> Tensor:
    """Make the factors that turn the adjoint into a Wiener-Butterworth back projector.

    ``1 / (|OTF|² + damping)``, which undoes part of the blur, times Butterworth's filter of second
    order, which falls to `cut` where a period is as long as the kernel is wide; 1 at frequency 0.
    For `shaped` of `blur_adjoint`.

    Parameters
    ----------
    of : Blur
    tile : shape of the tile, the blur's axes last
    damping : float, above 0

    Returns
    -------
    Tensor, shape ([z,] y, x // 2 + 1), float32

    References
    ----------
    Guo et al., Nat. Biotechnol. 38, 1337 (2020), doi:10.1038/s41587-020-0560-x.
    """
    kernel = of.basis[0]
    lengths = transform_shape(object_shape(tuple(tile[-of.ndim :]), of.shape))
    gain = transfer_function(kernel, lengths).abs().square_()
    far = torch.zeros((), device=kernel.device)
    for axis, (n, width) in enumerate(zip(lengths, half_widths(kernel), strict=True)):
        make = torch.fft.rfftfreq if axis == len(lengths) - 1 else torch.fft.fftfreq
        part = (make(n, device=kernel.device) * max(width, 1.0)).square_()
        far = far[..., None] + part if axis else part
    factors = far.pow_(ORDER).mul_(1 / cut**2 - 1).add_(1).sqrt_()
    factors.mul_(gain.add_(damping)).reciprocal_()
    return factors / factors.flatten()[0].clone()
