"""What the network is built of: blocks that know no more of an image than a window of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from napari_deblur.gdunet.strips import block_in_strips, fits, to_one_channel

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Block", "Pyramid", "filled_up", "one_channel", "soft"]

# A window of attention is so many cells wide; a cell is a pixel of the coarsest level.
WINDOW = 3


class Block(nn.Module):
    """Gate and attend over channels, then mix them; both halves are added to what came in.

    After the block of Chen et al., without its means over the whole image: attention looks at
    3 × 3 cells, so that a tile has the same of it as the image it was cut from. And values are
    normalised over the channels of a pixel, never over space: with statistics of the tile, larger
    tiles alone cost up to 4.7 dB.

    Parameters
    ----------
    channels : int
    cell : int or None
        Pixels of a cell along each axis, a divisor of the shape; None for the mean of everything,
        which is for kernels.

    References
    ----------
    Chen et al., ECCV 2022, doi:10.1007/978-3-031-20071-7_2.
    """

    def __init__(self, channels: int, cell: int | None) -> None:
        super().__init__()
        self.cell = cell
        self.norm, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        # What looks at one pixel is linear in its channels: with these last in memory, that takes
        # less than half the time of a convolution of size 1 on a CPU.
        self.widen = nn.Linear(channels, 2 * channels)
        self.spread = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attend = nn.Linear(channels, channels)
        self.narrow = nn.Linear(channels, channels)
        self.widen2 = nn.Linear(channels, 2 * channels)
        self.narrow2 = nn.Linear(channels, channels)
        # At zero the block changes nothing.
        self.share = nn.Parameter(torch.zeros(channels))
        self.share2 = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Change (batch, channels, y, x)."""
        if self.cell is not None and fits(x):
            return block_in_strips(self, self.cell, x)
        x = x.permute(0, 2, 3, 1)
        # Nothing large has a name that keeps it longer than needed.
        x = x + self.share * self.narrow(self._attended(_gated(self._wide(x))))
        x = x + self.share2 * self.narrow2(_gated(self.widen2(self.norm2(x))))
        changed: Tensor = x.permute(0, 3, 1, 2)
        return changed

    def _wide(self, x: Tensor) -> Tensor:
        spread: Tensor = self.spread(self.widen(self.norm(x)).permute(0, 3, 1, 2))
        return spread.permute(0, 2, 3, 1)

    def _attended(self, x: Tensor) -> Tensor:
        if self.cell is None:
            mean: Tensor = self.attend(x.mean(dim=(1, 2), keepdim=True))
            return x * mean
        batch, ny, nx, channels = x.shape
        cell = self.cell
        cells = x.reshape(batch, ny // cell, cell, nx // cell, cell, channels)
        weights = self.around(cells.mean(dim=(2, 4)))
        return (cells * weights[:, :, None, :, None]).reshape(x.shape)

    def around(self, means: Tensor) -> Tensor:
        """Weigh the channels of each cell by the means, (batch, y, x, channels), around it."""
        around = functional.avg_pool2d(
            means.permute(0, 3, 1, 2),
            WINDOW,
            stride=1,
            padding=WINDOW // 2,
            count_include_pad=False,
        )
        weights: Tensor = self.attend(around.permute(0, 2, 3, 1))
        return weights


class Pyramid(nn.Module):
    """A U-Net of blocks, whose last convolution begins at zero.

    Parameters
    ----------
    inputs : int
        Channels that come in; one comes out.
    width : int
        Channels of the finest level; each coarser level has twice as many.
    encoder, decoder : tuple of int
        Blocks of each level but the coarsest, finest first.
    middle : int
        Blocks of the coarsest level.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        encoder: tuple[int, ...],
        middle: int,
        decoder: tuple[int, ...],
    ) -> None:
        super().__init__()
        levels = len(encoder)
        self.multiple = 2**levels
        wide = [width * 2**level for level in range(levels + 1)]

        def blocks(level: int, count: int) -> nn.Sequential:
            cell = 2 ** (levels - level)
            return nn.Sequential(*(Block(wide[level], cell) for _ in range(count)))

        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.encoder = nn.ModuleList(blocks(i, n) for i, n in enumerate(encoder))
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in wide[:-1])
        self.middle = blocks(levels, middle)
        self.up = nn.ModuleList(nn.Linear(2 * w, 4 * w, bias=False) for w in wide[:-1])
        self.decoder = nn.ModuleList(blocks(i, n) for i, n in enumerate(decoder))
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give (batch, 1, y, x) from (batch, inputs, y, x), and the features of the coarsest level.

        The far edges are filled up to a multiple of 2 to the number of levels and cut off again.
        """
        ny, nx = x.shape[-2:]
        x = filled_up(x, self.multiple)
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = blocks(x)
            kept.append(x)
            x = down(x)
        x = features = self.middle(x)
        for up, blocks in zip(reversed(self.up), reversed(self.decoder), strict=True):
            x = blocks(_finer(up.get_parameter("weight"), x, kept.pop()))
        return one_channel(self.last, x)[..., :ny, :nx], features


def filled_up(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both axes are multiples."""
    ny, nx = x.shape[-2:]
    beyond = (0, -nx % multiple, 0, -ny % multiple)
    return functional.pad(x, beyond, mode="replicate") if any(beyond) else x


def one_channel(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution of 3 × 3 that leaves one channel."""
    if fits(x):
        return to_one_channel(convolution, x)
    result: Tensor = convolution(x)
    return result


def _finer(weight: Tensor, x: Tensor, kept: Tensor) -> Tensor:
    """Make four pixels of one and add what was `kept`: a shuffle of pixels, channels last."""
    batch, channels, ny, nx = kept.shape
    # Its rows are sorted by channel, then place; turned round, channels stay side by side.
    by_place = weight.reshape(channels, 4, -1).transpose(0, 1).flatten(0, 1)
    four = functional.linear(x.permute(0, 2, 3, 1), by_place)
    four = four.reshape(batch, ny // 2, nx // 2, 2, 2, channels).transpose(2, 3)
    both = kept.permute(0, 2, 3, 1).reshape(four.shape) + four
    finer: Tensor = both.reshape(batch, ny, nx, channels).permute(0, 3, 1, 2)
    return finer


def soft(x: Tensor, threshold: Tensor | float) -> Tensor:
    """Shrink towards zero by `threshold`: the proximal map of a sum of absolute values."""
    shrunk: Tensor = functional.relu(x - threshold) - functional.relu(-x - threshold)
    return shrunk


def _gated(x: Tensor) -> Tensor:
    one, two = x.chunk(2, dim=-1)
    product: Tensor = one * two
    return product
