"""Richardson-Lucy with gradients, and what it predicts of held-out light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._ascent import Scale
    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Blur, Sample

__all__ = ["ascended", "crops", "deviances", "held_of"]

# Larger pieces are cut into crops, one for each so many pixels; none is shorter than LEAST.
CROP, LEAST = 160, 32
# Steps smaller than this share of the mean light are as good as none.
SMALLEST = 0.05
# Of the light, kept to restore: no more than tells kernels from each other after so few iterations.
# With 800 photons kept, and other bounds, a disc of 0.9 to 5.1 px came out as 1.4 to 2.4; so as 1.3
# to 5.0. It tells families too: on filaments under that disc, 1000 photons, a disc was 380 nats
# better than a Gaussian with 150 photons kept, and 70 with 600.
SHARE, PHOTONS = 0.8, 150
# Below the background, as a share of the mean light.
ROOM = 0.05


def held_of(samples: Sequence[Sample], *, seed: int = 0) -> tuple[list[HeldOut], Scale]:
    """Hold light of samples out for a fit, and give the numbers of its Richardson-Lucy."""
    from napari_deblur.methods._ascent import scale_of
    from napari_deblur.methods.richardson_lucy import RichardsonLucy
    from napari_deblur.ops.held_out import hold_out

    scale, facts, share = scale_of(samples, RichardsonLucy()), samples[0].facts, SHARE
    light = PHOTONS / SHARE
    if facts.white is not None and facts.gain is not None:
        light = (facts.white - scale.background) / facts.gain
    elif facts.white is not None and facts.noise:
        # As much noise, over the brightest light, as so many photons have.
        light = ((facts.white - scale.background) / facts.noise) ** 2
    share = min(share, PHOTONS / max(light, 1.0))
    held = hold_out(samples, share=share, seed=seed)
    # Without room below the background, noise of both signs would become light, and where there is
    # no light modes of kernels, which have negative values, would leave nothing to divide by.
    noise = 0.0
    if held[0].noise is not None:
        noise = held[0].sample.facts.noise or held[0].noise * (1 - share) ** 0.5
    room = max(4 * noise, ROOM * scale.start)
    scale = replace(scale, lowest=min(scale.lowest, scale.background - room))
    return held, scale


def crops(parts: Sequence[HeldOut], most: int) -> list[HeldOut]:
    """Take about so many voxels of the samples: crops all over them."""
    total = sum(part.held.numel() for part in parts)
    if total <= most:
        return list(parts)
    share = (most / total) ** 0.5
    return [
        _cropped(part, rows, columns)
        for part in parts
        for rows in _cuts(part.held.shape[-2], share)
        for columns in _cuts(part.held.shape[-1], share)
    ]


def _cuts(n: int, share: float) -> list[slice]:
    """Spread spans over an axis that are `share` of it together."""
    count = max(1, round(n / CROP))
    length = max(round(n * share / count), min(n, LEAST))
    starts = [round((n - length) * (i + 0.5) / count) for i in range(count)]
    return [slice(start, start + length) for start in starts]


def _cropped(part: HeldOut, rows: slice, columns: slice) -> HeldOut:
    where = (..., rows, columns)
    z, (y, _), (x, _) = part.sample.region
    region = (z, (y + rows.start, y + rows.stop), (x + columns.start, x + columns.stop))
    sample = replace(part.sample, tile=part.sample.tile[where].contiguous(), region=region)
    return replace(part, sample=sample, held=part.held[where].contiguous())


def deviances(part: HeldOut, predicted: Tensor) -> Tensor:
    """Compare with what was held out, pixel by pixel; NaN where there are no data."""
    import torch

    light = (predicted - part.shift) * part.scale
    if part.noise is not None:
        return ((part.held - light) / part.noise).square()
    light = light.clamp(min=1e-6)
    held = part.held
    return 2 * (torch.xlogy(held, held) - torch.xlogy(held, light) - held + light)


def ascended(sample: Sample, blur: Blur, scale: Scale, variation: float) -> Iterator[Tensor]:
    """Give what Richardson-Lucy's object predicts after 1, 2, … iterations; with gradients.

    With the momentum of the heavy ball (as in ``accelerated-richardson-lucy``) and total variation
    (as Dey et al., doi:10.1002/jemt.20294); every step is a new tensor.
    """
    import torch

    from napari_deblur import ops

    light, mask = ops.split(sample.tile)
    known = torch.ones_like(light) if mask is None else mask
    light = (light - scale.lowest).clamp(min=0) * known
    seen = ops.blur_adjoint(known, blur)
    weight = torch.where(seen > 0.01, 1 / seen.clamp(min=0.01), torch.zeros_like(seen))
    dark, floor = scale.background - scale.lowest, 1e-6 * scale.start
    before = last = torch.full_like(weight.detach(), scale.start)
    number = 0
    while True:
        ops.checkpoint()
        factor = number / (number + 3)
        thing = torch.maximum(last + factor * (last - before), 0.05 * last)
        ratio = light / (ops.blur(thing, blur) + dark).clamp(min=floor) * known
        new = thing * ops.blur_adjoint(ratio, blur).clamp(min=0) * weight
        if variation:
            pull = _curvature(thing, blur.ndim, SMALLEST * scale.start)
            new = new / (1 - variation * pull).clamp(min=0.2)
        before, last = last, new
        number += 1
        yield ops.blur(last, blur) + scale.background


def _curvature(thing: Tensor, ndim: int, smallest: float) -> Tensor:
    """Give the divergence of the normalised gradient, along the last `ndim` axes."""
    import torch

    axes = range(-ndim, 0)
    steps = [thing.diff(dim=a, append=thing.narrow(a, thing.shape[a] - 1, 1)) for a in axes]
    length = torch.full_like(thing, smallest**2)
    for step in steps:
        length = length + step.square()
    length = length.sqrt()
    total = torch.zeros_like(thing)
    for axis, step in zip(axes, steps, strict=True):
        one = step / length
        total = total + one.diff(dim=axis, prepend=torch.zeros_like(one.narrow(axis, 0, 1)))
    return total
