"""Whether a trained network's kernel is too wide, by light that was held out from the network.

A soft object looks like a blurred one, and is sharpened. So the network restores a part of the
light with the kernel that it found, and with none. Where what it made with none, denoised and no
more, predicts the rest better than what it made with the kernel, blurred again, the kernel is
narrowed to where it predicts best. Only there: what a network predicts best with is too narrow in
general, by a third or so, since what it restores is never quite what was seen.

Chosen on crops that were held back from the training, 12 hardly blurred and 16 blurred; then looked
at on 24 other crops with kernels of other families, 1000 and (12 of them) 100 photons. Gain over
the input in dB, mean; with 1000 photons hardly blurred ones: -0.6 before, +1.2 with this, 6 and 3
lost more than 0.2, the worst 6.9 and 1.6; blurred ones 3.2 and 3.0. With 100 photons 6.9 and 7.2;
6.0 and 5.9. Four of 24 blurred ones and two of 12 were narrowed and should not have been; none
became worse than its input by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.gdunet.applying import Scale
    from napari_deblur.gdunet.network import Network
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
# Nats by which a prediction must be better to be better at all.
CLEARLY = 5.0
# Photons; what is predicted to be darker counts as that.
FAINT = 0.01


def narrowed(
    network: Network, samples: Sequence[Sample], kernel: Tensor, scale: Scale
) -> tuple[Tensor, dict[str, Any]]:
    """Narrow a kernel (y, x) that the network predicts held-out light worse with than with none.

    Returns
    -------
    kernel : Tensor
        As it was, unless no kernel at all is better.
    report : dict
        ``held_out``: by how many nats none is better, and how much narrower the kernel became.
    """
    from napari_deblur import ops
    from napari_deblur.ops.held_out import hold_out

    looked, share = samples[:LOOKED], _kept(samples[0], scale)
    if not share > LEAST_KEPT:
        return kernel, {}
    times = SPLITS if len(looked) == 1 else 1
    parts = hold_out(looked, share=share, seed=SEED, times=times)
    noisier = replace(scale, gain=scale.gain / share, noise=scale.noise / share**0.5)

    def missed(one: Tensor) -> float:
        return sum(_missed(network, part, one, noisier) for part in parts) / times

    found, none = missed(kernel), missed(ops.delta(tuple(kernel.shape)))
    if none > found - CLEARLY:
        return kernel, {}
    best, factor, worse = found, 1.0, 0
    for tried in NARROWER:
        there = missed(ops.stretched(kernel, tried))
        if there < best:
            best, factor, worse = there, tried, 0
        elif (worse := worse + 1) == PATIENCE:
            break
    report = {"none is better by": float(f"{found - none:.4g}"), "narrowed": factor}
    return ops.stretched(kernel, factor), {"held_out": report}


def _kept(sample: Sample, scale: Scale) -> float:
    """Give the share of the light that is kept; 0 where there is no noise to part."""
    gain, noise = sample.facts.gain, sample.facts.noise or scale.noise
    # Without photons: as much noise, over the brightest light, as so many photons have.
    one = gain / scale.span if gain is not None else (noise / scale.span) ** 2
    return min(PHOTONS * one, MOST_KEPT)


def _missed(network: Network, part: HeldOut, kernel: Tensor, scale: Scale) -> float:
    """Give the nats by which what is restored of a part misses what was held out of it."""
    import torch

    from napari_deblur import ops
    from napari_deblur.gdunet.applying import restored
    from napari_deblur.gdunet.physics import inner
    from napari_deblur.protocols import Blur

    tile = part.sample.tile
    kernel = kernel.to(tile.device)
    made = restored(network, tile, kernel, scale)
    seen = (ops.blur(made, Blur(kernel[None])) - part.shift) * part.scale
    held = inner(part.held, (kernel.shape[-2], kernel.shape[-1]))
    if part.noise is not None:
        nats = ((held - seen) / part.noise).square() / 2
    else:
        seen = seen.clamp(min=FAINT)
        nats = seen - torch.xlogy(held, seen)
    # Some devices have no numbers of 64 bits.
    return float(nats.cpu().nansum(dtype=torch.float64))
