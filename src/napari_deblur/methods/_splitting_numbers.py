"""What methods by splitting decide before they restore: scales, weight, iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_deblur.methods._splitting import Problem
    from napari_deblur.protocols import Blur, Sample

__all__ = ["checked", "decided", "no_field", "noise_of", "scale_of", "spacing_of"]

# Weights are looked for at these powers of 10, in these steps, with so many iterations. After
# fewer than 15 (40 for priors that are not convex) the light of a bead could be 2 % off.
POWERS, STEP, LEAST, MOST = (-4.5, 1.5), 0.5, (15, 40), 100
# What is searched of a sample, along the axes of 2-D and 3-D blurs, and how many samples.
PLANE, SOLID = (160, 160), (32, 64, 64)
PLANES, SOLIDS = 2, 1


def checked(
    weight: float | Literal["auto"],
    iterations: int | Literal["auto"],
    noise: float | Literal["auto"],
    spacing: tuple[float, ...] | Literal["auto"],
) -> None:
    """Raise ValueError for numbers that can't be."""
    if weight != "auto" and not weight > 0:
        raise ValueError(f"weight is {weight} and must be above 0")
    if iterations != "auto" and (not isinstance(iterations, int) or iterations < 1):
        raise ValueError(
            f'iterations is {iterations!r} and must be a whole number of 1 or more, or "auto"'
        )
    if noise != "auto" and noise < 0:
        raise ValueError(f"noise is {noise} counts and must be 0 or more")
    if spacing != "auto" and not all(value > 0 for value in spacing):
        raise ValueError(f"spacing is {spacing} and must be above 0 on each axis")


def no_field(name: str, *blurs: Blur | None) -> None:
    """Raise where direct division can't serve a blur."""
    if any(blur is not None and blur.weights is not None for blur in blurs):
        raise ValueError(
            f"{name} can't use a blur that varies over the field: take richardson-lucy-tv, "
            "or one kernel"
        )


def noise_of(samples: Sequence[Sample]) -> float:
    """Give the noise of a typical pixel: of its photons where the gain is known, else as stated."""
    import numpy as np

    from napari_deblur.ops.held_out import no_light
    from napari_deblur.ops.statistics import estimate_noise

    arrays = [sample.tile.cpu().numpy() for sample in samples]
    facts = samples[0].facts
    if facts.gain is not None:
        means = [float(a[np.isfinite(a)].mean()) for a in arrays if np.isfinite(a).any()]
        light = float(np.mean(means)) - no_light(facts) if means else 0.0
        if light > 0:
            return float((facts.gain * light) ** 0.5)
    return facts.noise if facts.noise is not None else estimate_noise(arrays)


def scale_of(samples: Sequence[Sample], background: float, noise: float) -> float:
    """Give typical counts above the background: their root mean square, less the noise."""
    import numpy as np

    squares = [
        float(np.nanmean(np.square(array.astype(np.float64) - background)))
        for array in (
            np.where(np.isfinite(a), a, np.nan) for a in (s.tile.cpu().numpy() for s in samples)
        )
        if np.isfinite(array).any()
    ]
    mean = float(np.mean(squares)) if squares else 0.0
    # Of noise alone little is left; then the scale only has to be some number above 0.
    scale = max(mean - noise**2, 0.01 * mean) ** 0.5
    return scale if scale > 1e-6 * max(1.0, abs(background)) else max(1e-3 * noise, 1e-3)


def spacing_of(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Give the voxels' spacing along the blurred axes, relative to the finest; 1 if unknown."""
    first = samples[0]
    ndim = first.tile.ndim if first.blur is None else first.blur.ndim
    if first.pixel_size is None:
        return (1.0,) * ndim
    sizes = first.pixel_size[-ndim:]
    return tuple(float(size / min(sizes)) for size in sizes)


def decided(
    samples: Sequence[Sample],
    problem: Problem,
    weight: float | Literal["auto"],
    iterations: int | Literal["auto"],
) -> tuple[float, int]:
    """Decide weight and iterations by held-out light, together: few iterations smooth as well.

    Powers of 10 are tried downhill from 0.01 or 0.1; a parabola through the error of the best
    and its neighbours gives the weight.
    """
    if weight != "auto" and iterations != "auto":
        return weight, iterations
    from napari_deblur.ops.held_out import SHARE, best_stop, hold_out

    known = [_cropped(s) for s in samples if s.blur is not None]
    if not known:
        raise ValueError('without a kernel "auto" can\'t be decided: give weight and iterations')
    assert known[0].blur is not None
    solid = known[0].blur.ndim == 3
    parts = hold_out(known[: SOLIDS if solid else PLANES], times=2)
    unit = problem.unit / (SHARE if problem.poisson else SHARE**0.5)

    def tried(value: float) -> tuple[float, int]:
        one = replace(problem, unit=unit, weight=value)
        runs = [
            one.predicted(p.sample.tile, p.sample.blur) for p in parts if p.sample.blur is not None
        ]
        if iterations == "auto":
            stop = best_stop(parts, runs, most=MOST, least=LEAST[problem.power < 1])
            return stop.error, stop.iterations
        last = [islice(run, iterations - 1, iterations) for run in runs]
        return best_stop(parts, last, most=1).error, iterations

    if weight != "auto":
        return weight, tried(weight)[1]
    found: dict[float, tuple[float, int]] = {}
    best = -2.0 if problem.poisson else -1.0
    while True:
        near = [p for p in (best, best - STEP, best + STEP) if POWERS[0] <= p <= POWERS[1]]
        for power in near:
            if power not in found:
                found[power] = tried(10**power)
        lower = min(near, key=lambda power: found[power])
        if lower == best:
            break
        best = lower
    if len(near) == 3:
        middle, left, right = (found[p][0] for p in near)
        curved = left + right - 2 * middle
        if curved > 0:
            best += STEP / 2 * (left - right) / curved
    # Two digits: rounding errors of the search must not show where a prior has jumps.
    chosen = float(f"{10**best:.2g}")
    return chosen, tried(chosen)[1] if iterations == "auto" else iterations


def _cropped(sample: Sample) -> Sample:
    """Cut the middle out of a sample, so that the search is quick."""
    assert sample.blur is not None
    most = SOLID if sample.blur.ndim == 3 else PLANE[-sample.blur.ndim :]
    cut = [slice(None)] * (sample.tile.ndim - len(most))
    for n, m in zip(sample.tile.shape[-len(most) :], most, strict=True):
        start = max(n - m, 0) // 2
        cut.append(slice(start, start + m))
    return replace(sample, tile=sample.tile[tuple(cut)])
