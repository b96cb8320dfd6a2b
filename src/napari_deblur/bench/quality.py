"""Quality against a truth that is known: all parts of it, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari_deblur.bench import catalogue, photographs, stacks, stopping, to_quality
from napari_deblur.bench.asked import Asked, chosen
from napari_deblur.bench.facts import machine, versions

__all__ = ["PARTS", "measured"]

Part = Callable[[Asked], Generator[str, None, list[dict[str, Any]]]]
PARTS: dict[str, Part] = {
    "time": to_quality.measured,
    "stopping": stopping.measured,
    "methods": catalogue.measured,
    "wiener": photographs.measured_wiener,
    "photographs": photographs.measured_methods,
    "stacks": stacks.measured,
}
# What the part can't do without.
NEEDS = {"wiener": "photos", "photographs": "photos", "stacks": "data"}


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure the parts that were asked for, or those for which there are data."""
    import torch

    names = chosen(PARTS, asked.only, what="part")
    lacking = {name: NEEDS[name] for name in names if not _has(asked, name)}
    for name, option in lacking.items():
        if asked.only:
            raise ValueError(f'"{name}" needs a folder: --{option} FOLDER')
    parts: dict[str, Any] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    try:
        for name in names:
            if name not in lacking:
                parts[name] = yield from PARTS[name](asked)
    finally:
        torch.set_num_threads(before)
    if "stopping" in parts:
        parts["stopping, in short"] = stopping.summary(parts["stopping"])
    return {
        "benchmark": "quality",
        "machine": machine(asked.threads, "cpu"),
        "versions": versions(["scikit-image"]),
        "camera": asked.camera,
        "quick": asked.quick,
        **parts,
    }


def _has(asked: Asked, name: str) -> bool:
    return name not in NEEDS or getattr(asked, NEEDS[name]) is not None
