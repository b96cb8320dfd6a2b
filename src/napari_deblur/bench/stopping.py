"""How close the numbers that methods decide by themselves come to the best ones."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.bench.entrants import AUTOMATIC, Missing, entrant
from napari_deblur.bench.scenes import Case
from napari_deblur.bench.tracing import curve_of, restored, trace_of

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked
    from napari_deblur.bench.scenes import Scene

__all__ = ["CASES", "FACTORS", "best_wiener", "measured", "summary"]

FLAT = tuple(
    Case(thing, kernel, peak, (192, 192), seed)
    for seed, thing in enumerate(("beads", "blobs", "filaments", "speckles"))
    for kernel in ("gaussian", "defocus", "airy")
    for peak in (80, 300, 3000)
)
SOLID = tuple(
    Case(thing, kernel, peak, (24, 80, 80), seed)
    for seed, thing in enumerate(("blobs", "filaments", "mixed"))
    for kernel in ("widefield, small", "gaussian 3-D")
    for peak in (300, 3000)
)
CASES = FLAT + SOLID
QUICK = (
    Case("filaments", "gaussian", 300, (48, 48)),
    Case("blobs", "gaussian 3-D", 300, (8, 32, 32)),
)
MOST, MOST_QUICK = 800, 30
# Of the automatic noise, to find the best constant.
FACTORS = tuple(2.0 ** (n / 2) for n in range(-12, 13))


def measured(asked: Asked) -> Generator[str, None, list[dict[str, Any]]]:
    """Compare the automatic with the best, method by method and scene by scene."""
    rows = []
    for case in QUICK if asked.quick else CASES:
        yield str(case)
        scene = case.scene(asked.camera)
        row: dict[str, Any] = {"case": str(case), "thing": case.thing, "peak": case.peak}
        row |= {"axes": len(case.shape), "blurred": scene.psnr(scene.tile)}
        row["methods"] = {
            name: _of_iterations(name, scene, MOST_QUICK if asked.quick else MOST)
            for name in AUTOMATIC
        }
        row["methods"]["wiener"] = _of_wiener(scene)
        rows.append(row)
    return rows


def _of_iterations(name: str, scene: Scene, most: int) -> dict[str, Any]:
    """Compare the automatic number of iterations with the best one at the same settings."""
    try:
        done = restored(entrant(name, iterations="auto"), scene)
    except (Missing, NotImplementedError) as error:
        return {"missing": str(error) or "not in the catalogue"}
    count = done.method.iterations
    curve = curve_of(trace_of(done.method, scene.tile, scene.blur, max(most, 2 * count)), scene)
    after, best = curve.best
    found = {
        "decibels": done.decibels,
        "iterations": count,
        "best": max(best, done.decibels),
        "best after": after,
        "loss": max(best - done.decibels, 0.0),
        "choosing": done.choosing,
        "running": done.running,
        # In transforms, as if choosing did nothing but iterate.
        "choosing in transforms": 4 * count * done.choosing / max(done.running, 1e-9),
    }
    if hasattr(done.method, "weight"):
        found["weight"] = done.method.weight
    return found


def best_wiener(method: Any, scene: Scene) -> float:
    """Give the PSNR of a resolved Wiener filter with the best of many constants."""
    return max(
        scene.psnr(replace(method, noise=method.noise * factor)(scene.tile, scene.blur).image)
        for factor in FACTORS
    )


def _of_wiener(scene: Scene) -> dict[str, Any]:
    done = restored(entrant("wiener"), scene)
    best = max(best_wiener(done.method, scene), done.decibels)
    return {
        "decibels": done.decibels,
        "best": best,
        "loss": best - done.decibels,
        "choosing": done.choosing,
        "running": done.running,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give for each method the median loss, that of nine in ten cases, and the worst case."""
    found: dict[str, Any] = {}
    for name in rows[0]["methods"] if rows else ():
        there = [row for row in rows if "missing" not in row["methods"][name]]
        if not there:
            found[name] = {"missing": rows[0]["methods"][name]["missing"]}
            continue
        losses = [row["methods"][name]["loss"] for row in there]
        worst = int(np.argmax(losses))
        found[name] = {
            "cases": len(losses),
            "median": float(np.median(losses)),
            "nine in ten": float(np.percentile(losses, 90)),
            "worst": losses[worst],
            "worst case": there[worst]["case"],
        }
        costs = [row["methods"][name].get("choosing in transforms") for row in there]
        if costs[0] is not None:
            found[name]["choosing in transforms"] = float(np.median(costs))
    return found | _regularised(rows)


def _regularised(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare total variation with plain Richardson-Lucy, both automatic."""
    plain, smooth = "richardson-lucy", "richardson-lucy-tv"
    gains = {
        row["case"]: (row, row["methods"][smooth]["decibels"] - row["methods"][plain]["decibels"])
        for row in rows
        if all("decibels" in row["methods"].get(name, {}) for name in (plain, smooth))
    }
    if not gains:
        return {}
    every = [gain for _, gain in gains.values()]
    dim = [
        gain for row, gain in gains.values() if row["thing"] == "filaments" and row["peak"] == 300
    ]
    worst = min(gains, key=lambda case: gains[case][1])
    return {
        "total variation over plain": {
            "median": float(np.median(every)),
            "worst": gains[worst][1],
            "worst case": worst,
            "filaments at 300 photons": float(np.median(dim)) if dim else None,
        }
    }
