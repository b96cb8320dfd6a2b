"""What total variation and hyper-Laplacian share: one solver, by splitting.

The object x minimises ``F(h * x) + weight · Σ|∇x|ᵖ``. Three copies make every step simple:
u = h * x meets the data, v = ∇x the prior, w = x is non-negative; x itself follows from all of them
by one division of transforms. Outside the tile, and in holes, u is free: the border is unknown, and
nothing wraps around (Almeida and Figueiredo 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_deblur.methods import _cells as cells
from napari_deblur.methods._proximal import Gaussian, Poisson, shrunk

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate

__all__ = ["Problem"]

# Slightly more than a whole step: the dual variables move this much further.
RELAXED = 1.6
# Of the penalties, see `Problem.penalties`.
DATA, GRADIENT, SIGN, LARGEST = 3.0, 3.0, 2.0, 0.3
# With less noise than this share of the signal, penalties stay: smaller ones take more iterations.
LEAST_STEP = 2e-3
# Between opposite borders lie so many voxels more, or half a kernel: they are free as well, but it
# takes iterations until they are. Without, a cut at one border showed at the other by 1 %.
GAP = 8
# Least noise, as a share of the signal.
LEAST_NOISE = 1e-5
# Where less than this share of a voxel's light reaches a pixel with data, nothing is known of it.
SEEN = 0.01


@dataclass(frozen=True)
class Problem:
    """All numbers of a restoration; lengths of time and space aside, in counts of the input.

    Parameters
    ----------
    weight, power : float
        Of the prior; the weight for an object in units of `unit`.
    unit : float
        Counts that are 1 to the solver: the noise's standard deviation, or a photon. Less than a
        hundred-thousandth of the scale is taken as that: float32 would show its own noise.
    poisson : bool
    background, lowest : float
        `lowest` is the count without photons; it matters for photons only.
    scale : float
        Typical counts above the background.
    spacing : one value for each blurred axis
    nonnegative : bool
    """

    weight: float
    power: float
    unit: float
    poisson: bool
    background: float
    lowest: float
    scale: float
    spacing: tuple[float, ...]
    nonnegative: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", max(self.unit, LEAST_NOISE * self.scale))

    def restored(self, tile: Tensor, blur: Blur, iterations: int) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        import torch

        from napari_deblur import ops
        from napari_deblur.protocols import Estimate

        data, mask = self._data(tile)
        pixels = float(data.numel() if mask is None else mask.sum())
        inner = _inner(data, blur)
        residuals = []
        for x, seen in islice(self._iterated(data, mask, blur), iterations):  # noqa: B007
            off = seen[inner] - data
            if mask is not None:
                off *= mask
            residuals.append(ops.mean_square(off, pixels).mul_(self.unit**2))
        del seen, off
        size = ops.object_shape(tuple(data.shape), blur.shape)
        image = ops.crop(x[tuple(slice(n) for n in size)], blur).clone()
        del x
        if self.nonnegative:
            image.clamp_(min=0)
        image.mul_(self.unit).add_(self.background)
        if mask is not None:
            image.masked_fill_(ops.crop(ops.blur_adjoint(mask, blur), blur) <= SEEN, torch.nan)
        return Estimate(image, None, torch.stack(residuals))

    def predicted(self, tile: Tensor, blur: Blur) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for ever, what the object predicts, and its tile, after each iteration."""
        from napari_deblur import ops

        data, mask = self._data(tile)
        size = tuple(slice(n) for n in ops.object_shape(tuple(data.shape), blur.shape))
        for x, seen in self._iterated(data, mask, blur):
            light = seen[_inner(data, blur)].mul(self.unit).add_(self.background)
            yield light, ops.crop(x[size], blur) * self.unit

    def _data(self, tile: Tensor) -> tuple[Tensor, Tensor | None]:
        from napari_deblur import ops

        data, mask = ops.split(tile)
        if self.poisson:
            data.sub_(self.lowest).clamp_(min=0)
        else:
            data.sub_(self.background)
        data.div_(self.unit)
        if mask is not None:
            data *= mask
        return data, mask

    def _penalties(self, dark: float) -> Penalties:
        """Give penalties with which most scenes were restored after few iterations.

        They follow from the noise and the signal's scale alone. The cleaner the data, the smaller
        is the gradient's.
        """
        signal = self.scale / self.unit
        variance = max(dark, 0.0) + signal if self.poisson else 1.0
        # Priors that are not convex want twice the penalties at a power of 2/3.
        noise = max(variance**0.5 / signal, LEAST_STEP) * (4 - 3 * self.power)
        data = min(DATA * noise, LARGEST) / variance
        gradient = data * min(GRADIENT * noise, LARGEST)
        sign = data * min(SIGN * noise, LARGEST) if self.nonnegative else 0.0
        return Penalties(data, gradient, sign)

    def _iterated(
        self, data: Tensor, mask: Tensor | None, blur: Blur
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if len(self.spacing) != blur.ndim:
            raise ValueError(
                f"spacing has {len(self.spacing)} values {self.spacing} but the kernel has "
                f"{blur.ndim} axes: give one value for each"
            )
        dark = (self.background - self.lowest) / self.unit
        penalties = self._penalties(dark)
        return _splitting(
            data,
            mask,
            blur,
            term=Poisson(dark) if self.poisson else Gaussian(),
            shrink=shrunk(self.power, self.weight / penalties.gradient, data),
            penalties=penalties,
            start=self.scale / self.unit,
            spacing=self.spacing,
        )


class Penalties(NamedTuple):
    """What it costs that u, v and w differ from what they are copies of."""

    data: float
    gradient: float
    sign: float


def _splitting(
    data: Tensor,
    mask: Tensor | None,
    blur: Blur,
    *,
    term: Gaussian | Poisson,
    shrink: Callable[[Tensor], Tensor],
    penalties: Penalties,
    start: float,
    spacing: tuple[float, ...],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate by the alternating direction method of multipliers, over-relaxed, for ever.

    `data` and `mask` are from `ops.split`, in units of the noise or in photons. After each
    iteration it yields the object and the blurred object on the periodic grid, which the next
    overwrites.
    """
    import torch

    from napari_deblur import ops
    from napari_deblur.ops.transforms import real_view

    ndim = blur.ndim
    size = tuple(data.shape[-ndim:])
    shape = ops.object_shape(size, blur.shape)
    # All even: a transposed image gets a transposed grid.
    lengths = tuple(
        ops.good_length(n + max(GAP, k // 2), even=True)
        for n, k in zip(shape, blur.shape, strict=True)
    )
    otf = ops.transfer_function(blur.basis[0], lengths)
    inverse = _inverse(otf, lengths, penalties, spacing)

    # x, what is blurred and the right side lie in the memory of their own spectra.
    half = (*data.shape[:-ndim], *otf.shape)
    of_x, of_seen, spare = (otf.new_empty(half) for _ in range(3))
    x, seen = real_view(of_x, lengths).fill_(start), real_view(of_seen, lengths)
    seen.fill_(start)
    seen[_inner(data, blur)] = data if mask is None else torch.where(mask > 0, data, start)
    # Each splitting keeps one array: copy + multiplier, less what the over-relaxation took.
    grid = (*data.shape[:-ndim], *lengths)
    of_data = data.new_zeros(grid)
    of_sign = data.new_zeros(grid) if penalties.sign else None
    of_gradient = [data.new_zeros(grid) for _ in range(1, 2**ndim)]
    step = 1.0
    while True:
        ops.checkpoint()
        _meet_data(seen, of_data, data, mask, term, penalties.data, step, size)
        of_seen = ops.forward(seen, lengths, out=of_seen)
        right = real_view(spare, lengths)
        _meet_prior(x, right, of_gradient, of_sign, shrink, penalties, step, spacing)
        spare, of_x = of_x, ops.forward(right, lengths, out=spare)
        for a, b in cells.slabs(of_x, ndim):
            where = cells.cut(a, b, ndim)
            part = of_x[where].add_(of_seen[where].mul_(otf[a:b].conj()), alpha=penalties.data)
            part.mul_(inverse[a:b])
            torch.mul(part, otf[a:b], out=of_seen[where])
        x = ops.backward(of_x, lengths)
        seen = ops.backward(of_seen, lengths)
        step = RELAXED
        yield x, seen


def _meet_data(
    seen: Tensor,
    kept: Tensor,
    data: Tensor,
    mask: Tensor | None,
    term: Gaussian | Poisson,
    penalty: float,
    step: float,
    size: tuple[int, ...],
) -> None:
    """Reflect ``h * x`` at the data, in place; outside the tile it is free."""
    import torch

    ndim = len(size)
    rest: tuple[Any, ...] = (..., *(slice(n) for n in size[1:]))
    for a, b in cells.slabs(seen, ndim):
        where = cells.cut(a, b, ndim)
        state = kept[where].add_(seen[where], alpha=step)
        near = state.clone()
        inside = min(b, size[0]) - a
        if inside > 0:
            tile = near.narrow(-ndim, 0, inside)[rest]
            values = data[cells.cut(a, a + inside, ndim)]
            met = term.prox(tile.clone(), values, penalty)
            if mask is not None:
                known = mask[cells.cut(a, a + inside, ndim)]
                met = torch.where(known > 0, met, tile)
            tile.copy_(met)
        torch.sub(near, state, out=seen[where]).add_(near)
        state.sub_(near, alpha=step)


def _meet_prior(
    x: Tensor,
    right: Tensor,
    of_gradient: list[Tensor],
    of_sign: Tensor | None,
    shrink: Callable[[Tensor], Tensor],
    penalties: Penalties,
    step: float,
    spacing: tuple[float, ...],
) -> None:
    """Fill the right side with what gradient and sign ask for: reflected, then the adjoint."""
    import torch

    ndim = len(spacing)
    scales = cells.scales(spacing)
    slabs = list(cells.slabs(x, ndim))
    for a, b in slabs:
        where = cells.cut(a, b, ndim)
        if of_sign is None:
            right[where] = 0
        else:
            state = of_sign[where].add_(x[where], alpha=step)
            torch.abs(state, out=right[where]).mul_(penalties.sign)
            state.sub_(state.clamp(min=0), alpha=step)
    for a, b in slabs:
        where = cells.cut(a, b, ndim)
        states = [kept[where] for kept in of_gradient]
        squared: Tensor | None = None
        for state, scale, part in zip(states, scales, cells.parts(x, a, b, ndim), strict=True):
            state.add_(part, alpha=step * scale)
            squared = state * state if squared is None else squared.addcmul_(state, state)
        assert squared is not None
        factor = shrink(squared)
        twice = 2 * factor - 1
        factor.mul_(-step).add_(1)
        reflected = []
        for state, scale in zip(states, scales, strict=True):
            reflected.append((state * twice).mul_(scale * penalties.gradient))
            state.mul_(factor)
        cells.spread(right, reflected, a, b, ndim)


def _inverse(
    otf: Tensor, lengths: tuple[int, ...], penalties: Penalties, spacing: tuple[float, ...]
) -> Tensor:
    """Give one over what the quadratic in x is multiplied by, on the half grid."""
    import torch

    total = otf.real.square().addcmul_(otf.imag, otf.imag).mul_(penalties.data)
    for axis, n in enumerate(lengths, -len(lengths)):
        make = torch.fft.rfftfreq if axis == -1 else torch.fft.fftfreq
        rough = 4 * torch.sin(torch.pi * make(n, dtype=total.dtype, device=total.device)).square()
        rough *= penalties.gradient / spacing[axis] ** 2
        total += rough.reshape((-1,) + (1,) * (-axis - 1))
    return total.add_(penalties.sign).reciprocal_()


def _inner(data: Tensor, blur: Blur) -> tuple[Any, ...]:
    """Index the tile in the periodic grid."""
    return (..., *(slice(n) for n in data.shape[-blur.ndim :]))
