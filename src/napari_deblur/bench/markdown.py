"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari_deblur.bench.blind_tables import blind
from napari_deblur.bench.gdunet_tables import gdunet
from napari_deblur.bench.memory_tables import runs
from napari_deblur.bench.overhead_tables import overhead
from napari_deblur.bench.quality_tables import quality
from napari_deblur.bench.tables import table

if TYPE_CHECKING:
    from napari_deblur.bench.tables import Lines, Result

__all__ = ["markdown"]


def markdown(result: Result) -> str:
    """Write a result of any of the benchmarks as Markdown."""
    writers = {
        "speed": _speed,
        "memory": _memory,
        "quality": quality,
        "blind": blind,
        "gdunet": gdunet,
        "overhead": overhead,
    }
    write = writers[result["benchmark"]]
    return "\n".join([*_head(result), *write(result)]) + "\n"


def _head(result: Result) -> Lines:
    yield f"# napari-deblur bench {result['benchmark']}"
    yield ""
    m = result["machine"]
    plural = "" if m["threads"] == 1 else "s"
    parts = [m["processor"], f"{m['cores']} cores", f"{m['threads']} thread{plural} each"]
    parts += [m[k] for k in ("device",) if k in m] + [m["system"], f"Python {m['python']}"]
    yield ", ".join(parts) + "; " + ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    yield ""
    if result["quick"]:
        yield "Sizes are tiny (`--quick`): the figures say that it runs, and nothing else."
        yield ""


def _speed(result: Result) -> Lines:
    for shape in dict.fromkeys(tuple(row["shape"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if tuple(row["shape"]) == shape]
        yield f"## {_times(shape)}, kernel {_times(rows[0]['kernel'])}: one iteration"
        yield ""
        yield from table(
            ["", "÷ floor", "quartiles", "CPU time ÷ floor", "÷ ours", "seconds"],
            [
                [
                    row["label"],
                    _of(row, "over floor"),
                    _quartiles(row.get("over floor")),
                    _of(row, "cpu over floor"),
                    _of(row, "over ours"),
                    row.get("missing") or f"{row['seconds']['median']:.3g}",
                ]
                for row in _sorted(rows, "over floor", "seconds")
            ],
        )
    yield (
        f"Medians of {result['rounds']} rounds; floor: four transforms of the padded size, planned "
        "and in place; ours: richardson-lucy. Preparing isn't counted."
    )


def _memory(result: Result) -> Lines:
    if result["rows"]:
        yield f"## {_times(result['shape'])}, kernel {_times(result['kernel'])}"
        yield ""
        yield from table(
            ["", "padded arrays", "MB"],
            [
                [
                    row["label"],
                    _of(row, "arrays"),
                    row.get("missing") or f"{row['bytes']['median'] / 1e6:.0f}",
                ]
                for row in _sorted(result["rows"], "bytes")
            ],
        )
        yield (
            "Peak of a fresh process less what it held before, image and kernel counted. "
            f"A padded array has {result['padded bytes'] / 1e6:.1f} MB."
        )
        yield ""
    yield from runs(result)


def _sorted(rows: Iterable[Result], *keys: str) -> list[Result]:
    """Put the quickest first, by the first of the keys that all have, and the missing last."""
    rows = list(rows)
    there = [row for row in rows if "missing" not in row]
    key = next((key for key in keys if all(key in row for row in there)), keys[-1])
    return sorted(rows, key=lambda row: row[key]["median"] if key in row else float("inf"))


def _of(row: Result, key: str) -> str:
    return f"{row[key]['median']:.2f}" if key in row else ""


def _quartiles(spread: Result | None) -> str:
    return f"{spread['low']:.2f} to {spread['high']:.2f}" if spread else ""


def _times(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))
