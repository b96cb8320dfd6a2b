"""How a prediction changes with its kernel: the restoration that made it, followed backwards.

By hand, step by step, where torch's own way back takes complex transforms of the full size, knows
no planned ones, and keeps each of some forty arrays of a step. The transforms of the object and of
the ratio are kept from the way there; the kernel's slope is summed up as a spectrum.

All arrays are of a few images that share a kernel: (n, [z,] y, x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_deblur import ops

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KEPT", "SEEN", "Restoring"]

# Where less than this share of a pixel's light reaches the image, nothing is known of it.
SEEN = 0.01
# Of an accelerated step, the least that a pixel keeps of what the plain one gives.
KEPT = 0.05


@dataclass(frozen=True)
class _Step:
    """What one step leaves for the way back."""

    beyond: Tensor
    thing: Tensor
    predicted: Tensor
    light: Tensor
    factor: Tensor
    spectra: tuple[Tensor, Tensor]  # of beyond, of the ratio


class Restoring:
    """Accelerated Richardson-Lucy on a few images, for one kernel ([z,] y, x).

    Parameters
    ----------
    kept : Tensor (n, [z,] y, x)
        The images, in photons.
    mask : Tensor or None
        1 where the images are known, else 0.
    start, dark : float
        The flat object to begin with, and the light without any.
    even : float
        Weight of total variation.
    """

    def __init__(
        self,
        kernel: Tensor,
        kept: Tensor,
        mask: Tensor | None,
        *,
        start: float,
        dark: float,
        even: float = 0.0,
    ) -> None:
        shape = tuple(kept.shape[1:])
        sizes = list(zip(shape, kernel.shape, strict=True))
        self.kept = kept if mask is None else kept * mask
        self.dark, self.start, self.even = dark, start, even
        self.lengths = tuple(ops.good_length(n + k - 1, even=True) for n, k in sizes)
        self.otf = ops.transfer_function(kernel, self.lengths)
        self.adjoint = self.otf.conj().resolve_conj()
        self.tile: Any = (..., *(slice(n) for n in shape))
        self.wide: Any = (..., *(slice(n + k - 1) for n, k in sizes))
        self.size = tuple(kernel.shape)
        self.whole: Any = tuple(slice(n) for n in self.size)
        self.known = torch.ones_like(kept) if mask is None else mask
        self.seen = self._back(self._spectrum(self.known))
        self.weight = torch.where(self.seen > SEEN, 1 / self.seen.clamp(min=SEEN), 0)

    def step(
        self, number: int, beyond: Tensor, last: Tensor, keep: list[_Step] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make one step; give the object beyond it, from which the next begins, and the object."""
        ops.checkpoint()
        first = self._spectrum(beyond)
        predicted = self._there(first)
        ratio = predicted.clamp(min=0).add_(self.dark).reciprocal_().mul_(self.kept)
        second = self._spectrum(ratio)
        light = self._back(second)
        factor = self.weight * light
        if self.even:
            factor = evened(self.even, factor, beyond, self.weight)
        thing = factor.clamp(min=0).mul_(beyond)
        share = number / (number + 3)
        ahead = torch.lerp(last, thing, 1 + share)
        if keep is not None:
            keep.append(_Step(beyond, thing, predicted, light, factor, (first, second)))
        return torch.maximum(ahead, KEPT * thing), thing

    def blurred(self, thing: Tensor) -> Tensor:
        """Blur an object into photons of the image, background included."""
        return self._there(self._spectrum(thing)).clamp(min=0).add_(self.dark)

    def flat(self) -> Tensor:
        """Make the object to begin with."""
        return torch.full_like(self.weight, self.start)

    def slope(
        self, steps: int, misfit: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Give the misfit after some steps, and its slope by the kernel ([z,] y, x).

        `misfit` gives, for light, a number and its slope by the light.
        """
        course: list[_Step] = []
        beyond = last = self.flat()
        for number in range(steps):
            beyond, last = self.step(number, beyond, last, course)
        whole = self._spectrum(last)
        predicted = self._there(whole)
        value, pull = misfit(predicted.clamp(min=0).add_(self.dark))
        pull = self._spectrum(_where(pull, predicted))
        of_thing = self._back(pull)
        total = whole.mul_(pull.conj_physical_())
        of_beyond, of_weight = torch.zeros_like(of_thing), torch.zeros_like(of_thing)
        while course:
            one = course.pop()
            number = len(course)
            share = number / (number + 3)
            before = course[-1].thing if course else self.flat()
            grown = torch.lerp(before, one.thing, 1 + share).sub_(one.thing, alpha=KEPT)
            ahead = _where(of_beyond, grown)
            of_thing = of_thing.add_(of_beyond, alpha=KEPT).add_(ahead, alpha=1 + share - KEPT)
            of_last = ahead.mul_(-share)
            of_factor = _where(of_thing, one.factor).mul_(one.beyond)
            of_beyond = of_thing.mul_(one.factor.clamp(min=0))
            if self.even:
                of_factor = self._evened_back(one, of_factor, of_beyond, of_weight)
            of_weight.addcmul_(of_factor, one.light)
            first, second = one.spectra
            pull = self._spectrum(of_factor.mul_(self.weight))
            here = one.predicted.clamp(min=0).add_(self.dark).square_().reciprocal_()
            of_ratio = _where(self._there(pull), one.predicted).mul_(here).mul_(self.kept)
            total.addcmul_(pull, second.conj_physical_())
            pull = self._spectrum(of_ratio)
            of_beyond.sub_(self._back(pull))
            total.addcmul_(first, pull.conj_physical_(), value=-1)
            of_thing = of_last
        of_seen = of_weight.mul_(self.weight.square()).neg_()
        total.addcmul_(self._spectrum(of_seen), self._spectrum(self.known).conj())
        # As in `ops.kernel_adjoint`: a kernel's pixel sees a shift.
        axes = tuple(range(-len(self.size), 0))
        return value, ops.backward(total.sum(dim=0), self.lengths)[self.whole].flip(axes)

    def _evened_back(
        self, one: _Step, of_factor: Tensor, of_beyond: Tensor, of_weight: Tensor
    ) -> Tensor:
        """Follow `evened` backwards; give the slope by what it was given, add the rest."""
        thing, ndim = one.beyond, one.beyond.ndim - 1
        plain = self.weight * one.light
        size = _size(thing, ndim)
        up, down = _pulls(thing, 1 / size, ndim)
        scale = self.even * self.weight
        below = 1 + scale * down * thing
        of_above = of_factor / below
        of_below = -of_above * (plain + scale * up) / below
        of_weight.add_(of_above * up + of_below * down * thing, alpha=self.even)
        of_beyond.addcmul_(of_below, scale * down)
        of_up, of_down = of_above * scale, of_below * scale * thing
        of_link = torch.zeros_like(thing)
        link = 1 / size
        for axis in range(-ndim, 0):
            n = thing.shape[axis] - 1
            here, there = _ends(thing, axis, n)
            up_here, up_there = _ends(of_up, axis, n)
            down_here, down_there = _ends(of_down, axis, n)
            narrow = of_link.narrow(axis, 0, n)
            narrow.addcmul_(up_here, there).addcmul_(up_there, here).add_(down_here)
            narrow.add_(down_there)
            beside = link.narrow(axis, 0, n)
            of_here, of_there = _ends(of_beyond, axis, n)
            of_there.addcmul_(up_here, beside)
            of_here.addcmul_(up_there, beside)
        of_link.mul_(link.pow(3)).neg_()
        for axis in range(-ndim, 0):
            n = thing.shape[axis] - 1
            here, there = _ends(thing, axis, n)
            of_step = (there - here).mul_(of_link.narrow(axis, 0, n))
            of_here, of_there = _ends(of_beyond, axis, n)
            of_there.add_(of_step)
            of_here.sub_(of_step)
        return of_above

    def _spectrum(self, thing: Tensor) -> Tensor:
        return ops.forward(thing, self.lengths)

    def _there(self, spectrum: Tensor) -> Tensor:
        made: Tensor = ops.backward(spectrum * self.otf, self.lengths)[self.tile]
        return made

    def _back(self, spectrum: Tensor) -> Tensor:
        made: Tensor = ops.backward(spectrum * self.adjoint, self.lengths)[self.wide]
        return made


def evened(even: float, factor: Tensor, thing: Tensor, weight: Tensor) -> Tensor:
    """Change a step's factor by total variation: never below 0, since pulls up and down are apart.

    Parameters
    ----------
    even : float
        The weight of total variation, in photons.
    factor, thing, weight : Tensor (n, [z,] y, x)
        Of the step, the object before it, and 1 over the share of its light that is seen.
    """
    ndim = thing.ndim - 1
    up, down = _pulls(thing, 1 / _size(thing, ndim), ndim)
    scale = even * weight
    return (factor + scale * up) / (1 + scale * down * thing)


def _size(thing: Tensor, ndim: int) -> Tensor:
    """Give the length of the gradient, smoothed at 1 photon."""
    squares = torch.ones_like(thing)
    for axis in range(-ndim, 0):
        n = thing.shape[axis] - 1
        here, there = _ends(thing, axis, n)
        step = there - here
        squares.narrow(axis, 0, n).addcmul_(step, step)
    return squares.sqrt_()


def _pulls(thing: Tensor, link: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Sum up the neighbours, and the links to them."""
    up, down = torch.zeros_like(thing), torch.zeros_like(thing)
    for axis in range(-ndim, 0):
        n = thing.shape[axis] - 1
        here, there = _ends(thing, axis, n)
        beside = link.narrow(axis, 0, n)
        up_here, up_there = _ends(up, axis, n)
        down_here, down_there = _ends(down, axis, n)
        up_here.addcmul_(beside, there)
        up_there.addcmul_(beside, here)
        down_here.add_(beside)
        down_there.add_(beside)
    return up, down


def _ends(thing: Tensor, axis: int, n: int) -> tuple[Tensor, Tensor]:
    """Give all but the last along an axis, and all but the first."""
    return thing.narrow(axis, 0, n), thing.narrow(axis, 1, n)


def _where(slope: Tensor, thing: Tensor) -> Tensor:
    """Give the slope where a thing is above 0, and 0 elsewhere."""
    made: Tensor = torch.ops.aten.threshold_backward(slope, thing, 0.0)
    return made
