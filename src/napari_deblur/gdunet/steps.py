"""The steps of a stage: downhill on the image, and on the kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from napari_deblur.gdunet.blocks import Block, filled_up, one_channel, soft
from napari_deblur.gdunet.physics import (
    blurred,
    data_direction,
    kernel_convolution,
    kernel_direction,
    kernel_gradient,
)

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.gdunet.network import Configuration, Steps
    from napari_deblur.gdunet.scene import Scene

__all__ = ["ImageStep", "KernelStep", "difference", "difference_adjoint"]


class ImageStep(nn.Module):
    """A gradient step on the image: data, and two terms of its gradients."""

    def __init__(self, c: Configuration) -> None:
        super().__init__()
        # Cautious to begin with, when kernels are wrong: they would bring up ripples.
        self.length = _number(0.5)
        # The logarithm of the damping is linear in that of the noise's level.
        self.damping = nn.Parameter(torch.tensor([1.5, 1.0]))
        self.weight = _number(0.05)
        self.threshold = _number(1.0)
        self.gradient_prior = None
        if "gradients" not in c.without:
            self.gradient_prior = GradientPrior(c.gradient_width, c.gradient_blocks, c.cell)

    def forward(self, image: Tensor, kernel: Tensor, scene: Scene) -> Tensor:
        """Step downhill."""
        residual = blurred(image, kernel) - scene.data
        damping = torch.exp(self.damping[0] + self.damping[1] * scene.level.log())
        down = positive(self.length) * data_direction(residual, kernel, damping)
        if self.gradient_prior is None:
            return image - down
        limit = positive(self.threshold) * scene.level
        for axis in (-2, -1):
            steep = difference(image, axis)
            wanted = self.gradient_prior(steep, scene, axis) + soft(steep, limit)
            down = down + positive(self.weight) * difference_adjoint(steep - wanted, axis)
        return image - down


class GradientPrior(nn.Module):
    """Correct one component of an image's gradient; the same network serves both axes."""

    def __init__(self, width: int, blocks: int, cell: int) -> None:
        super().__init__()
        self.cell = cell
        self.first = nn.Conv2d(2, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width, cell) for _ in range(blocks)))
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, steep: Tensor, scene: Scene, axis: int) -> Tensor:
        """Give what is to be added to the differences along `axis`."""
        x = torch.stack((steep, scene.noise), dim=2).flatten(0, 1)
        x = x.transpose(-2, -1) if axis == -2 else x
        ny, nx = x.shape[-2:]
        x = filled_up(x, self.cell)
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        x = one_channel(self.last, self.blocks(x))[..., :ny, :nx]
        x = x.transpose(-2, -1) if axis == -2 else x
        change: Tensor = x.reshape(steep.shape)
        return change


class KernelStep(nn.Module):
    """The direction in which the kernel explains the data better, given the image."""

    def __init__(self, kind: Steps) -> None:
        super().__init__()
        self.kind = kind
        self.damping = nn.Parameter(torch.tensor(-2.0))

    def forward(self, kernel: Tensor, image: Tensor, scene: Scene) -> Tensor:
        """Give minus the preconditioned gradient, shape (batch, 1, ky, kx)."""
        if self.kind == "none":
            return torch.zeros_like(kernel)
        residual = blurred(image, kernel) - scene.data
        size = (kernel.shape[-2], kernel.shape[-1])
        if self.kind == "preconditioned":
            return -kernel_direction(residual, image, size, self.damping.exp())
        compared = kernel_gradient if self.kind == "gradient" else kernel_convolution
        return -compared(residual, image, size) / residual[0].numel()


def difference(image: Tensor, axis: int) -> Tensor:
    """Give each pixel's successor less the pixel, 0 for the last one."""
    n = image.shape[axis]
    return torch.cat((image.diff(dim=axis), torch.zeros_like(image.narrow(axis, n - 1, 1))), axis)


def difference_adjoint(steep: Tensor, axis: int) -> Tensor:
    """Apply the adjoint of `difference`."""
    n = steep.shape[axis]
    nothing = torch.zeros_like(steep.narrow(axis, 0, 1))
    return -torch.cat((nothing, steep.narrow(axis, 0, n - 1), nothing), axis).diff(dim=axis)


def positive(number: Tensor) -> Tensor:
    """Give the number that a parameter stands for."""
    return functional.softplus(number)


def _number(start: float) -> nn.Parameter:
    """Make a parameter that stands for a positive number, see `positive`."""
    return nn.Parameter(torch.tensor(math.log(math.expm1(start))))
