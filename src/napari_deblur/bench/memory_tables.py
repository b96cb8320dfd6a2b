"""The tables of ``bench memory`` that speak of whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_deblur.bench.tables import table

if TYPE_CHECKING:
    from napari_deblur.bench.tables import Lines, Result

__all__ = ["runs"]

SAYS = {
    "tiles over whole": "halos: tiles in memory ÷ whole in memory",
    "run over tiles": "reading, writing, hand-over: run ÷ tiles in memory",
    "run over whole": "all: run ÷ whole in memory",
}


def runs(result: Result) -> Lines:
    """Write what was measured of runs."""
    if "large-stack" in result:
        yield from _large(result["large-stack"])
    if "factors" in result:
        yield from _factors(result["factors"])
    if "chunked-run" in result:
        yield from _chunked(result["chunked-run"])
    if "throughput" in result:
        yield from _throughput(result["throughput"])


def _large(rows: list[Result]) -> Lines:
    yield "## Runs over stacks larger than the memory that one task may use"
    yield ""
    yield from table(
        ["stack", "allowed", "planned", "peak of the run", "÷ planned", "after a tenth",
         "peak of planning", "tiles", "of them done", "seconds"],
        [
            [row["missing"]] if "missing" in row else
            [_size(row["bytes"]), *(_size(row[k]) for k in ("allowed", "planned", "running")),
             f"{row['running'] / row['planned']:.2f}", _size(row["early"]), _size(row["planning"]),
             str(row["tiles"]), str(row["done"]), f"{row['seconds running']:.0f}"]
            for row in rows
        ],
    )  # fmt: skip
    yield "Above what the process held before, with all libraries loaded. The result is of 16 bits."
    yield ""


def _factors(rows: list[Result]) -> Lines:
    yield "## Peak of a run ÷ what was planned"
    yield ""
    yield from table(
        ["", "", "planned", "peak", "÷ planned"],
        [
            [row["method"], "planes" if row["plane"] else "volume",
             *([row["missing"]] if "missing" in row else
               [_size(row["planned"]), _size(row["running"]),
                f"{row['running'] / row['planned']:.2f}"])]
            for row in rows
        ],
    )  # fmt: skip
    yield ""


def _chunked(row: Result) -> Lines:
    yield "## A run in tiles, over the same work in memory"
    yield ""
    if "missing" in row:
        yield row["missing"]
        return
    yield (
        f"Richardson-Lucy, {row['iterations']} iterations, {_times(row['shape'])} voxels "
        f"({_size(row['bytes'])} of {row['dtype']}), "
        f"{_size(row['whole'])} of work in memory as a whole, {_size(row['allowed'])} allowed: "
        f"{row['tiles']} tiles with cores of {_times(row['core'])} and a halo of "
        f"{_times(row['halo'])}."
    )
    yield ""
    yield from table(
        ["", "CPU time", "quartiles", "wall time"],
        [
            [said, _middle(row[f"cpu: {key}"]), _quartiles(row[f"cpu: {key}"]),
             _middle(row[f"wall: {key}"])]
            for key, said in SAYS.items()
        ],
    )  # fmt: skip
    yield (
        f"Voxels that are read ÷ the stack's: {row['read']:.2f}; that are transformed ÷ those of "
        f"the whole: {row['transformed']:.2f}. The computing thread waits for blocks during "
        f"{_share(row['waiting'])} of the run, and does nothing during {_share(row['idle'])}, "
        f"begin and end counted. Load of the machine: {row['load']['median']:.1f}."
    )
    yield ""


def _throughput(rows: list[Result]) -> Lines:
    yield "## Throughput of a run, disk to disk"
    yield ""
    yield from table(
        ["", "MB of input per second", "CPU seconds per MB", "computing thread idle",
         "waits for blocks", "transforms, of what it computes"],
        [
            [row["method"], row["missing"], "", "", "", ""] if "missing" in row else
            [row["method"], f"{row['bytes'] / row['seconds']['run']['median'] / 1e6:.3g}",
             f"{row['cpu']['run']['median'] / row['bytes'] * 1e6:.3g}",
             *(_share(row[key]) for key in ("idle", "waiting", "transforming"))]
            for row in rows
        ],
    )  # fmt: skip
    for row in rows:
        if "missing" not in row:
            yield (
                f"{row['method']}: {_times(row['shape'])} voxels, {_size(row['bytes'])} of "
                f"{row['dtype']}, {row['tiles']} tiles. Load of the machine: "
                f"{row['load']['median']:.1f}."
            )
            yield ""


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _middle(spread: Result) -> str:
    return f"{spread['median']:.2f}"


def _quartiles(spread: Result) -> str:
    return f"{spread['low']:.2f} to {spread['high']:.2f}"


def _share(spread: Result) -> str:
    return f"{100 * spread['median']:.1f} %"


def _times(shape: list[int]) -> str:
    return "×".join(map(str, shape))
