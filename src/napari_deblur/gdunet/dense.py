"""Stages of dense convolutions: most of a larger network's numbers, and what it does quickest.

The blocks of the small stages are thrifty with numbers and spend their time moving memory. Ordinary
convolutions of many channels, on a grid of half the pixels, do ten times the arithmetic in the
same time, most of all in half the bits on processors that are made for that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from napari_deblur.gdunet.blocks import filled_up
from napari_deblur.gdunet.kernel_prior import KernelPrior
from napari_deblur.gdunet.physics import blurred, data_directions
from napari_deblur.gdunet.scene import Pair
from napari_deblur.gdunet.steps import KernelStep

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.gdunet.network import Configuration
    from napari_deblur.gdunet.scene import Scene

__all__ = ["DenseStage"]

# How much each step damps, the logarithm of it at a noise of 1: sharp and noisy, to soft.
DAMPINGS = (-0.5, 1.5, 3.5)
# Which of them the image goes on from.
CHOSEN = 1
# What a block adds to begin with.
SMALL = 0.1


class DenseStage(nn.Module):
    """One round of the algorithm with a larger image prior, which sees several steps at once."""

    def __init__(self, c: Configuration) -> None:
        super().__init__()
        self.unfolded = c.blind
        known = 2 * len(DAMPINGS) + 3 if c.blind else 2
        self.image_prior = DensePyramid(known, c.dense_widths, c.dense_encoder, c.dense_decoder)
        if not c.blind:
            return
        self.image_step = DenseImageStep()
        self.kernel_step = KernelStep(c.kernel_step)
        self.kernel_prior = KernelPrior(
            c.dense_widths[-1],
            c.kernel_width,
            c.kernel_blocks,
            attention="attention" not in c.without,
        )

    def forward(
        self,
        image: Tensor,
        kernel: Tensor,
        scene: Scene,
        fixed: bool,  # noqa: FBT001
    ) -> Pair:
        """Improve an image and a kernel."""
        if not self.unfolded:
            known = torch.stack((image, scene.noise), dim=2).flatten(0, 1)
            return Pair(image + self.image_prior(known)[0].reshape(image.shape), kernel)
        image, features = self._restored(image, kernel, scene)
        if not fixed:
            kernel = self.kernel_prior(
                kernel, self.kernel_step(kernel, image, scene), features, scene
            )
        return Pair(image, kernel)

    def _restored(self, image: Tensor, kernel: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Step and correct; the channels of an item go through the U-Net one by one."""
        batch, channels = image.shape[:2]
        steps, louder = self.image_step(image, kernel, scene)
        besides = torch.stack((image, scene.seen, scene.noise), dim=2)
        known = torch.cat((besides, steps, louder), dim=2).flatten(0, 1)
        change, features = self.image_prior(known)
        features = features.unflatten(0, (batch, channels)).mean(dim=1)
        return steps[:, :, CHOSEN] + change.reshape(image.shape), features


class DenseImageStep(nn.Module):
    """A gradient step on the image, preconditioned in several ways, from sharp to soft."""

    def __init__(self) -> None:
        super().__init__()
        # The logarithm of the damping is linear in that of the noise's level.
        self.damping = nn.Parameter(torch.tensor([(start, 1.0) for start in DAMPINGS]))

    def forward(self, image: Tensor, kernel: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Step downhill.

        Returns
        -------
        stepped : Tensor, shape (batch, channels, steps, y, x)
        noise : Tensor, shape (batch, channels, steps, y, x)
            As `noise_map`, of what each step makes of the data's noise.
        """
        residual = blurred(image, kernel) - scene.data
        start, slope = self.damping.T[..., None, None]
        damping = torch.exp(start + slope * scene.level.log())
        directions, gain = data_directions(residual, kernel, damping)
        louder = scene.noise[:, :, None] + gain.log()[:, None]
        return image[:, :, None] - directions, louder


class Residual(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(SMALL)

    def forward(self, x: Tensor) -> Tensor:
        """Change (batch, channels, y, x)."""
        changed: Tensor = self.second(functional.relu(self.first(x), inplace=True)).add_(x)
        return changed


class DensePyramid(nn.Module):
    """A U-Net of such blocks, whose finest level has half the pixels along each axis.

    The last convolution begins at zero.

    Parameters
    ----------
    inputs : int
        Channels that come in; one comes out.
    widths : tuple of int
        Channels of each level, finest first.
    encoder, decoder : tuple of int
        Blocks of each level; the coarsest has no decoder.
    """

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, ...],
        encoder: tuple[int, ...],
        decoder: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        pairs = list(pairwise(widths))

        def blocks(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(Residual(width) for _ in range(count)))

        self.first = nn.Conv2d(4 * inputs, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(blocks(w, n) for w, n in zip(widths, encoder, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in pairs)
        self.decoder = nn.ModuleList(
            blocks(w, n) for w, n in zip(widths[:-1], decoder, strict=True)
        )
        self.last = nn.Conv2d(widths[0], 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give (batch, 1, y, x) from (batch, inputs, y, x), and the features of the coarsest level.

        The far edges are filled up to a multiple of 2 to the number of levels and cut off again.
        """
        ny, nx = x.shape[-2:]
        x = functional.pixel_unshuffle(filled_up(x, self.multiple), 2).contiguous(
            memory_format=torch.channels_last
        )
        x = self.first(x)
        kept = []
        for level, blocks in enumerate(self.encoder):
            x = blocks(x)
            if level < len(self.down):
                kept.append(x)
                x = self.down[level](x)
        features = x
        for up, blocks in zip(reversed(self.up), reversed(self.decoder), strict=True):
            x = blocks(up(x).add_(kept.pop()))
        change = functional.pixel_shuffle(self.last(x).float(), 2)[..., :ny, :nx]
        return change, features.float()
