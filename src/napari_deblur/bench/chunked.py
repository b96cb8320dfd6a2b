"""What it costs to restore a stack tile by tile from disk to disk, over the same in memory.

One stack is restored in three ways by processes that take turns: as a whole in memory; tile by tile
in memory, which adds the halos; and by a run, which adds reading, writing and the hand-over.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.bench.large import DEPTH, kernel_of, made_up, tried

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["WAYS", "measured", "planned", "written"]

WAYS = ("whole", "tiles", "run")


def written(folder: Path, side: int, dtype: str) -> Path:
    """Write a stack as zarr, in numbers of `dtype`."""
    import zarr

    shape = (DEPTH, side, side)
    array = zarr.create_array(
        folder / "stack.zarr", shape=shape, chunks=(32, 128, 128), dtype=dtype,
        dimension_names=["z", "y", "x"],
    )  # fmt: skip
    stack = made_up(shape)
    for y in range(0, side, 128):
        stop = min(y + 128, side)
        array[:, y:stop] = stack.read(0, 0, ((0, DEPTH), (y, stop), (0, side)))
    return folder / "stack.zarr"


def planned(
    source: str, folder: str, name: str, iterations: int, memory: int, width: int
) -> dict[str, Any]:
    """Plan for the ways that follow, and say how the stack is cut.

    `transformed` is the number of voxels that are transformed, over those of the whole; `whole` the
    bytes that a task for the whole would need.
    """
    from napari_deblur.ops import object_shape, transform_shape
    from napari_deblur.planning import plan
    from napari_deblur.registry import methods

    if name == "richardson-lucy":
        method, kernel = methods[name](iterations=iterations), kernel_of(width)
    else:
        method, kernel = methods[name](kernel="given"), kernel_of(width, plane=True)
    made = plan(source, method, kernel=kernel, memory=memory, judge=False)
    Path(folder, "plan.json").write_text(json.dumps(made.to_dict()), "utf-8")
    grid, shape = made.grid, made.lean_kernel.shape
    whole, tile = (
        prod(transform_shape(object_shape(n, shape))) for n in (grid.shape[2:], grid.tile_shape)
    )
    cut = zip(grid.halo, grid.core, grid.shape[2:], strict=True)
    return {
        "shape": grid.shape[2:],
        "core": grid.core,
        "halo": [halo if core < n else 0 for halo, core, n in cut],
        "tiles": len(made),
        "planned": made.memory,
        "whole": 4 * whole * made.channels[0].method.arrays,
        "bytes": prod(grid.shape) * np.dtype(made.layout.dtype).itemsize,
        "dtype": made.layout.dtype,
        "read": prod(grid.tile_shape) * len(made) / prod(grid.shape),
        "transformed": tile * len(made) / whole,
    }


@lru_cache(maxsize=1)
def _plan(folder: str) -> Plan:
    from napari_deblur.plans import Plan

    return Plan.from_dict(json.loads(Path(folder, "plan.json").read_text("utf-8")))


@lru_cache(maxsize=1)
def _loaded(plan: Plan) -> Stack:
    from napari_deblur.opening import reopen
    from napari_deblur.stack import Pixels, Stack

    assert plan.source is not None
    return Stack(Pixels(reopen(plan.source).read(0, 0), "zyx"), "zyx")


def measured(way: str, folder: str) -> dict[str, float]:
    """Restore the stack in one of the ways; give the seconds, and the CPU's."""
    plan = _plan(folder)
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "whole": lambda: _whole(plan, _loaded(plan)),
        "tiles": lambda: _tiles(plan, _loaded(plan)),
        "run": lambda: _run(plan, Path(folder)),
    }
    # Before the clock starts: libraries, and the stack.
    tried()
    if way != "run":
        _loaded(plan)
    start, before = perf_counter(), os.times()
    found = ways[way]()
    after = os.times()
    _loaded.cache_clear()  # the next one in turn needs the memory
    cpu = after.user + after.system - before.user - before.system
    return {"wall": perf_counter() - start, "cpu": cpu, **found}


def _whole(plan: Plan, stack: Stack) -> dict[str, float]:
    from napari_deblur.restoring import restore_tile
    from napari_deblur.tiles import Grid

    one = replace(plan, grid=Grid(plan.grid.shape, plan.grid.shape[2:]))
    restore_tile(one, stack, (0, 0, 0, 0, 0))
    return {}


def _tiles(plan: Plan, stack: Stack) -> dict[str, float]:
    from napari_deblur.restoring import restore_tile

    result = np.empty(plan.grid.shape[2:], np.float32)
    for index in plan.grid:
        where = tuple(slice(*span) for span in plan.tile(index).core)
        result[where] = restore_tile(plan, stack, index).image
    return {}


def _run(plan: Plan, folder: Path) -> dict[str, float]:
    """Do what a run does but the pyramid, and listen to the clock of its computing thread."""
    from napari_deblur import creating
    from napari_deblur.opening import reopen
    from napari_deblur.tasks import Clock, Task, Todo, in_this_process

    assert plan.source is not None
    output, clock, begun = folder / "run.deblur.zarr", Clock(), perf_counter()
    store = creating.create(output, plan)
    todo = Todo(Task(index) for index in plan.grid)
    with _transforming() as transforming:
        for _, outcome in in_this_process(store, reopen(plan.source), clock)(todo):
            if isinstance(outcome, Exception):
                raise outcome
    store.close()
    seconds = perf_counter() - begun
    shutil.rmtree(output)
    return {
        "computing": clock.computing,
        "waiting": clock.waiting,
        "running": seconds,
        "transforming": sum(transforming),
    }


@contextmanager
def _transforming() -> Iterator[list[float]]:
    """Collect the seconds of each planned transform."""
    from napari_deblur.ops import transforms

    taken: list[float] = []
    plain = transforms._transformed

    def timed(*given: Any, **named: Any) -> None:
        begun = perf_counter()
        plain(*given, **named)
        taken.append(perf_counter() - begun)

    transforms._transformed = timed
    try:
        yield taken
    finally:
        transforms._transformed = plain
