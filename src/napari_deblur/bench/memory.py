"""Peak memory of a call, each in a fresh process, above what the idle process holds."""

from __future__ import annotations

from collections.abc import Generator
from math import prod
from typing import Any

from napari_deblur import ops
from napari_deblur.bench.asked import Asked, chosen
from napari_deblur.bench.children import Child
from napari_deblur.bench.facts import machine, spread, versions
from napari_deblur.bench.rivals import RIVALS
from napari_deblur.bench.runs import RUNS
from napari_deblur.bench.speed import CASES, QUICK

__all__ = ["measured"]

ITERATIONS = 3
# The peak hardly changes from one process to the next.
PROCESSES = 3


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure all rivals on the first case of the speed benchmark, and runs; yield what is done."""
    shape, kernel = (QUICK if asked.quick else CASES)[0]
    names = chosen([*RIVALS, *RUNS], asked.only, what="rival or part")
    result: dict[str, Any] = {
        "benchmark": "memory",
        "machine": machine(asked.threads, "cpu"),
        "versions": versions(RIVALS[name].package for name in names if name in RIVALS),
        "shape": shape,
        "kernel": kernel,
        "padded bytes": 4 * prod(ops.transform_shape(ops.object_shape(shape, kernel))),
        "quick": asked.quick,
        "rows": [],
    }
    for name in names:
        if name in RUNS:
            result[name] = yield from RUNS[name](asked)
            continue
        row = _peak(name, asked, shape, kernel, result["padded bytes"])
        result["rows"].append(row)
        said = row.get("missing") or f"{row['bytes']['high'] / 1e6:.0f} MB"
        yield f"{name}: {said}"
    return result


def _peak(
    name: str, asked: Asked, shape: tuple[int, ...], kernel: tuple[int, ...], padded: int
) -> dict[str, Any]:
    """Measure one rival in a few processes."""
    task = {"shape": shape, "kernel": kernel, "threads": asked.threads, "device": "cpu"}
    rival, peaks = RIVALS[name], []
    row: dict[str, Any] = {"name": name, "label": rival.label, "kind": rival.kind}
    for _ in range(min(PROCESSES, asked.rounds)):
        with Child(asked.threads) as child:
            answer = child.ask("memory", rival=name, iterations=ITERATIONS, **task)
        if answer.get("missing"):
            return {**row, "missing": answer["missing"]}
        peaks.append(answer["bytes"])
    return {**row, "bytes": spread(peaks), "arrays": spread([p / padded for p in peaks])}
