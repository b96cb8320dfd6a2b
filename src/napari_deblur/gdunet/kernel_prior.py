"""What the network knows of kernels: their proximal map, and attention to the blur's pattern."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_deblur.gdunet.blocks import Block, soft

if TYPE_CHECKING:
    from napari_deblur.gdunet.scene import Scene

__all__ = ["KernelPrior", "kernel_of"]

# Of the light, per pixel: keeps gradients alive where a kernel is 0; 0.5 % in all of 31 × 31.
FLOOR = 1e-5
# Attention multiplies by at most e to the power of this.
LOUDEST = 6.0
# What the last convolutions say counts so much: an optimiser that moves all weights alike would
# else fill the outskirts of kernels with light in its first hundred steps.
QUIET = 0.1
# Least that attention takes from 1/σ².
WIDEN = 0.03
COORDINATES = 9
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class KernelPrior(nn.Module):
    """Shape a kernel, then let what the image shows of its blur strengthen or weaken its parts.

    Kernels come in any size: the convolutions see coordinates in pixels, and values relative to
    the kernel's largest.

    Parameters
    ----------
    features : int
        Channels of the image's coarsest features.
    width, blocks : int
    attention : bool
        Whether the image has a say.
    """

    def __init__(self, features: int, width: int, blocks: int, *, attention: bool) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.tensor(math.log(math.expm1(0.05))))
        self.threshold = nn.Parameter(torch.tensor(math.log(math.expm1(1e-3))))
        self.first = nn.Conv2d(4 + COORDINATES, width, 3, padding=1)
        self.before = nn.Sequential(*(Block(width, None) for _ in range(blocks)))
        self.thresholds = nn.Parameter(torch.full((width, 1, 1), -4.0))
        self.after = nn.Sequential(*(Block(width, None) for _ in range(blocks)))
        self.last = _silent(nn.Conv2d(width, 1, 3, padding=1))
        self.attention = Attention(features, width) if attention else None

    def forward(self, kernel: Tensor, direction: Tensor, features: Tensor, scene: Scene) -> Tensor:
        """Improve a kernel: see `shaped`, and `attended`, which comes after it."""
        shaped = self.shaped(kernel, direction, scene.spread)
        return self.attended(shaped, direction, features, scene)

    def shaped(self, kernel: Tensor, direction: Tensor, spread: Tensor) -> Tensor:
        """Step along `direction`, then shrink and correct; may be negative.

        Parameters
        ----------
        kernel, direction, spread : Tensor, shape (batch, 1, ky, kx)
            The kernel, where to, and the autocorrelation of the data's differences.
        """
        stepped = kernel + functional.softplus(self.length) * direction
        largest = kernel.detach().amax(dim=(-2, -1), keepdim=True)
        values = torch.cat((stepped / largest, direction / largest, kernel / largest, spread), 1)
        size = (kernel.shape[-2], kernel.shape[-1])
        x = torch.cat((values, coordinates(size, kernel.device).expand(len(kernel), -1, -1, -1)), 1)
        x = soft(self.before(self.first(x)), functional.softplus(self.thresholds))
        threshold = functional.softplus(self.threshold) * largest
        change: Tensor = self.last(self.after(x))
        return soft(stepped, threshold) + QUIET * largest * change

    def attended(self, kernel: Tensor, direction: Tensor, features: Tensor, scene: Scene) -> Tensor:
        """Attend to the blur's pattern and make a kernel of it: non-negative, sum 1.

        Parameters
        ----------
        kernel, direction : Tensor, shape (batch, 1, ky, kx)
            What `shaped` gave, and where the data would have the kernel go.
        features : Tensor, shape (batch, features, y, x)
        scene : Scene
            Its noise's level, and how far its differences are correlated.
        """
        heed = self.attention
        return kernel_of(kernel, None if heed is None else heed(kernel, direction, features, scene))


class Attention(nn.Module):
    """Blur pattern attention: tell from features of an image where its kernel has its light.

    The paper resizes the features' map to the kernel's grid. But a place in an image has nothing
    to do with a place in its kernel; here the features are averaged over the image, where blur
    is to be seen. With what the data's correlations say they give a quadratic form, which makes
    a Gaussian wider, narrower or longer, and steer convolutions on the kernel's grid, which do
    the rest.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.where = nn.Conv2d(features, 1, 1)
        self.what = nn.Sequential(
            nn.Linear(features + 1 + 2 * COORDINATES, 3 * width),
            nn.GELU(),
            nn.Linear(3 * width, 3 * width),
            nn.GELU(),
        )
        self.form = _silent(nn.Linear(3 * width, 3))
        self.steering = nn.Linear(3 * width, 4 * width)
        self.first = nn.Conv2d(1 + COORDINATES, width, 1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = _silent(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, kernel: Tensor, direction: Tensor, features: Tensor, scene: Scene) -> Tensor:
        """Give the logarithm of a factor for each pixel of the kernel."""
        size = (kernel.shape[-2], kernel.shape[-1])
        places = coordinates(size, kernel.device)
        largest = kernel.detach().amax(dim=(-2, -1), keepdim=True).clamp(min=FLOOR)
        heed = torch.sigmoid(self.where(features))
        mean = (heed * features).mean(dim=(-2, -1)) / (heed.mean(dim=(-2, -1)) + 1e-6)
        area = places.abs().sum(dim=(-2, -1))
        cues = [(v * places).sum(dim=(-2, -1)) / area for v in (scene.spread, direction / largest)]
        what = self.what(torch.cat((mean, scene.level.flatten(1).log() + 3.5, *cues), dim=1))
        scale, shift, scale2, shift2 = self.steering(what)[..., None, None].chunk(4, dim=1)
        x = self.first(torch.cat((kernel / largest, places.expand(len(kernel), -1, -1, -1)), dim=1))
        x = functional.gelu(x * (1 + scale) + shift)
        x = functional.gelu(self.second(x) * (1 + scale2) + shift2)
        fine = LOUDEST * torch.tanh(4 * QUIET * self.last(x) / LOUDEST)
        return fine + _quadratic(self.form(what), size)


def _quadratic(form: Tensor, size: tuple[int, int]) -> Tensor:
    """Give the logarithm of a Gaussian factor, 0 for three zeros.

    To 1/σ², which is 0.1 for the default kernel of 31 px, is added between −0.03 and 15 along
    each direction. What is made wider is so by a little at a time: far out there is nothing but
    the floor to make larger.
    """
    form = 5 * torch.tanh(form / 5)
    less = WIDEN * functional.softsign(0.1 / WIDEN * form)
    added = torch.where(form > 0, 0.1 * torch.expm1(form), less)
    down, across = (added[:, i, None, None, None] for i in (0, 1))
    # The largest skew with which no direction gets less than both are allowed to.
    most = torch.sqrt((down + WIDEN) * (across + WIDEN) + 1e-8)
    skew = torch.tanh(form[:, 2, None, None, None]) * most
    y, x = (torch.arange(n, device=form.device, dtype=torch.float32) - n // 2 for n in size)
    y, x = y[:, None], x[None]
    return -(down * y**2 + across * x**2 + 2 * skew * y * x) / 2


def kernel_of(values: Tensor, logarithm: Tensor | None) -> Tensor:
    """Make values non-negative, weigh them, and give them the sum 1 per item.

    Parameters
    ----------
    values : Tensor, shape (batch, 1, ky, kx)
    logarithm : Tensor, same shape, or None
        Of what each pixel is multiplied by, but for a factor; None weighs all alike.
    """
    light = (values + torch.sqrt(values.square() + FLOOR**2)) / 2
    if logarithm is not None:
        largest = logarithm.detach().amax(dim=(-2, -1), keepdim=True)
        light = light * (logarithm - largest).exp() + torch.finfo(light.dtype).tiny
    return light / light.sum(dim=(-2, -1), keepdim=True)


@lru_cache(maxsize=16)
def coordinates(size: tuple[int, int], device: torch.device) -> Tensor:
    """Give functions of the place in a kernel, in pixels: (1, 9, ky, kx), all about 1 at most."""
    y, x = (torch.arange(n, device=device, dtype=torch.float32) - n // 2 for n in size)
    y, x = y[:, None].expand(size), x[None].expand(size)
    square = y**2 + x**2
    far = torch.sqrt(1 + square)
    rings = [torch.exp(-square / (2 * s**2)) for s in (1.0, 2.0, 4.0, 8.0)]
    turns = [y / far, x / far, (x**2 - y**2) / far**2, 2 * x * y / far**2]
    return torch.stack((*rings, *turns, far / 8))[None]


def _silent(layer: Layer) -> Layer:
    """Let a layer begin at zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast("Any", layer.bias))
    return layer
