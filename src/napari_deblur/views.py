"""A channel as those see it who decide: where to look, what is known, and its blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_deblur import sampling
from napari_deblur.facts import facts_of
from napari_deblur.protocols import Blur, Facts, Kernel, KernelField, Sample

if TYPE_CHECKING:
    from napari_deblur.sampling import Blurs
    from napari_deblur.stack import Stack

__all__ = ["Views", "blur_of", "blurs_of", "views_of"]

Triple = tuple[int, int, int]
# Of each depth, where kernels vary with depth only.
PLANES = 2


@dataclass(frozen=True, eq=False)
class Views:
    """One channel (or the luma of a picture in colour): where to look, and its facts."""

    stack: Stack
    channel: int
    seen: sampling.Look
    facts: Facts

    def samples(
        self,
        *,
        solid: bool,
        blurs: Blurs | None,
        most: int,
        times: tuple[int, ...] | None = None,
        shape: Triple = (1, 1, 1),
    ) -> list[Sample]:
        """Read the best samples, of some frames only if wanted, on the blur's device.

        They are wide enough for a kernel of `shape` to be found in them.
        """
        places = sampling.wide(self.stack, self.seen, shape, times=times, most=most)
        if not places and times is not None:
            wide = sampling.wide(self.stack, self.seen, shape, most=most)
            places = [(times[0], box) for _, box in wide]
        made = [
            sampling.sample(self.stack, self.channel, place, self.facts, blurs, solid=solid)
            for place in places
        ]
        return self._with_data(made)

    def spread(self, *, solid: bool) -> list[Sample]:
        """Read samples all over the field."""
        places = sampling.spread(self.stack, self.seen, solid=solid)
        return self._with_data(
            [sampling.piece(self.stack, self.channel, place, self.facts) for place in places]
        )

    def by_depth(self, side: int) -> list[Sample]:
        """Read the best planes of `side` pixels of a few depths."""
        places = sampling.by_depth(self.stack, self.seen, side, PLANES)
        return self._with_data(
            [sampling.piece(self.stack, self.channel, place, self.facts) for place in places]
        )

    def _with_data(self, made: list[Sample]) -> list[Sample]:
        with_data = [s for s in made if bool(s.tile.isfinite().any())]
        if not with_data:
            raise ValueError(
                f"channel {self.channel} has no valid pixel in any sample, all are NaN, infinite "
                "or saturated: check the file"
            )
        return [
            s if s.blur is None else replace(s, tile=s.tile.to(s.blur.basis.device))
            for s in with_data
        ]

    def gains(self) -> tuple[float, ...]:
        """Give a brightness factor for each frame."""
        return sampling.brightness(self.stack, self.channel, self.seen, self.facts)


def views_of(
    stack: Stack, *, solid: bool, given: Mapping[int, Facts], gamma: str
) -> dict[int, Views]:
    """Look at each channel; of a picture in colour, at its luma alone."""
    if stack.rgb:
        luma = sampling.luma_of(stack, gamma)
        seen = sampling.look(luma, 0, solid=solid)
        return {0: Views(luma, 0, seen, facts_of(stack, 0, seen.planes, given.get(0, Facts())))}
    views = {}
    stack = sampling.in_linear_light(stack, gamma)
    for c in range(stack.shape[1]):
        seen = sampling.look(stack, c, solid=solid)
        views[c] = Views(stack, c, seen, facts_of(stack, c, seen.planes, given.get(c, Facts())))
    return views


def blur_of(kernel: Kernel, c: int, device: str) -> Blur:
    """Give the blur of a channel's first frame."""
    import torch

    array = torch.from_numpy(kernel.at(0, c if kernel.array.shape[1] > 1 else 0).copy())
    return Blur((array if array.shape[0] == 1 else array[None]).to(device))


def blurs_of(kernel: Kernel, field: KernelField | None, c: int, device: str) -> Blurs:
    """Give the blur of any box of a channel's first frame: of the field, or always the same."""
    if field is not None:
        return lambda box: field.at(box, device)
    one = blur_of(kernel, c, device)
    return lambda box: one
