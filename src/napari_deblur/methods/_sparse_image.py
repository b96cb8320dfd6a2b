"""The image of few edges that explains a blurred tile: what the search for a kernel looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_deblur.methods._sparse_grids import differences, response

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._sparse_grids import View

__all__ = ["edges"]

# The penalty starts at twice the weight, doubles, and ends here.
LARGEST = 1e5
GROWTH = 2.0


def edges(view: View, kernel: Tensor, weight: float) -> Tensor:
    """Minimise ``|k * x − y|² + weight · (number of pixels with a gradient)`` by splitting.

    Returns
    -------
    Tensor, shape (items, *lengths)
        On the view's periodic grid, the tile at index 0.
    """
    import torch

    from napari_deblur import ops

    ndim, lengths = kernel.ndim, view.lengths
    otf = response(kernel, lengths)
    data = view.spectrum * otf.conj()
    power = torch.view_as_real(otf).square().sum(dim=-1)
    slope = roughness(lengths, kernel)
    x = ops.backward(view.spectrum.clone(), lengths)
    penalty = 2 * weight
    while penalty < LARGEST:
        ops.checkpoint()
        parts = differences(x, ndim)
        squared = parts[0].square()
        for part in parts[1:]:
            squared.addcmul_(part, part)
        keep = squared >= weight / penalty
        right = None
        for axis, part in zip(range(-ndim, 0), parts, strict=True):
            part *= keep
            own = part.roll(1, axis).sub_(part)
            right = own if right is None else right.add_(own)
        assert right is not None
        spectrum = ops.forward(right, lengths).mul_(penalty).add_(data)
        spectrum /= torch.add(power, slope, alpha=penalty)
        x = ops.backward(spectrum, lengths)
        penalty *= GROWTH
    return x


def roughness(lengths: tuple[int, ...], like: Tensor) -> Tensor:
    """Give the squared response of all differences on the half grid of a real transform."""
    import torch

    total = torch.zeros((), device=like.device)
    for axis, n in enumerate(lengths):
        make = torch.fft.rfftfreq if axis == len(lengths) - 1 else torch.fft.fftfreq
        line = 4 * torch.sin(torch.pi * make(n, device=like.device)).square()
        total = total[..., None] + line
    return total.to(like.dtype)
