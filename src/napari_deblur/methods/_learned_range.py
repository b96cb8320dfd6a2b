"""Noise and range of a channel, as a trained network is told them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_deblur.protocols import Sample

__all__ = ["noise_of", "white_of"]

# What is taken for the range is at least so many times the noise: as in training, where the fewest
# photons make a noise of a sixth of it. Where there is nothing but noise, it stays what it is.
LEAST = 6.0


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
