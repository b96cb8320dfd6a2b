"""How wide a trained network's kernel is, by light that was held out from the network.

A soft object looks like a blurred one, and its kernel is found too wide. So the network restores a
part of the light with the kernel that it found, and with none. What it made, blurred again,
predicts the rest: how much better than what it made with none, denoised and no more, is what the
kernel is worth. Most right kernels are worth much, and stay as they are. Others are narrowed to
where a worse prediction outweighs that: one that is too wide can be narrowed at little cost, for
it explains what is in the object. It is trusted to be nearly right, too, which counts where there
is little light to tell.

The stages before the dense ones are asked, where there are such: dense ones denoise so well that
they predict nearly as well with any kernel. But kernels are narrowed much only where these, too,
predict better with none.

Chosen on 95 crops that were held back from the training, with kernels of its families, as planned,
and with the weights `light`; then looked at on 23 others. Gain over the input in dB, mean: as
before, when kernels were narrowed only where none predicted better, and with this. 1000 photons:
11 hardly blurred 1.5 and 2.2, three and one lost more than 0.2, the worst 4.8 and 0.6; 36 blurred
3.8 and 4.2. 100 photons: 12 hardly blurred 9.0 and 8.8, 36 blurred 6.9 and 7.1. The others, 1000
photons: five hardly blurred 0.6 and 1.2, 18 blurred 2.4 and 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.gdunet.applying import Scale
    from napari_deblur.gdunet.network import Network, Part
    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Sample

__all__ = ["narrowed"]

# Samples that are looked at, and splits of a single one.
LOOKED, SPLITS = 2, 2
# Photons of the brightest light that are kept, and the share of them at least and at most. In more
# light what is seen is the network's own error, whatever the kernel; without noise no other.
PHOTONS, LEAST_KEPT, MOST_KEPT = 100, 1e-6, 0.8
# Light held out by this seed took no part in anything else.
SEED = 3
# Widths that are tried, times that of the kernel; how many worse ones in a row end it.
NARROWER, PATIENCE = (0.82, 0.67, 0.55, 0.45, 0.37, 0.3, 0.2), 2
# A kernel that is worth more stays: how much more of the variance of the noise, of the light that
# was kept, is left in what is predicted with none than in what is predicted with the kernel.
ENOUGH = 0.0225
# What counts against a width: the nats by which it predicts worse; of what a kernel is worth this
# share for each e-fold of width; and, for the square of its logarithm from what was found, as many
# nats for each pixel, but no fewer than for so many.
WIDE, TRUST, USUAL = 0.4, 0.005, 162 * 162
# No narrower, unless all stages predict better with no kernel.
AGREED = 0.7
# Between those that were tried.
BETWEEN = 100
# Photons; what is predicted to be darker counts as that.
FAINT = 0.01


def narrowed(
    network: Network, samples: Sequence[Sample], kernel: Tensor, scale: Scale
) -> tuple[Tensor, dict[str, Any]]:
    """Narrow a kernel (y, x) that predicts held-out light hardly better than none.

    Returns
    -------
    kernel : Tensor
        As it was, where it predicts much better. What is compared lies half its size from edges.
    report : dict
        ``held_out``: by how many nats it predicted better than none, and how much narrower it
        became.
    """
    from napari_deblur import ops
    from napari_deblur.gdunet.physics import inner
    from napari_deblur.ops.held_out import hold_out

    looked, share = samples[:LOOKED], _kept(samples[0], scale)
    if not share > LEAST_KEPT:
        return kernel, {}
    times = SPLITS if len(looked) == 1 else 1
    parts = hold_out(looked, share=share, seed=SEED, times=times)
    noisier = replace(scale, gain=scale.gain / share, noise=scale.noise / share**0.5)
    size = (kernel.shape[-2], kernel.shape[-1])
    pixels = sum(int(inner(part.held, size).isfinite().sum()) for part in parts) / times

    def missed(one: Tensor, stages: Part = "small") -> float:
        return sum(_missed(network, part, one, noisier, stages) for part in parts) / times

    point = ops.delta(tuple(kernel.shape))
    none, found = missed(point), missed(kernel)
    if none - found > ENOUGH * pixels * (1 - share) / share / 2:
        return kernel, {}
    trust = TRUST * max(pixels, USUAL)
    tried, worse = {1.0: found}, 0
    for factor in NARROWER:
        tried[factor] = missed(ops.stretched(kernel, factor))
        worse = worse + 1 if _best(tried, none, trust) > factor else 0
        if worse == PATIENCE:
            break
    factor = _best(tried, none, trust, between=BETWEEN)
    if factor < AGREED and missed(point, "all") > missed(kernel, "all"):
        factor = AGREED
    if factor == 1:
        return kernel, {}
    report = {"worth": float(f"{none - found:.4g}"), "narrowed": float(f"{factor:.3g}")}
    return ops.stretched(kernel, factor), {"held_out": report}


def _best(tried: Mapping[float, float], none: float, trust: float, between: int = 0) -> float:
    """Choose among factors, whose nats and those of no kernel are given; or between them, too."""
    import numpy as np
    from scipy.interpolate import PchipInterpolator

    factors = np.array(sorted(tried))
    nats = np.array([tried[factor] for factor in factors])
    worth = max(none - float(nats.min()), 0.0)
    logs = np.log(factors)
    if between:
        finer = np.linspace(logs[0], 0, between)
        nats, logs = PchipInterpolator(logs, nats)(finer), finer
    against = nats + WIDE * worth * logs + trust * logs**2
    return float(np.exp(logs[against.argmin()]))


def _kept(sample: Sample, scale: Scale) -> float:
    """Give the share of the light that is kept; 0 where there is no noise to part."""
    gain, noise = sample.facts.gain, sample.facts.noise or scale.noise
    # Without photons: as much noise, over the brightest light, as so many photons have.
    one = gain / scale.span if gain is not None else (noise / scale.span) ** 2
    return min(PHOTONS * one, MOST_KEPT)


def _missed(network: Network, part: HeldOut, kernel: Tensor, scale: Scale, stages: Part) -> float:
    """Give the nats by which what is restored of a part misses what was held out of it."""
    import torch

    from napari_deblur import ops
    from napari_deblur.gdunet.applying import restored
    from napari_deblur.gdunet.physics import inner
    from napari_deblur.protocols import Blur

    tile = part.sample.tile
    kernel = kernel.to(tile.device)
    made = restored(network, tile, kernel, scale, part=stages)
    seen = (ops.blur(made, Blur(kernel[None])) - part.shift) * part.scale
    held = inner(part.held, (kernel.shape[-2], kernel.shape[-1]))
    if part.noise is not None:
        nats = ((held - seen) / part.noise).square() / 2
    else:
        seen = seen.clamp(min=FAINT)
        nats = seen - torch.xlogy(held, seen)
    # Some devices have no numbers of 64 bits.
    return float(nats.cpu().nansum(dtype=torch.float64))
