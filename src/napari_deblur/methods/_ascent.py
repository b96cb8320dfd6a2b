"""What the Richardson-Lucy methods share: one tile's likelihood and the step that climbs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = [
    "SEEN",
    "Ascent",
    "Scale",
    "checked_iterations",
    "decided",
    "parts_of",
    "scale_of",
    "spacing_of",
]

# Where less than this share of a voxel's light reaches a pixel with data, nothing is known of it.
SEEN = 0.01
# Of samples on which an automatic number is searched: four planes, or two volumes.
MOST_VOXELS = 800_000
LARGEST = (32, 96, 96)
SPLITS = 4


@dataclass(frozen=True)
class Scale:
    """The numbers of a channel that its tiles share, in counts.

    `background` without light, `start` of the flat object above it, `lowest`: no light at all.
    """

    background: float
    start: float
    lowest: float


class Ascent:
    """One tile's Poisson likelihood, as a function of the object.

    The tile itself, a workspace with the blur's transform, and one weight for each voxel: all else
    is the object, which the methods hold.
    """

    def __init__(self, tile: Tensor, blur: Blur, scale: Scale) -> None:
        import torch

        from napari_deblur import ops

        self.tile, self.blur, self.scale = tile, blur, scale
        self.dark, self.floor = scale.background - scale.lowest, 1e-6 * scale.start
        self.work = ops.workspace(tile, blur)
        self.residuals: list[Tensor] = []
        self.pixels = float(sum(torch.isfinite(t).sum() for (t,) in ops.blocks(tile)))
        self.holes = self.pixels < tile.numel()
        self.shaped: Tensor | None = None
        self.weight = torch.empty(
            ops.object_shape(tuple(tile.shape), blur.shape), device=tile.device
        )
        self._weigh()

    def _weigh(self) -> None:
        """Weigh each voxel of the object by how much of its light reaches a pixel with data."""
        import torch

        from napari_deblur import ops

        known = ops.tile_view(self.work, self.tile, self.blur)
        for one, tile in ops.blocks(known, self.tile):
            one.copy_(torch.isfinite(tile))
        seen = ops.blur_adjoint(known, self.blur, self.work, shaped=self.shaped)
        for weight, light in ops.blocks(self.weight, seen):
            torch.reciprocal(light, out=weight)
            weight.masked_fill_(light <= SEEN, 0)

    def project(self, shaped: Tensor | None) -> None:
        """Change the back projector for the steps that follow."""
        if shaped is not self.shaped:
            self.shaped = shaped
            self._weigh()

    def flat(self) -> Tensor:
        """Make the object that every ascent starts from."""
        import torch

        return torch.full_like(self.weight, self.scale.start)

    def predict(self, thing: Tensor) -> Tensor:
        """Blur an object into counts of the input; the result is good until the next call."""
        from napari_deblur import ops

        return ops.blur(thing, self.blur, self.work).add_(self.scale.background)

    def climb(
        self,
        thing: Tensor,
        *,
        predicted: Tensor | None = None,
        resisting: Callable[..., Iterable[tuple[Tensor, ...]]] | None = None,
    ) -> None:
        """Make one Richardson-Lucy step, in place.

        Parameters
        ----------
        thing : Tensor
            The object, changed.
        predicted : Tensor or None
            What `predict` just gave for the same object; used up.
        resisting : function of (object, back projection, weight), or None
            Gives the three in blocks with, as the fourth, what is added after the step.
        """
        import torch

        from napari_deblur import ops

        ops.checkpoint()
        blurred, dark = predicted, self.dark - self.scale.background
        if blurred is None:
            blurred, dark = ops.blur(thing, self.blur, self.work), self.dark
        squares = torch.zeros((), device=thing.device)
        for seen, counts in ops.blocks(blurred, self.tile):
            seen.add_(dark).clamp_(min=self.floor)
            light = (counts - self.scale.lowest).clamp_(min=0)
            ratio = light / seen
            misfit = light.sub_(seen)
            if self.holes:
                ratio.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
                misfit.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            seen.copy_(ratio)
            squares = squares + ops.mean_square(misfit, self.pixels)
        self.residuals.append(squares)
        back = ops.blur_adjoint(blurred, self.blur, self.work, shaped=self.shaped)
        parts = (thing, back, self.weight)
        for one, factor, weight, *pull in resisting(*parts) if resisting else ops.blocks(*parts):
            one.mul_(factor.clamp_(min=0)).mul_(weight)
            if pull:
                one.add_(pull[0]).clamp_(min=0)

    def image(self, thing: Tensor) -> Tensor:
        """Cut the tile's part out of an object, in counts of the input."""
        import torch

        from napari_deblur import ops

        cut = ops.crop(thing, self.blur) + self.scale.background
        for one, weight in ops.blocks(cut, ops.crop(self.weight, self.blur)):
            one.masked_fill_(weight == 0, torch.nan)
        return cut

    def finished(self, thing: Tensor) -> Estimate:
        """Give the estimate that an object is."""
        import torch

        from napari_deblur.protocols import Estimate

        return Estimate(self.image(thing), None, torch.stack(self.residuals))


def scale_of(samples: Sequence[Sample], method: Any) -> Scale:
    """Decide what is "auto" of a method's background, start and lowest."""
    from napari_deblur.ops.statistics import background_of, lowest_of, mean_above

    background = background_of(samples) if method.background == "auto" else method.background
    start = mean_above(samples, background) if method.start == "auto" else method.start
    lowest = lowest_of(samples, background) if method.lowest == "auto" else method.lowest
    return Scale(float(background), float(start), float(lowest))


def decided(method: Any, name: str, *fields: str) -> Scale:
    """Give the numbers of a resolved method; ValueError if an "auto" is left."""
    if "auto" in [getattr(method, f) for f in ("background", "start", "lowest", *fields)]:
        raise ValueError(f'{name} has an "auto" left: call resolved(samples) first')
    return Scale(float(method.background), float(method.start), float(method.lowest))


def parts_of(samples: Sequence[Sample], name: str) -> list[HeldOut]:
    """Hold out light of as many samples as a search can afford; ValueError without a kernel."""
    from napari_deblur.ops.held_out import hold_out

    known = [_middle(sample) for sample in samples if sample.blur is not None]
    if not known:
        raise ValueError(f"{name} needs a kernel to decide when to stop: give iterations")
    taken = [known[0]]
    for sample in known[1:]:
        if 2 * sum(s.tile.numel() for s in (*taken, sample)) <= MOST_VOXELS:
            taken.append(sample)
    # One split of a small sample may mislead: one in 9 scenes lost 2.7 dB; with four, of 16, none
    # 0.5. And two splits of the same sample say how much noise there is.
    size = sum(sample.tile.numel() for sample in taken)
    times = max(2, min(SPLITS, MOST_VOXELS // size, ceil(2 * SPLITS / len(taken))))
    return hold_out(taken, times=times)


def _middle(sample: Sample) -> Sample:
    """Cut the middle out of a volume: a search tries a hundred iterations on it and more."""
    if sample.blur is None or sample.blur.ndim < 3:
        return sample
    cut: list[slice] = []
    wide: list[slice] = []  # the object's part
    for n, most, k in zip(sample.tile.shape[-3:], LARGEST, sample.blur.shape, strict=True):
        start = max(n - most, 0) // 2
        cut.append(slice(start, start + most))
        wide.append(slice(start, start + most + k - 1))
    z, y, x = cut
    blur = sample.blur
    if blur.weights is not None:
        blur = replace(blur, weights=blur.weights[..., wide[0], wide[1], wide[2]].contiguous())
    return replace(sample, tile=sample.tile[..., z, y, x].contiguous(), blur=blur)


def checked_iterations(iterations: object) -> None:
    """Raise ValueError unless it is "auto" or a whole number of 1 or more."""
    if iterations != "auto" and (not isinstance(iterations, int) or iterations < 1):
        raise ValueError(
            f'iterations is {iterations!r} and must be "auto" or a whole number of 1 or more'
        )


def spacing_of(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Give the length of voxels along the kernel's axes, the finest being 1; 1 where not known."""
    sample = samples[0]
    ndim = sample.blur.ndim if sample.blur is not None else min(sample.tile.ndim, 3)
    if sample.pixel_size is None:
        return (1.0,) * ndim
    sizes = sample.pixel_size[-ndim:]
    return tuple(round(size / min(sizes), 4) for size in sizes)
