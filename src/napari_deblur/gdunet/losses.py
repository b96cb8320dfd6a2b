"""What training makes small, the true kernel being known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from napari_deblur import ops
from napari_deblur.gdunet.physics import blurred, inner

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.gdunet.scene import Pair
    from napari_deblur.gdunet.synthesis import Batch

__all__ = ["kernel_correlation", "kernel_decibels", "loss", "psnr"]

# Differences below this count squared, larger ones by their size.
SMALL = 1e-3
# The terms' weights: gradients, kernel, its blur of the true image, its spectrum, the data.
STEEP, KERNEL, REBLUR, SPECTRUM, DATA = 0.1, 0.05, 0.5, 0.02, 0.05
# Each earlier stage counts so much less.
EARLIER = 0.5
# Weight of the margin, of which nothing but the margin itself is known.
MARGIN = 0.25
# An item whose data are wrong by `USUAL` in the mean counts once; what is wrong by less, more, up
# to `USUAL / TINY` times.
USUAL, TINY = 0.03, 0.005
# Of decibels, as they may be counted instead: images and kernels; errors, squared, below which less
# is hardly better.
DECIBELS, LEAST_IMAGE, LEAST_KERNEL = 0.05, 1e-6, 1e-2
# Frequencies at which the true kernel passes less than this don't count.
PASSED = 0.02


def loss(
    pairs: Sequence[Pair], batch: Batch, *, fixed: bool = False, decibels: bool = False
) -> Tensor:
    """Give the loss of all stages, to which later ones contribute more.

    Images count by Charbonnier's distance and that of their differences, relative to how far the
    data are from the truth: what was nearly right must stay so. Kernels count by their squared
    error relative to their energy, by what they make of the true image, which weighs errors by
    what the image can show of them, and by their transfer functions. The last image and kernel
    together must explain the data. Nothing that rewards what merely looks right. Where the true
    kernel is not known, kernels count by what they make of the true image, against the data.

    Parameters
    ----------
    pairs : sequence of Pair
    batch : Batch
    fixed : bool
        The kernels were given: images count only.
    decibels : bool
        Count images and kernels by the logarithms of their squared errors instead.
    """
    size = (batch.kernel.shape[-2], batch.kernel.shape[-1])
    weights = _weights(batch, size) * (1 if decibels else _worth(batch, size))
    total = batch.seen.new_zeros(())
    for stage, pair in enumerate(pairs):
        error = pair.image - batch.sharp
        part = _in_decibels(error, weights) if decibels else _image(error, weights)
        if not fixed:
            part = part + _kernel(pair.kernel, batch, decibels=decibels)
        total = total + EARLIER ** (len(pairs) - 1 - stage) * part
    if not fixed:
        explained = blurred(pairs[-1].image, pairs[-1].kernel) - batch.clean
        total = total + DATA * _charbonnier(explained).mean()
    return total


def psnr(image: Tensor, batch: Batch) -> Tensor:
    """Give the quality of images in dB inside of the margin, shape (batch,); white is 1."""
    size = (batch.kernel.shape[-2], batch.kernel.shape[-1])
    error = inner(image - batch.sharp, size).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error + 1e-12)


def kernel_correlation(kernel: Tensor, truth: Tensor) -> Tensor:
    """Give the normalised correlation of kernels with the true ones, unshifted, shape (batch,)."""
    one, two = kernel.flatten(1), truth.flatten(1)
    return torch.nn.functional.cosine_similarity(one, two, dim=1)


def kernel_decibels(kernel: Tensor, truth: Tensor) -> Tensor:
    """Give the energy of the true kernels over that of the errors in dB, shape (batch,)."""
    error = (kernel - truth).square().sum(dim=(1, 2, 3))
    return -10 * torch.log10(error / truth.square().sum(dim=(1, 2, 3)) + 1e-12)


def _image(error: Tensor, weights: Tensor) -> Tensor:
    steep = sum(
        (error.diff(dim=axis).abs() * weights.narrow(axis, 1, weights.shape[axis] - 1)).mean()
        for axis in (-2, -1)
    )
    return (weights * _charbonnier(error)).mean() + STEEP * steep


def _in_decibels(error: Tensor, weights: Tensor) -> Tensor:
    squared = (weights * error.square()).mean(dim=(1, 2, 3))
    return DECIBELS / 2 * torch.log(squared + LEAST_IMAGE).mean()


def _kernel(kernel: Tensor, batch: Batch, *, decibels: bool) -> Tensor:
    if not batch.known:
        return REBLUR * _charbonnier(blurred(batch.sharp, kernel) - batch.clean).mean()
    truth = batch.kernel
    energy = truth.square().sum(dim=(1, 2, 3))
    apart = (kernel - truth).square().sum(dim=(1, 2, 3)) / energy
    if decibels:
        counted = DECIBELS / 2 * torch.log(apart + LEAST_KERNEL).mean()
    else:
        counted = KERNEL * apart.mean()
    reblurred = _charbonnier(blurred(batch.sharp, kernel - truth)).mean()
    lengths = ops.transform_shape(tuple(truth.shape[-2:]))
    passed = ops.transfer_function(truth, lengths).abs() > PASSED
    spectrum = ops.transfer_function(kernel - truth, lengths)
    # The tiny number keeps the gradient finite where kernels agree.
    spectral = torch.sqrt(torch.view_as_real(spectrum).square().sum(-1) + 1e-10)
    return counted + REBLUR * reblurred + SPECTRUM * (spectral * passed).mean()


def _weights(batch: Batch, size: tuple[int, int]) -> Tensor:
    """Weigh pixels: 1 inside, little in the margin, nothing where it was made up."""
    weights = torch.full_like(batch.sharp[:1], 0.0 if batch.made_up else MARGIN)
    inner(weights, size)[:] = 1
    return weights / weights.mean()


def _worth(batch: Batch, size: tuple[int, int]) -> Tensor:
    """Give what an item's errors count, shape (batch, 1, 1, 1): more where the data are good."""
    before = inner(batch.seen - batch.sharp, size).abs().mean(dim=(1, 2, 3), keepdim=True)
    return USUAL / (before + TINY)


def _charbonnier(error: Tensor) -> Tensor:
    return torch.sqrt(error.square() + SMALL**2) - SMALL
