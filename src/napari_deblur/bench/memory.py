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
from napari_deblur.bench.speed import CASES, QUICK

__all__ = ["measured"]

ITERATIONS = 3
# Besides the rivals: a whole run. MB that one of its tasks may use.
LARGE = "large-stack"
ALLOWED, QUICK_ALLOWED = 40, 8
# The peak hardly changes from one process to the next.
PROCESSES = 3


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure all rivals on the first case of the speed benchmark; yield what is being done."""
    shape, kernel = (QUICK if asked.quick else CASES)[0]
    padded = 4 * prod(ops.transform_shape(ops.object_shape(shape, kernel)))
    task = {"shape": shape, "kernel": kernel, "threads": asked.threads, "device": "cpu"}
    names = chosen([*RIVALS, LARGE], asked.only, what="rival")
    large = LARGE in names
    names = [name for name in names if name != LARGE]
    rows: list[dict[str, Any]] = []
    for name in names:
        rival, peaks, missing = RIVALS[name], [], ""
        for _ in range(min(PROCESSES, asked.rounds)):
            with Child(asked.threads) as child:
                answer = child.ask("memory", rival=name, iterations=ITERATIONS, **task)
            missing = answer.get("missing", "")
            if missing:
                break
            peaks.append(answer["bytes"])
        row: dict[str, Any] = {"name": name, "label": rival.label, "kind": rival.kind}
        if missing:
            row["missing"] = missing
        else:
            row |= {"bytes": spread(peaks), "arrays": spread([p / padded for p in peaks])}
        rows.append(row)
        yield f"{name}: {missing or f'{max(peaks) / 1e6:.0f} MB'}"
    result: dict[str, Any] = {}
    if large:
        yield f"{LARGE}: a run over a stack larger than its memory"
        with Child(asked.threads) as child:
            allowed = (QUICK_ALLOWED if asked.quick else ALLOWED) * 10**6
            result[LARGE] = child.ask("large", memory=allowed, times=2 if asked.quick else 10)
    return {
        **result,
        "benchmark": "memory",
        "machine": machine(asked.threads, "cpu"),
        "versions": versions(RIVALS[name].package for name in names),
        "shape": shape,
        "kernel": kernel,
        "padded bytes": padded,
        "quick": asked.quick,
        "rows": rows,
    }
