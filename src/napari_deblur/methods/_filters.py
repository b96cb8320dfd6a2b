"""What the direct filters share: the division, and the image continued beyond its border."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Blur, Sample

    Values = NDArray[np.float64]

__all__ = ["LEAST", "Operator", "filtered", "penalty", "spacing_of"]

Operator = Literal["identity", "gradient", "laplacian"]

# The least weight. Float32 transforms are exact to about 1e-7: amplifying more than this shows
# their rounding.
LEAST = 1e-7
# Frequencies that are worked on at a time.
SLAB = 2**19


def spacing_of(samples: Sequence[Sample], axes: int) -> tuple[float, ...]:
    """Give the pixel sizes along the blurred axes over the finest of them; 1 where unknown."""
    size = samples[0].pixel_size if samples else None
    if size is None:
        return (1.0,) * axes
    used = [float(v) for v in size[-axes:]]
    return tuple(round(v / min(used), 6) for v in used)


def penalty(lengths: tuple[int, ...], operator: Operator, spacing: tuple[float, ...]) -> Values:
    """Give the squared response of an operator on the half grid of a real transform."""
    total: Values = np.zeros(())
    for line in _lines(lengths, spacing):
        total = total[..., None] + line
    if operator == "identity":
        return np.ones_like(total)
    return total if operator == "gradient" else total**2


def _lines(lengths: tuple[int, ...], spacing: tuple[float, ...]) -> list[Values]:
    """Give the squared response of differences along each axis."""
    if len(spacing) != len(lengths):
        raise ValueError(
            f"spacing has {len(spacing)} values {spacing} but the blur has {len(lengths)} axes: "
            'give one value per axis, or "auto"'
        )
    made = []
    for axis, (n, step) in enumerate(zip(lengths, spacing, strict=True)):
        make = np.fft.rfftfreq if axis == len(lengths) - 1 else np.fft.fftfreq
        made.append((2 / step * np.sin(np.pi * make(n))) ** 2)
    return made


def filtered(
    tile: Tensor,
    blur: Blur,
    *,
    weight: float,
    operator: Operator,
    spacing: tuple[float, ...],
    background: float,
    border: int,
) -> Tensor:
    """Divide by the transfer function where it is strong against `weight` × the operator.

    Beyond the border and in holes nothing was seen. There the image is first continued by what is
    near, then `border` times replaced by what the restored object would show there, with momentum
    (Reeves, IEEE Trans. Image Process. 14, 1448 (2005), doi:10.1109/TIP.2005.854474, has the
    model; the solver differs).
    """
    import torch

    from napari_deblur import ops

    axes, size = blur.ndim, tuple(tile.shape[-blur.ndim :])
    # Continued by a kernel on either side, and a kernel of background between: the inverse filter
    # reaches that far, and opposite borders must not meet.
    lengths = ops.transform_shape(tuple(n + 3 * k for n, k in zip(size, blur.shape, strict=True)))
    lines = _lines(lengths, spacing)
    passes = _passed(ops.transfer_function(blur.basis[0], lengths), lines, operator, weight)
    values, holes = _known(tile, background, axes)
    before = _continued(values, lengths, blur.shape)
    half = (*before.shape[:-1], lengths[-1] // 2 + 1)
    work = torch.empty(half, dtype=torch.complex64, device=tile.device)
    moved = before
    for step in range(border):
        ops.checkpoint()
        spectrum = ops.forward(moved, lengths, out=work)
        torch.view_as_real(spectrum).mul_(passes[..., None])
        moved = ops.backward(spectrum, lengths)
        del spectrum
        _keep(moved, values, holes, blur.shape)
        _go_on(moved, before, step / (step + 3))
    ops.checkpoint()
    del passes, moved, values, holes
    spectrum = ops.forward(before, lengths, out=work)
    del before, work
    spectrum *= _inverted(ops.transfer_function(blur.basis[0], lengths), lines, operator, weight)
    image = ops.backward(spectrum, lengths)
    for axis, (n, length) in enumerate(zip(blur.shape, size, strict=True), -axes):
        # The transfer function begins at the valid part's first index; crop() would start later.
        image = image.narrow(axis, (n - 1) // 2, length)
    return image + background


def _slabs(
    thing: Tensor, lines: list[Values], operator: Operator, weight: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a half grid along its first axis, and give with each piece the weighted penalty."""
    import torch

    axes = [torch.as_tensor(line, dtype=torch.float32, device=thing.device) for line in lines]
    step = max(1, SLAB * thing.shape[0] // thing.numel())
    for start in range(0, thing.shape[0], step):
        smooth = axes[0][start : start + step]
        for line in axes[1:]:
            smooth = smooth[..., None] + line
        if operator == "identity":
            smooth = torch.ones_like(smooth)
        elif operator == "laplacian":
            smooth = smooth.square()
        yield thing[start : start + step], smooth * weight


def _passed(otf: Tensor, lines: list[Values], operator: Operator, weight: float) -> Tensor:
    """Give how much of each frequency comes through the blur and its inverse."""
    passes = _power(otf)
    for one, smooth in _slabs(passes, lines, operator, weight):
        one.div_(smooth.add_(one))
    return passes


def _inverted(otf: Tensor, lines: list[Values], operator: Operator, weight: float) -> Tensor:
    """Give the inverse filter in the memory of the transfer function."""
    import torch

    for one, smooth in _slabs(otf, lines, operator, weight):
        divisor = smooth.add_(_power(one))
        one.copy_(one.conj())
        torch.view_as_real(one).div_(divisor[..., None])
    return otf


def _go_on(moved: Tensor, before: Tensor, share: float) -> None:
    """Go beyond the new image by a share of the step, and keep it as the one before; in place."""
    from napari_deblur import ops

    for new, old in ops.blocks(moved, before):
        seen = new.clone()
        new.mul_(1 + share).sub_(old, alpha=share)
        old.copy_(seen)


def _power(spectrum: Tensor) -> Tensor:
    """Give the squared absolute value."""
    return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)


def _known(tile: Tensor, background: float, axes: int) -> tuple[Tensor, Tensor | None]:
    """Give the tile above its background, holes filled in smoothly, and where they are."""
    from napari_deblur import ops

    values, mask = ops.split(tile)
    values -= background
    if mask is None:
        return values, None
    values *= mask
    return ops.filled(values, mask, tuple(tile.shape[-axes:]), (0,) * axes), mask == 0


def _continued(values: Tensor, lengths: tuple[int, ...], reach: tuple[int, ...]) -> Tensor:
    """Put a tile on a larger periodic grid, on which its border's values fade to 0 in `reach`."""
    import torch

    for axis, (length, width) in enumerate(zip(lengths, reach, strict=True), -len(lengths)):
        n = values.shape[axis]
        place = torch.arange(length, device=values.device)
        after, ahead = place - (n - 1), length - place
        nearest = torch.where(after <= ahead, n - 1, 0)
        away = torch.minimum(after, ahead).clamp(min=0) / (width + 1)
        fade = 0.5 + 0.5 * torch.cos(torch.pi * away.clamp(max=1))
        values = values.index_select(axis, torch.where(place < n, place, nearest))
        values.mul_(fade.reshape(-1, *(1,) * (-axis - 1)))
    return values


def _keep(grid: Tensor, values: Tensor, holes: Tensor | None, reach: tuple[int, ...]) -> None:
    """Put back what is known: the tile, and the background beyond the reach of the border."""
    import torch

    inside = grid
    for axis, width in enumerate(reach, -len(reach)):
        n = values.shape[axis]
        inside = inside.narrow(axis, 0, n)
        gap = grid.shape[axis] - n - 2 * width
        if gap > 0:
            grid.narrow(axis, n + width, gap).fill_(0)
    inside.copy_(values if holes is None else torch.where(holes, inside, values))
