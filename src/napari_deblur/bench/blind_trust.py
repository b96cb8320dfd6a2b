"""How well right kernels are told from wrong ones without the truth."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur.bench import blind_scenes
from napari_deblur.bench.finding import found_in, restored, samples_of
from napari_deblur.methods._judging import judged
from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked

__all__ = ["measured_trust", "rates"]

# dB below the true kernel's from which on a kernel is called wrong.
WRONG = 1.0


def measured_trust(asked: Asked) -> Generator[dict[str, Any] | str, None, None]:
    """Judge true, found and planted kernels of the planes; and look for kernels where none is."""
    for scene in blind_scenes.QUICK["trust"] if asked.quick else blind_scenes.PLANES:
        found, _ = found_in(scene, asked)
        samples = samples_of(scene)
        true, _ = restored(scene, scene.true)
        kernels = {
            "true": scene.true,
            "found": torch.from_numpy(found.at()[0].copy()),
            **dict(blind_scenes.planted(scene)),
        }
        judgements = []
        for name, kernel in kernels.items():
            one = Kernel(kernel.numpy()[None, None, None], scene.size)
            trust = judged(samples, one, found=found)
            lost = true - restored(scene, kernel)[0]
            judgements.append(
                {
                    "kernel": name,
                    "lost": lost,
                    "missed": trust.missed,
                    "likeness": trust.likeness,
                    "verdict": trust.verdict,
                }
            )
        yield {
            "case": str(scene),
            "found": {"verdict": found.report["verdict"], "why": found.report["why"]},
            "judgements": judgements,
        }
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


def rates(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count how many wrong kernels are doubted, and how many right ones.

    Wrong: planted, and restoring with it loses 1 dB or more against the true kernel. Right: the
    true one, or one that was found and loses less. Found ones that lose more are judged by the
    search itself, and counted apart.
    """
    every = [(j, row) for row in rows if "judgements" in row for j in row["judgements"]]
    wrong = [j for j, _ in every if j["kernel"] not in ("true", "found") and j["lost"] >= WRONG]
    right = [
        j
        for j, _ in every
        if j["kernel"] == "true" or (j["kernel"] == "found" and j["lost"] < WRONG)
    ]
    curve = []
    for limit in (-0.02, 0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3):
        curve.append(
            {
                "limit": limit,
                "caught": _share(wrong, lambda j, m=limit: j["missed"] > m),
                "false alarms": _share(right, lambda j, m=limit: j["missed"] > m),
            }
        )
    searches = [(row, j) for j, row in every if j["kernel"] == "found"]
    bad = [row for row, j in searches if j["lost"] >= WRONG]
    good = [row for row, j in searches if j["lost"] < WRONG]
    return {
        "wrong": len(wrong),
        "right": len(right),
        "caught": _share(wrong, _doubted),
        "false alarms": _share(right, _doubted),
        "by kind": {
            name: [
                sum(_doubted(j) for j in wrong if j["kernel"] == name),
                sum(j["kernel"] == name for j in wrong),
            ]
            for name in dict.fromkeys(j["kernel"] for j in wrong)
        },
        "curve": curve,
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


def _doubted(judgement: dict[str, Any]) -> bool:
    return bool(judgement["verdict"] != "believe")


def _share(some: Sequence[dict[str, Any]], says: Any) -> float | None:
    return float(np.mean([says(one) for one in some])) if some else None
