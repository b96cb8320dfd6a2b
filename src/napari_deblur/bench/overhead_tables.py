"""The tables of ``bench overhead``, and what they come to for a petabyte."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

from napari_deblur.bench.overhead import CORE
from napari_deblur.bench.tables import table

if TYPE_CHECKING:
    from napari_deblur.bench.tables import Lines, Result

__all__ = ["overhead"]

PETABYTE = 10**15
PIXEL = 2  # bytes: uint16


def overhead(result: Result) -> Lines:
    """Write what was measured, and extrapolate."""
    rows = [row for row in result.get("scheduler", []) if "missing" not in row]
    if rows:
        yield from _scheduler(result, [row for row in rows if not row["wired"]])
        yield from _wire([row for row in rows if row["wired"]])
    begun = [row for row in result.get("begin", []) if "missing" not in row]
    if begun:
        yield from _begin(begun)
    for row in result.get("one process", []):
        if "missing" not in row:
            yield (
                f"A run in one process, {row['count']} tiles of 16³ that stay as they are: "
                f"{1000 * row['cpu'] / row['count']:.1f} ms of CPU time a tile, for reading, "
                "writing, waiting for the disk, and the ledger."
            )
            yield ""
    if rows and begun:
        yield from _petabyte(rows, begun[-1])
    for part in ("scheduler", "begin", "one process"):
        for row in result.get(part, []):
            if "missing" in row:
                yield f"{part}: {row['missing']}"


def _scheduler(result: Result, rows: list[Result]) -> Lines:
    yield "## Tiles sent to workers by a scheduler"
    yield ""
    yield from table(
        ["tiles", "seconds of a tile", "scheduler, ms a tile", "client, ms a tile",
         "scheduler grew by", "client grew by"],
        [
            [f"{row['count']:,}", f"{row['seconds']:g}", _ms(row, "scheduler cpu"),
             _ms(row, "client cpu"), _mb(row["scheduler grown"]), _mb(row["client grown"])]
            for row in rows
        ],
    )  # fmt: skip
    yield (
        f"CPU time of the processes, for {result['workers']} workers. Scheduler, connections, "
        "window, batches and answers are real; the workers are not: they answer at once, and say "
        "how long a tile took. Tiles of a second and more go alone, shorter ones together."
    )
    yield ""


def _wire(rows: list[Result]) -> Lines:
    said = [f"{row['bytes'] / row['count']:.0f} bytes for tiles of {row['seconds']:g} s"
            for row in rows]  # fmt: skip
    if said:
        yield f"Between client and scheduler pass, a tile, both ways: {', '.join(said)}."
        yield ""


def _begin(rows: list[Result]) -> Lines:
    yield "## What begins a run that goes on"
    yield ""
    yield from table(
        ["tiles", "plan, bytes", "ledger, MB", "reading the ledger, s of CPU", "client grows by"],
        [
            [f"{row['count']:,}", str(row["plan"]), f"{row['ledger'] / 1e6:.1f}",
             f"{row['reading cpu']:.2f}", _mb(row["client grown"])]
            for row in rows
        ],
    )  # fmt: skip


def _petabyte(rows: list[Result], begun: Result) -> Lines:
    yield "## Extrapolated to 1 PB of uint16"
    yield ""
    alone = max((r for r in rows if r["seconds"] >= 1 and not r["wired"]), key=lambda r: r["count"])
    largest = max((r for r in rows if not r["wired"]), key=lambda r: r["count"])
    cores = [CORE, tuple(2 * n for n in CORE)]
    found = []
    for core in cores:
        tiles = ceil(PETABYTE / PIXEL / prod(core))
        times = tiles / alone["count"]
        found.append([
            "×".join(map(str, core)), f"{tiles:,}",
            f"{times * alone['scheduler cpu'] / 3600:.1f} h",
            f"{times * alone['client cpu'] / 3600:.1f} h",
            f"{tiles / begun['count'] * begun['ledger'] / 1e9:.1f} GB",
            f"{tiles / begun['count'] * begun['reading cpu'] / 60:.0f} min",
            f"{tiles / largest['count'] * max(largest['client grown'], 0) / 1e9:.1f} GB",
        ])  # fmt: skip
    yield from table(
        ["core", "tiles", "scheduler CPU", "client CPU", "ledger", "reading it", "client memory"],
        found,
    )
    yield (
        f"By proportion: times from {alone['count']:,} tiles that go alone, ledger from "
        f"{begun['count']:,}, memory from {largest['count']:,}. A petabyte was not run."
    )


def _ms(row: Result, key: str) -> str:
    return f"{1000 * row[key] / row['count']:.3f}"


def _mb(count: float) -> str:
    return f"{count / 1e6:.0f} MB"
