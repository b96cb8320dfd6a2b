"""Time to quality: what each method needs for plain Richardson-Lucy's best, less 0.05 dB."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_deblur.bench.entrants import ITERATIVE, Missing, entrant
from napari_deblur.bench.facts import spread
from napari_deblur.bench.scenes import Case
from napari_deblur.bench.speed import Timing, in_turns
from napari_deblur.bench.tracing import (
    Curve,
    Restored,
    curve_of,
    restored,
    skimage_trace,
    trace_of,
)

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked

__all__ = ["measured"]

PLAIN, THEIRS, PACE = "richardson-lucy", "scikit-image", "richardson-lucy at its pace"
CASES = tuple(
    Case("mixed", kernel, peak, (48, 128, 128), seed)
    for kernel, peak in (("widefield", 300), ("widefield", 3000), ("gaussian 3-D", 3000))
    for seed in (0, 1)
)
QUICK = (Case("mixed", "gaussian 3-D", 300, (12, 40, 40)),)
SLACK = 0.05
# A forward and a backward transform for the blur, and as many for its adjoint.
TRANSFORMS = 4
MOST, MOST_QUICK = 600, 30
# scikit-image's start and borders cost it many iterations; it is given four times as many.
PATIENCE = 4


def measured(asked: Asked) -> Generator[str, None, list[dict[str, Any]]]:
    """Trace all methods on all scenes, and time them in turns; yield what is being done."""
    cases = QUICK if asked.quick else CASES
    most = MOST_QUICK if asked.quick else MOST
    timings: dict[tuple[Any, ...], dict[str, Timing]] = {}
    rows: list[dict[str, Any]] = []
    for case in cases:
        scene = case.scene(asked.camera)
        size = (tuple(scene.tile.shape), scene.blur.shape)
        if size not in timings:
            names = [*ITERATIVE, THEIRS]
            few = replace(asked, rounds=min(asked.rounds, 5), device="cpu")
            timed = yield from in_turns(*size, names, few)
            timings[size] = {timing.name: timing for timing in timed}
        curves: dict[str, Curve] = {}
        done: dict[str, Restored] = {}
        missing: dict[str, str] = {}
        for name, (method, settings) in ITERATIVE.items():
            yield f"{case}: {name}"
            try:
                made = entrant(method, iterations="auto", **settings)
                done[name] = restored(made, scene)
                trace = trace_of(done[name].method, scene.tile, scene.blur, most)
                curves[name] = curve_of(trace, scene)
            except (Missing, NotImplementedError) as error:
                missing[name] = str(error) or "not in the catalogue"
        yield f"{case}: {THEIRS}"
        theirs = [
            curve_of(skimage_trace(scene, PATIENCE * most, subtracted=on), scene)
            for on in (False, True)
        ]
        curves[THEIRS] = max(theirs, key=lambda curve: curve.best[1])
        # Had it our start, background and borders, it would go our way, at its own pace.
        curves[PACE], timings[size][PACE] = curves[PLAIN], timings[size][THEIRS]
        found = _compared(curves, timings[size])
        for name, one in done.items():
            found[name]["automatic"] = {
                "iterations": one.method.iterations,
                "decibels": one.decibels,
                "choosing": one.choosing,
                "running": one.running,
            }
        rows.append(
            {
                "case": str(case),
                "seed": case.seed,
                "blurred": scene.psnr(scene.tile),
                "methods": found | {name: {"missing": why} for name, why in missing.items()},
            }
        )
    return rows


def _compared(curves: dict[str, Curve], timings: dict[str, Timing]) -> dict[str, dict[str, Any]]:
    wanted = curves[PLAIN].best[1] - SLACK
    plain = curves[PLAIN].best[0]
    compared: dict[str, dict[str, Any]] = {}
    for name, curve in curves.items():
        iterations, decibels = curve.best
        reached = curve.reaches(wanted)
        compared[name] = {
            "best": decibels,
            "best after": iterations,
            "wanted": wanted,
            "reached after": reached,
            "curve": {"iterations": curve.iterations, "decibels": curve.decibels},
        }
        if reached:
            compared[name]["transforms"] = TRANSFORMS * reached
            # "Its own best" is what the plain method is measured by as well.
            compared[name]["fewer than plain"] = plain / reached
        timing = timings[name]
        if not timing.missing:
            each, setup = spread(timing.wall)["median"], spread(timing.setup)["median"]
            compared[name]["seconds per iteration"] = each
            compared[name]["seconds to best"] = setup + iterations * each
            compared[name]["seconds"] = setup + reached * each if reached else None
    return compared
