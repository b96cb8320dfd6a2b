"""Whole runs: their memory, what they cost over the same work in memory, and their throughput."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur.bench.children import Child
from napari_deblur.bench.chunked import WAYS, written
from napari_deblur.bench.facts import ratios, spread

if TYPE_CHECKING:
    from napari_deblur.bench.asked import Asked

__all__ = ["RUNS"]

Answers = Generator[str, None, Any]


@dataclass(frozen=True)
class _Size:
    """How large the measurements are.

    `allowed` bytes for a task, `times` larger stacks, of which so many `tiles` are done (None is
    all); `side` of the stack that is restored in several ways within `cap` bytes, and `small` of
    the one whose throughput is measured; `width` of the kernel.
    """

    allowed: int
    times: tuple[int, ...]
    tiles: int | None
    side: int
    cap: int
    small: int
    iterations: int
    width: int


# The stack that is restored in several ways is three times its cap: 1.5 GB of float32.
FULL = _Size(200_000_000, (1, 10, 100), None, 2420, 500_000_000, 640, 20, 31)
TINY = _Size(8_000_000, (1, 3), 4, 128, 20_000_000, 96, 2, 9)
# Of a method's peak; more tiles don't change it.
TILES = 6
METHODS = ("richardson-lucy", "accelerated-richardson-lucy", "richardson-lucy-tv", "wiener",
           "tikhonov", "total-variation", "hyper-laplacian", "wavelet", "identity")  # fmt: skip


def _size(asked: Asked) -> _Size:
    return TINY if asked.quick else FULL


def large_stack(asked: Asked) -> Answers:
    """Measure the peak of runs over stacks that are larger and larger."""
    size, rows = _size(asked), []
    for times in size.times:
        with Child(asked.threads) as child:
            row = child.ask(
                "large", memory=size.allowed, times=times, tiles=size.tiles, width=size.width
            )
        rows.append(row)
        said = row.get("missing") or f"{row['running'] / row['planned']:.2f} of what was planned"
        yield f"large-stack: {times} times the memory: {said}"
    return rows


def factors(asked: Asked) -> Answers:
    """Measure the peak of a run with each method, in volumes and plane by plane."""
    size, rows = _size(asked), []
    for name in METHODS[:2] if asked.quick else METHODS:
        for plane in (False, True):
            with Child(asked.threads) as child:
                row = child.ask(
                    "large", memory=size.allowed, times=size.times[1], tiles=TILES,
                    width=size.width, method=name, plane=plane,
                )  # fmt: skip
            rows.append({"method": name, "plane": plane, **row})
            said = (
                row.get("missing") or f"{row['running'] / row['planned']:.2f} of what was planned"
            )
            yield f"factors: {name}, {'planes' if plane else 'volume'}: {said}"
    return rows


def chunked_run(asked: Asked) -> Answers:
    """Restore a stack as a whole, tile by tile, and by a run, in turns."""
    side = _size(asked).side
    return (yield from _in_turns(asked, "chunked-run", "richardson-lucy", WAYS, side, "f4"))


def throughput(asked: Asked) -> Answers:
    """Measure how many bytes of input a run restores in a second."""
    rows = []
    for name in ("richardson-lucy", "gdunet"):
        side = _size(asked).small
        rows.append((yield from _in_turns(asked, "throughput", name, ("run",), side, "u2")))
    return rows


def _in_turns(
    asked: Asked, title: str, name: str, ways: tuple[str, ...], side: int, dtype: str
) -> Answers:
    size = _size(asked)
    with (
        tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder,
        ExitStack() as running,
    ):
        yield f"{title}: {name}: planning"
        source = written(Path(folder), side, dtype)
        children = {way: running.enter_context(Child(asked.threads)) for way in ways}
        found: dict[str, Any] = children[ways[-1]].ask(
            "plan", source=str(source), folder=folder, name=name, iterations=size.iterations,
            memory=size.cap, width=size.width,
        )  # fmt: skip
        if "missing" in found:
            return {"method": name, **found}
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        loads = []
        for turn in range(asked.rounds):
            for way in [*ways[turn % len(ways) :], *ways[: turn % len(ways)]]:
                rounds[way].append(children[way].ask("restore", way=way, folder=folder))
                if "missing" in rounds[way][-1]:
                    return {"method": name, **rounds[way][-1]}
            loads.append(os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"))
            yield f"{title}: {name}: round {turn + 1} of {asked.rounds}"
    runs = rounds["run"]
    found |= {
        "method": name,
        "iterations": size.iterations if name == "richardson-lucy" else None,
        "allowed": size.cap,
        "load": spread(loads),
        "seconds": {way: spread([one["wall"] for one in many]) for way, many in rounds.items()},
        "cpu": {way: spread([one["cpu"] for one in many]) for way, many in rounds.items()},
        "transforming": spread([one["transforming"] / one["computing"] for one in runs]),
        "idle": spread([1 - one["computing"] / one["running"] for one in runs]),
        "waiting": spread([one["waiting"] / one["running"] for one in runs]),
        "rounds": rounds,
    }
    for way, over in (("tiles", "whole"), ("run", "tiles"), ("run", "whole")):
        if over in rounds:
            for key in ("cpu", "wall"):
                these, those = ([one[key] for one in rounds[w]] for w in (way, over))
                found[f"{key}: {way} over {over}"] = ratios(these, those)
    return found


RUNS: dict[str, Callable[[Asked], Answers]] = {
    "large-stack": large_stack,
    "factors": factors,
    "chunked-run": chunked_run,
    "throughput": throughput,
}
