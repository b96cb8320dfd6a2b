"""Whether an image is sharp enough to learn from: what is fine in it must be clear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_deblur.protocols import Facts, Sample
    from napari_deblur.sampling import Look
    from napari_deblur.stack import Stack

__all__ = ["looks_blurred"]

# Of the widest Gaussian that the detail allows, in pixels: 0.8 is as sharp as pixels are. Fields of
# cells as they were published gave 0.3 to 1.4, blurred by σ of 1.5 px 1.7 to 2.3, by 2 px and
# noisy 2.0 to no limit at all.
BLURRED = 1.5
PIECES = 4
# Of the median of normal numbers, over their standard deviation.
NORMAL = 0.6745


def looks_blurred(stack: Stack) -> bool:
    """Tell whether no channel shows detail of two or three pixels; for any thread.

    A few pieces of each are read. Noise hides detail as blur does, and is not told from it.
    """
    from napari_deblur._napari.preview import load_torch

    load_torch()
    from napari_deblur.methods._detail import Detail

    channels = [1] if stack.rgb else range(stack.shape[1])
    return all(Detail(_samples(stack, c)).widest() > BLURRED for c in channels)


def _samples(stack: Stack, c: int) -> list[Sample]:
    from napari_deblur import sampling
    from napari_deblur.facts import facts_of
    from napari_deblur.protocols import Facts

    seen = sampling.look(stack, c, solid=False)
    facts = facts_of(stack, c, seen.planes, Facts())
    facts = _with_less_noise(facts, seen)
    return [sampling.piece(stack, c, at, facts) for at in sampling.best(seen, most=PIECES)]


def _with_less_noise(facts: Facts, seen: Look) -> Facts:
    """Take no more noise than most pixels have: points of an image without noise are none."""
    if facts.gain is not None:
        return facts
    planes = [np.nan_to_num(np.asarray(plane[0], np.float32)) for plane in seen.planes]
    rough = [p[:-1, :-1] - p[1:, :-1] - p[:-1, 1:] + p[1:, 1:] for p in planes if min(p.shape) > 1]
    most = max((float(np.median(np.abs(one))) / NORMAL / 2 for one in rough), default=0.0)
    return replace(facts, noise=min(facts.noise or 0.0, most))
