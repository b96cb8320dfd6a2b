"""Benchmarks of several parts, each of which may be measured again without the others.

Each part is written into a file of its own as it goes, and stays there: a later run measures the
parts that it is asked for, and the table has the newest of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur.bench.asked import Asked, chosen
from napari_deblur.bench.facts import machine, versions

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Part", "measured_parts"]

# Yields rows, each with its "case", and sentences on what is being done.
Part = Callable[[Asked], Generator[dict[str, Any] | str, None, None]]


def measured_parts(
    benchmark: str, parts: Mapping[str, Part], asked: Asked, packages: Sequence[str]
) -> Generator[str, None, dict[str, Any]]:
    """Measure the parts that were asked for; yield what is being done."""
    names = chosen(parts, asked.only, what="part")
    folder = asked.out / benchmark
    folder.mkdir(parents=True, exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    try:
        for name in names:
            yield from _measured(name, parts[name], asked, folder / f"{name}.json")
    finally:
        torch.set_num_threads(before)
    found = {}
    for name in parts:
        file = folder / f"{name}.json"
        if file.is_file():
            part = json.loads(file.read_text("utf-8"))
            if part["quick"] == asked.quick:
                found[name] = part
    return {
        "benchmark": benchmark,
        "machine": machine(asked.threads, "cpu"),
        "versions": versions(list(packages)),
        "quick": asked.quick,
        **found,
    }


def _measured(name: str, part: Part, asked: Asked, file: Path) -> Generator[str, None, None]:
    begun, rows = monotonic(), []
    for row in part(asked):
        if isinstance(row, str):
            yield f"{name}: {row}"
            continue
        rows.append(row)
        done = {"quick": asked.quick, "seconds": monotonic() - begun, "rows": rows}
        file.write_text(json.dumps(done, indent=1, default=_plain) + "\n", "utf-8")
        yield f"{name}: {row['case']} done after {done['seconds']:.0f} s"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
