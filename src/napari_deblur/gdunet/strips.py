"""What a trained network's blocks compute, in strips of rows that stay in a processor's cache.

On a CPU whole images take longer to move than to compute, and a mean over 12 channels that lie
side by side takes longer than everything else. Here channels are centred by a matrix product,
and what is linear in a pixel's channels is put together with its neighbours. Without gradients;
`Block` and `Pyramid` compute the same, to rounding, where they are wanted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_deblur.gdunet.blocks import Block

__all__ = ["block_in_strips", "fits", "to_one_channel"]

# Numbers of a strip of an image, over all of its channels: 1 MB. On a core that has as much cache
# of its own, a quarter of that took 1.1 times as long, and whole images of 536² px 1.6 times.
STRIP = 2**18


def fits(x: Tensor) -> bool:
    """Tell whether strips pay, and are allowed: on a CPU, without gradients."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def block_in_strips(block: Block, cell: int, x: Tensor) -> Tensor:
    """Apply a block to (batch, channels, y, x), y and x multiples of `cell`.

    Returns
    -------
    Tensor, shape of `x`
        With its channels last in memory.
    """
    x = x.permute(0, 2, 3, 1).contiguous()
    result = torch.empty_like(x)
    weights = _Weights.of(block)
    for one, out in zip(x, result, strict=True):
        gated, means = _gated(block, weights, cell, one, out)
        around = block.around(means[None])[0]
        _mixed(weights, cell, one, gated, around)
    return result.permute(0, 3, 1, 2)


def to_one_channel(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution of 3 × 3 that leaves one channel: nine products, shifted and added.

    Parameters
    ----------
    convolution : Conv2d
        Of padding 1.
    x : Tensor, shape (batch, channels, y, x)
        With its channels last in memory.

    Returns
    -------
    Tensor, shape (batch, 1, y, x)
    """
    batch, channels, ny, nx = x.shape
    taps = convolution.weight[0].reshape(channels, 9).T.contiguous()
    bias = convolution.bias
    result = (
        x.new_zeros(batch, 1, ny, nx) if bias is None else bias.expand(batch, 1, ny, nx).clone()
    )
    rows = _rows(nx * max(channels, 9), 1)
    for one, out in zip(x.permute(0, 2, 3, 1), result[:, 0], strict=True):
        for start in range(0, ny, rows):
            strip = one[start : start + rows]
            products = torch.mm(taps, strip.reshape(-1, channels).T).reshape(3, 3, -1, nx)
            for i in range(3):
                for j in range(3):
                    _add_shifted(out, products[i, j], start + 1 - i, 1 - j)
    return result


def _add_shifted(out: Tensor, part: Tensor, y: int, x: int) -> None:
    """Add `part` to `out` at (y, x), and leave out what lies beyond."""
    ny, nx = out.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + part.shape[0], ny), min(x + part.shape[1], nx)
    out[top:bottom, left:right] += part[top - y : bottom - y, left - x : right - x]


class _Weights(NamedTuple):
    """A block's weights with all that belongs together put together; biases in a last column."""

    centre: Tensor
    widen: Tensor
    narrow: Tensor
    shift: Tensor
    widen2: Tensor
    narrow2: Tensor
    eps: float

    @classmethod
    def of(cls, block: Block) -> _Weights:
        n = len(block.share)
        narrow, narrow2 = block.narrow, block.narrow2
        return cls(
            (torch.eye(n) - 1 / n) / math.sqrt(n),
            _after_norm(block.norm, block.widen).T.contiguous(),
            (block.share[:, None] * narrow.weight).T.contiguous(),
            block.share * narrow.bias,
            _after_norm(block.norm2, block.widen2),
            (block.share2[:, None] * _joined(narrow2.weight, narrow2.bias)).T.contiguous(),
            block.norm.eps,
        )


def _after_norm(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    scale = norm.weight * math.sqrt(len(norm.weight))
    return _joined(linear.weight * scale, linear.weight @ norm.bias + linear.bias)


def _joined(weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat((weight, bias[:, None]), dim=1)


def _gated(
    block: Block, weights: _Weights, cell: int, x: Tensor, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the first half of a block up to its attention, and the means of its cells.

    Written to `out`, shape of `x` (y, x, channels).
    """
    ny, nx, channels = x.shape
    means = x.new_empty(ny // cell, nx // cell, channels)
    rows = _rows(nx * channels, cell)
    spread = block.spread
    for start in range(0, ny, rows):
        stop = min(start + rows, ny)
        # With a row before and after, zeros beyond the image.
        first, last = max(start - 1, 0), min(stop + 1, ny)
        wide = x.new_empty(stop - start + 2, nx, 2 * channels)
        if first == start:
            wide[0] = 0
        if last == stop:
            wide[-1] = 0
        inside = wide[first - start + 1 : last - start + 1].reshape(-1, 2 * channels)
        torch.mm(_normed(weights, x[first:last]).T, weights.widen, out=inside)
        # As a batch of one, and then permuted: otherwise it isn't seen that channels are last.
        strip = functional.conv2d(
            wide[None].permute(0, 3, 1, 2), spread.weight, spread.bias, padding=(0, 1),
            groups=2 * channels,
        ).permute(0, 2, 3, 1)[0]  # fmt: skip
        gated = torch.mul(strip[..., :channels], strip[..., channels:], out=out[start:stop])
        # Over rows first, whose numbers lie side by side.
        along = gated.reshape(-1, cell, nx * channels).mean(dim=1)
        means[start // cell : stop // cell] = along.reshape(-1, nx // cell, cell, channels).mean(2)
    return out, means


def _mixed(weights: _Weights, cell: int, x: Tensor, gated: Tensor, around: Tensor) -> None:
    """Compute the rest of a block, in place of `gated`."""
    ny, nx, channels = x.shape
    rows = _rows(nx * channels, cell)
    for start in range(0, ny, rows):
        strip = gated[start : start + rows]
        cells = strip.reshape(-1, cell, nx // cell, cell, channels)
        weight = around[start // cell : (start + rows) // cell, None, :, None]
        attended = (cells * weight).reshape(-1, channels)
        flat = strip.reshape(-1, channels)
        torch.add(x[start : start + rows].reshape(-1, channels), weights.shift, out=flat)
        flat.addmm_(attended, weights.narrow)
        wide = torch.mm(weights.widen2, _normed(weights, flat))
        product = wide.new_empty(channels + 1, len(flat))
        torch.mul(wide[:channels], wide[channels:], out=product[:-1])
        product[-1] = 1
        flat.addmm_(product.T, weights.narrow2)


def _normed(weights: _Weights, x: Tensor) -> Tensor:
    """Normalise (..., channels) over its channels: (channels + 1, pixels), the last ones 1."""
    channels = x.shape[-1]
    flat = x.reshape(-1, channels)
    normed = x.new_empty(channels + 1, len(flat))
    centred = torch.mm(weights.centre, flat.T, out=normed[:-1])
    # Divided by the root of their number before, lest there be means to take.
    scale = centred.square().sum(dim=0).add_(weights.eps).rsqrt_()
    centred *= scale
    normed[-1] = 1
    return normed


def _rows(row: int, cell: int) -> int:
    """Give how many rows of so many numbers a strip has, a multiple of `cell`."""
    return max(1, round(STRIP / (row * cell))) * cell
