"""How well right kernels are told from wrong ones without the truth."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.bench import blind_scenes
from napari_deblur.bench.finding import found_in, restored, samples_of
from napari_deblur.bench.trust_volumes import SEEDS as SEEDS_SOLID
from napari_deblur.bench.trust_volumes import SOLID, planted_solid
from napari_deblur.methods._detail import RISES
from napari_deblur.methods._judging import COLOURED, LIMITS, VARIES, judged
from napari_deblur.methods._judging_solid import LIMITS_SOLID
from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked

__all__ = ["measured_trust", "rates"]

# Of the scenes: limits were set on those of the first (and looked at with seed 1).
SEEDS = (0, 2)
# Kernels that are nearly right: the true one, so many times as wide.
NEARLY = (0.95, 1.05)
# By how much a limit of 0 moves where the others double.
NOTHING = 0.1
# dB below the true kernel's from which on a kernel is called wrong.
WRONG = 1.0


def measured_trust(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Judge true, found and planted kernels, and look for kernels where none is.

    The limits were set on the scenes of the first seed; those of the second are the test. Volumes
    have seeds of their own, and no kernels are looked for in them.
    """
    planes = blind_scenes.QUICK["trust"] if asked.quick else blind_scenes.PLANES
    for seed in SEEDS[: 1 if asked.quick else None]:
        for scene in planes:
            yield _judgements(replace(scene, seed=seed), asked)
    for seed in SEEDS_SOLID:
        for volume in () if asked.quick else SOLID:
            yield _judgements_solid(replace(volume, seed=seed))
    sharp = blind_scenes.QUICK["sharp"] if asked.quick else blind_scenes.SHARP
    for kind, scenes in (("sharp", sharp), ("noise", () if asked.quick else blind_scenes.NOISE)):
        for scene in scenes:
            found, _ = found_in(scene, asked)
            yield {
                "case": f"{scene}, {scene.background:g} of background",
                "kind": kind,
                "verdict": found.report["verdict"],
                "why": found.report["why"],
            }


def _judgements(scene: blind_scenes.Scene, asked: Asked) -> dict[str, Any]:
    kernels = {"true": scene.true, **dict(blind_scenes.planted(scene))}
    for factor in NEARLY:
        kernels[f"{factor:g} × as wide"] = ops.stretched(scene.true, factor)
    row: dict[str, Any] = {"case": str(scene), "seed": scene.seed}
    if scene.seed == SEEDS[0]:  # a search takes longer than all the rest
        found, _ = found_in(scene, asked)
        kernels["found"] = torch.from_numpy(found.at()[0].copy())
        row["found"] = {"verdict": found.report["verdict"], "why": found.report["why"]}
    row["judgements"] = _judged(scene, kernels)
    return row


def _judgements_solid(volume: blind_scenes.Volume) -> dict[str, Any]:
    kernels = {"true": volume.true, **dict(planted_solid(volume))}
    return {
        "case": str(volume),
        "seed": volume.seed,
        "solid": True,
        "judgements": _judged(volume, kernels),
    }


def _judged(
    scene: blind_scenes.Scene | blind_scenes.Volume, kernels: dict[str, torch.Tensor]
) -> list[dict[str, Any]]:
    samples = samples_of(scene)
    best, _ = restored(scene, scene.true)
    made = []
    for name, kernel in kernels.items():
        array = kernel.numpy().reshape(1, 1, *(1,) * (3 - kernel.ndim), *kernel.shape)
        begun = process_time()
        trust = judged(samples, Kernel(array, scene.size))
        made.append(
            {
                "kernel": name,
                "seconds": process_time() - begun,
                "lost": best - restored(scene, kernel)[0],
                "verdict": trust.verdict,
                "signs": dict(trust.signs),
            }
        )
    return made


def rates(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count how many wrong kernels are doubted, and how many right ones.

    Wrong: planted, and restoring with it loses 1 dB or more against the true kernel. Right: the
    true one, and those nearly as wide, found ones too, which lose less. Found ones that lose more
    are judged by the search itself, and counted apart.
    """
    every, solid = (
        [
            (j, row)
            for row in rows
            if "judgements" in row and ("solid" in row) == volumes
            for j in row["judgements"]
        ]
        for volumes in (False, True)
    )
    searches = [(row, j) for j, row in every if j["kernel"] == "found"]
    bad = [row for row, j in searches if j["lost"] >= WRONG]
    good = [row for row, j in searches if j["lost"] < WRONG]
    seeds = dict.fromkeys(row["seed"] for _, row in every)
    return {
        "halves": {seed: _half([j for j, row in every if row["seed"] == seed]) for seed in seeds},
        "volumes": {
            seed: _half([j for j, row in solid if row["seed"] == seed], solid=True)
            for seed in dict.fromkeys(row["seed"] for _, row in solid)
        },
        "searches": {
            "wrong": len(bad),
            "doubted": sum(row["found"]["verdict"] != "believe" for row in bad),
            "right": len(good),
            "doubted right": sum(row["found"]["verdict"] != "believe" for row in good),
        },
        "left as they are": {
            kind: [sum(r["verdict"] == "nothing to deblur" for r in some), len(some)]
            for kind in ("sharp", "noise")
            if (some := [r for r in rows if r.get("kind") == kind])
        },
    }


def _half(judgements: Sequence[dict[str, Any]], *, solid: bool = False) -> dict[str, Any]:
    near = tuple(f"{factor:g} × as wide" for factor in NEARLY)
    true = [j for j in judgements if j["kernel"] == "true"]
    right = [j for j in judgements if j["kernel"] in (*near, "found") and j["lost"] < WRONG]
    wrong = [
        j for j in judgements if j["kernel"] not in ("true", "found", *near) and j["lost"] >= WRONG
    ]
    over = _over_solid if solid else _over
    curve = []
    for times in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5):
        curve.append(
            {
                "limits times": times,
                "caught": _share(wrong, lambda j, m=times: over(j, m)),
                "false alarms": _share([*true, *right], lambda j, m=times: over(j, m)),
            }
        )
    return {
        "wrong": len(wrong),
        "true": len(true),
        "nearly right": len(right),
        "caught": _share(wrong, _doubted),
        "true doubted": _share(true, _doubted),
        "nearly right doubted": _share(right, _doubted),
        "by kind": {
            name: [
                sum(_doubted(j) for j in wrong if j["kernel"] == name),
                sum(j["kernel"] == name for j in wrong),
            ]
            for name in dict.fromkeys(j["kernel"] for j in wrong)
        },
        "curve": curve,
        "median seconds": float(np.median([j["seconds"] for j in judgements])),
    }


def _over(judgement: dict[str, Any], times: float) -> bool:
    """Tell whether a kernel is doubted if all limits are so many times as large."""
    limits = {**LIMITS, "rise": RISES, "varies": VARIES, "colour": COLOURED}
    # The first limit is 0: it is moved as far as the others in all.
    wide = {name: limit or NOTHING * (times - 1) for name, limit in limits.items()}
    return any(
        value > (wide[name] * times if limits[name] else wide[name])
        for name, value in judgement["signs"].items()
        if name in wide
    )


def _over_solid(judgement: dict[str, Any], times: float) -> bool:
    signs = judgement["signs"]
    limits = {**LIMITS_SOLID, "colour": COLOURED}
    return any(signs.get(name, 0.0) > limit * times for name, limit in limits.items())


def _doubted(judgement: dict[str, Any]) -> bool:
    return bool(judgement["verdict"] != "believe")


def _share(some: Sequence[dict[str, Any]], says: Any) -> float | None:
    return float(np.mean([says(one) for one in some])) if some else None
