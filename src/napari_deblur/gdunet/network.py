"""GDUNet: alternating proximal gradient descent on image and kernel, with learned parts.

To be minimised, over an image u and a kernel h ≥ 0 of sum 1, given data y::

    1/2 ‖h * u − y‖² + Ψ(∂x u) + Ψ(∂y u) + Φ(u) + Ω(h)

Each stage takes a gradient step on the image, applies Φ's proximal map, which is a U-Net, takes
a gradient step on the kernel, and applies Ω's, which sees in the U-Net's coarsest features how
blurred the image still is. With the residual branches at zero, where training begins, this is
the classical algorithm with soft thresholds for Ψ and Ω and no Φ.

References
----------
Guo et al., Neural Netw. 190, 107683 (2025), doi:10.1016/j.neunet.2025.107683. Here, unlike there,
the kernel step is the gradient; both steps are preconditioned, the level of the noise is known to
all parts, nothing is normalised over a tile, and kernels keep their size whatever the tile's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn

from napari_deblur.gdunet.blocks import Pyramid
from napari_deblur.gdunet.dense import DenseStage
from napari_deblur.gdunet.kernel_prior import KernelPrior
from napari_deblur.gdunet.scene import Pair, Scene
from napari_deblur.gdunet.steps import ImageStep, KernelStep

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CONFIGURATIONS", "PARTS", "STEPS", "Configuration", "Network", "centred"]

Without = Literal["attention", "gradients", "noise", "unfolding"]
Part = Literal["all", "small", "dense"]
Steps = Literal["preconditioned", "gradient", "released", "none"]
PARTS: tuple[str, ...] = get_args(Without)
STEPS: tuple[str, ...] = get_args(Steps)


@dataclass(frozen=True)
class Configuration:
    """The sizes of a network.

    Parameters
    ----------
    stages : int
    width : int
        Channels of the U-Net's finest level.
    encoder, decoder : tuple of int
        Blocks of its levels, finest first.
    middle : int
        Blocks of its coarsest level.
    gradient_width, gradient_blocks : int
        Channels and blocks of what corrects the image's gradients.
    kernel_width, kernel_blocks : int
        Channels and blocks of the kernel's proximal map.
    dense : int
        How many stages of dense convolutions follow: what the stages before found of the kernel is
        what they begin with, and with a given kernel they are all there is.
    dense_widths, dense_encoder, dense_decoder : tuple of int
        Channels and blocks of their levels, finest first; the coarsest has no decoder.
    without : tuple of str
        Parts that are left out, to find what they are worth: "attention", "gradients", "noise";
        "unfolding" leaves nothing but the U-Net, which knows no kernel.
    kernel_step : str
        "preconditioned"; or, to find what that is worth, "gradient", "released" (what the
        published code does instead) or "none".
    """

    stages: int = 2
    width: int = 12
    encoder: tuple[int, ...] = (1, 1, 1)
    middle: int = 1
    decoder: tuple[int, ...] = (1, 1, 1)
    gradient_width: int = 8
    gradient_blocks: int = 1
    kernel_width: int = 24
    kernel_blocks: int = 2
    dense: int = 0
    dense_widths: tuple[int, ...] = (64, 96)
    dense_encoder: tuple[int, ...] = (3, 4)
    dense_decoder: tuple[int, ...] = (3,)
    without: tuple[Without, ...] = ()
    kernel_step: Steps = "preconditioned"

    def __post_init__(self) -> None:
        # A misspelt part would be left in, a misspelt step be another one.
        for name, given, known in (
            ("without", tuple(self.without), PARTS),
            ("kernel_step", (self.kernel_step,), STEPS),
        ):
            if unknown := [word for word in given if word not in known]:
                raise ValueError(
                    f'{name} of a network has "{unknown[0]}" and can have: {", ".join(known)}'
                )

        if self.dense and self.stages and not self.blind:
            raise ValueError(
                'without of a network has "unfolding": what its stages make is not what dense ones '
                "go on from; take u-net or u-net-light"
            )

    @property
    def blind(self) -> bool:
        """Whether there are kernels in it."""
        return "unfolding" not in self.without

    @property
    def cell(self) -> int:
        """Pixels that the U-Nets of stages that are not dense bin along each axis."""
        return int(2 ** len(self.encoder))

    @property
    def multiple(self) -> int:
        """A tile that begins at a multiple of so many pixels is treated as in a larger one."""
        return max(self.cell, 2 ** len(self.dense_widths) if self.dense else 1)


CONFIGURATIONS = {
    "tiny": Configuration(),
    # As large as "tiny", to compare with.
    "u-net": Configuration(stages=1, width=20, without=("unfolding",)),
    # "tiny" and two stages that are larger.
    "light": Configuration(dense=2),
    # As large as "light", to compare with.
    "u-net-light": Configuration(
        stages=0,
        dense=1,
        dense_widths=(64, 96, 128),
        dense_encoder=(4, 3, 4),
        dense_decoder=(4, 3),
        without=("unfolding",),
    ),
    # The published widths and numbers of blocks.
    "paper": Configuration(
        stages=3,
        width=32,
        encoder=(1, 1, 1, 16),
        decoder=(1, 1, 1, 1),
        gradient_width=32,
        gradient_blocks=2,
        kernel_width=32,
        kernel_blocks=2,
    ),
}


class Network(nn.Module):
    """Restore images, and find the kernels that blurred them.

    Parameters
    ----------
    configuration : Configuration
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        self.stages = nn.ModuleList(Stage(configuration) for _ in range(configuration.stages))
        self.dense = nn.ModuleList(DenseStage(configuration) for _ in range(configuration.dense))

    def forward(
        self,
        seen: Tensor,
        noise: Tensor,
        kernel: Tensor,
        *,
        fixed: bool = False,
        cut: bool = False,
        centre: bool = True,
        part: Part = "all",
    ) -> list[Pair]:
        """Run all stages.

        Parameters
        ----------
        seen : Tensor, shape (batch, channels, y, x), float32
            Blurred images on the grid of the object, background 0 and white 1. The kernel's
            margin ((n − 1) // 2 before, n // 2 after) may be made up, see `extended`: it is where
            the image starts, but no data. Channels, or planes, share a kernel.
        noise : Tensor, shape (batch, 2)
            Variance per unit of brightness (photons), and variance in the dark.
        kernel : Tensor, shape (batch, 1, ky, kx)
            To begin with; non-negative, sum 1, odd sizes.
        fixed : bool
            Leave the kernel as it is and restore the image only.
        cut : bool
            Pass no gradients from stage to stage through the kernel.
        centre : bool
            Centre the last kernel, see `centred`. Training must not: moved by whole pixels, a
            kernel that drifts away from its centre is never pulled back.
        part : "all", "small" or "dense"
            Run the stages before the dense ones only, or nothing but these, with a kernel that is
            nearly right, as "all" does where it is fixed. What a network doesn't have is left out
            of "all".

        Returns
        -------
        list of Pair
            One of each stage that was run.
        """
        scene = Scene.of(seen, noise, kernel, self.configuration.without)
        image, pairs = seen, []
        # To restore is what dense stages do better, and without the others' images.
        only = "dense" if fixed and self.dense and part == "all" else part
        with _in_full(self.stages, seen):
            for stage in self.stages if only != "dense" else ():
                image, kernel = stage(image, kernel.detach() if cut else kernel, scene, fixed)
                pairs.append(Pair(image, kernel))
        dense = self.dense if only != "small" else ()
        image = seen if dense else image
        for stage in dense:
            image, kernel = stage(image, kernel.detach() if cut else kernel, scene, fixed)
            pairs.append(Pair(image, kernel))
        if centre and not fixed and self.configuration.blind:
            pairs[-1] = centred(pairs[-1])
        return pairs


def _in_full(stages: nn.ModuleList, like: Tensor) -> AbstractContextManager[Any]:
    """Compute in all bits what isn't learned: there half of them would be lost for nothing."""
    if any(parameter.requires_grad for parameter in stages.parameters()):
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


class Stage(nn.Module):
    """One round of the algorithm: image, then kernel."""

    def __init__(self, c: Configuration) -> None:
        super().__init__()
        self.unfolded = c.blind
        if c.blind:
            self.image_step = ImageStep(c)
        self.image_prior = Pyramid(3, c.width, c.encoder, c.middle, c.decoder)
        if c.blind:
            self.kernel_step = KernelStep(c.kernel_step)
            self.kernel_prior = KernelPrior(
                c.width * c.cell,
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
            return Pair(self._restored(image, scene)[0], kernel)
        stepped = self.image_step(image, kernel, scene)
        image, features = self._restored(stepped, scene)
        if not fixed:
            kernel = self.kernel_prior(
                kernel, self.kernel_step(kernel, image, scene), features, scene
            )
        return Pair(image, kernel)

    def _restored(self, image: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Apply the image's proximal map; the channels of an item go through it one by one."""
        batch, channels = image.shape[:2]
        known = torch.stack((image, scene.seen, scene.noise), dim=2).flatten(0, 1)
        change, features = self.image_prior(known)
        features = features.unflatten(0, (batch, channels)).mean(dim=1)
        return image + change.reshape(image.shape), features


def centred(pair: Pair) -> Pair:
    """Move kernels by whole pixels until they are centred, and the images with them.

    Not by parts of a pixel: that would blur both. Training keeps what is left small.
    """
    image, kernel = pair
    for axis in (-2, -1):
        n = kernel.shape[axis]
        along = kernel.sum(dim=-1 if axis == -2 else -2)
        places = torch.arange(n, device=kernel.device) - n // 2
        centre = (along.detach() * places).sum(dim=-1).round().long()
        kernel, image = _moved(kernel, centre, axis), _moved(image, -centre, axis)
    return Pair(image, kernel)


def _moved(thing: Tensor, by: Tensor, axis: int) -> Tensor:
    """Take each item's pixels from so many places further on along an axis, wrapping around."""
    n = thing.shape[axis]
    places = torch.arange(n, device=thing.device) + by[..., None]
    shape = [1] * thing.ndim
    shape[0], shape[axis] = thing.shape[0], n
    return thing.gather(axis, (places % n).reshape(shape).expand_as(thing))
