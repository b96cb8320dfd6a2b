"""Noise and range of a channel, as a trained network is told them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_deblur.protocols import Sample

__all__ = ["darkest_of", "noise_of", "white_of"]

# What is taken for the range is at least so many times the noise: as in training, where the fewest
# photons make a noise of a sixth of it. Where there is nothing but noise, it stays what it is.
LEAST = 6.0


# Means of so many pixels across are compared with the background; this share of them may be darker
# by noise, which is as many of its standard deviations.
ACROSS, DARKEST, DEVIATIONS = 3, 0.1, 3.1
# By so many standard deviations of a pixel something is darker than what is dark everywhere.
CLEARLY = 3
# Of the way from no light to the darkest there is: the network knows a little light everywhere.
BEHIND = 0.1


def darkest_of(samples: Sequence[Sample], background: float, gain: float) -> float:
    """Give the level of no light, where something is darker than an estimated background.

    Where no part of an image is without light, what is taken for the background is that of dark
    parts. The network takes all that is darker for noise, and predicts such images badly whatever
    the kernel: of a textured one, 11 000 nats worse with the right kernel than with none, where it
    is 1100 better once what is darkest is above the background.
    """
    import numpy as np
    from scipy.ndimage import uniform_filter

    facts = samples[0].facts
    if facts.background is not None and facts.origins.get("background") != "estimated":
        return background
    lowest = []
    for sample in samples:
        planes = sample.tile.detach().cpu().numpy().reshape(-1, *sample.tile.shape[-2:])
        for plane in planes:
            known = np.isfinite(plane)
            if known.any():
                filled = np.where(known, plane, plane[known].max())
                lowest.append(np.percentile(uniform_filter(filled, ACROSS), DARKEST))
    noise = noise_of(samples, background, gain)
    darkest = min(lowest, default=background) + DEVIATIONS * noise / ACROSS
    if darkest > background - CLEARLY * noise:
        return background
    if facts.offset is None or facts.offset >= darkest:
        return float(darkest)
    return float(facts.offset + BEHIND * (darkest - facts.offset))


def noise_of(samples: Sequence[Sample], background: float, gain: float) -> float:
    """Give the noise of a pixel at the background's level, in counts."""
    import numpy as np

    from napari_deblur.ops.statistics import estimate_noise

    facts = samples[0].facts
    if gain and facts.offset is not None and facts.read_noise is not None:
        # What photons and the camera are known to make, lest bright samples are taken for noise.
        light = max(background - facts.offset, 0.0)
        return float((gain * light + facts.read_noise**2) ** 0.5)
    arrays = [sample.tile.detach().cpu().numpy() for sample in samples]
    noise = facts.noise if facts.noise is not None else estimate_noise(arrays)
    if not gain or (facts.noise is not None and facts.origins.get("noise") != "estimated"):
        return noise
    # What was measured is of a typical pixel; its photons are counted by the gain.
    finite = np.concatenate([array[np.isfinite(array)].ravel() for array in arrays])
    light = max(float(np.median(finite)) - background, 0.0) if finite.size else 0.0
    return float(max(noise**2 - gain * light, 0.0) ** 0.5)


def white_of(samples: Sequence[Sample], background: float, noise: float) -> float:
    """Take the white from the facts, or the brightest 0.1 %; well above the background anyway."""
    import numpy as np

    white = samples[0].facts.white
    if white is None:
        values = np.concatenate([s.tile.detach().cpu().numpy().ravel() for s in samples])
        values = values[np.isfinite(values)]
        white = float(np.percentile(values, 99.9)) if values.size else background
    white = max(white, background + LEAST * noise)
    return white if white > background else background + max(abs(background), 1.0)
