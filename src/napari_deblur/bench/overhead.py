"""What a tile costs besides its restoring: the scheduler's time, the client's, and the wire's."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]

from napari_deblur.bench.asked import Asked, chosen
from napari_deblur.bench.children import Child
from napari_deblur.bench.facts import machine, versions

if TYPE_CHECKING:
    from napari_deblur.done import Done
    from napari_deblur.plans import Plan

__all__ = ["PARTS", "alone", "begun", "measured", "sending"]

WORKERS = 32  # of them the window holds eight batches each
LONG, SHORT = 10.0, 0.1  # seconds of a tile: it goes alone; ten go together
# Tiles of the made-up stacks, and how long each is said to take.
CASES = ((10_000, LONG), (100_000, LONG), (10_000, SHORT), (100_000, SHORT), (1_000_000, SHORT))
QUICK = ((300, LONG), (1000, SHORT))
WIRED = 2000  # tiles that are sent through a counter of bytes
CORE = (64, 512, 512)
STARTING = 60.0  # seconds for processes to start


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure tiles sent to a scheduler, runs in one process, and what begins a run."""
    names = chosen(PARTS, asked.only, what="part")
    result: dict[str, Any] = {
        "benchmark": "overhead",
        "machine": machine(asked.threads, "cpu"),
        "versions": versions(("dask", "distributed")),
        "quick": asked.quick,
        "workers": WORKERS,
    }
    for name in names:
        rows = []
        for case in PARTS[name][0](asked):
            with Child(asked.threads) as child:
                rows.append(child.ask(PARTS[name][1], **case))
            yield f"{name}: {case['count']} tiles: {rows[-1].get('missing', 'done')}"
        result[name] = rows
    return result


def _sent(asked: Asked) -> list[dict[str, Any]]:
    cases = QUICK if asked.quick else CASES
    wired = [(min(WIRED, cases[0][0]), seconds, True) for seconds in (LONG, SHORT)]
    every = [*((*case, False) for case in cases), *wired]
    return [{"count": count, "seconds": s, "wired": w} for count, s, w in every]


def _begun(asked: Asked) -> list[dict[str, Any]]:
    return [{"count": n} for n in ((100, 1000) if asked.quick else (10_000, 100_000))]


def _alone(asked: Asked) -> list[dict[str, Any]]:
    return [{"count": 40 if asked.quick else 2000}]


PARTS: dict[str, tuple[Callable[[Asked], list[dict[str, Any]]], str]] = {
    "scheduler": (_sent, "sending"),
    "begin": (_begun, "begun"),
    "one process": (_alone, "alone"),
}


def sending(*, count: int, seconds: float, wired: bool) -> dict[str, Any]:
    """Send tiles that nobody restores through a scheduler in its own process.

    Real are scheduler, window, batches, answers, and what is kept of them; not the work.
    """
    from napari_deblur.bench.crowd import answered
    from napari_deblur.bench.wire import Wire
    from napari_deblur.connecting import Line, connected
    from napari_deblur.sending import sent
    from napari_deblur.tasks import Task, Todo

    plan = _plan(count)
    with _scheduler() as (scheduler, address), ExitStack() as open_:
        wire = open_.enter_context(Wire(int(address.rpartition(":")[2])))
        line = open_.enter_context(Line(partial(connected, wire.address if wired else address)))
        line.client.wait_for_workers(WORKERS, timeout=STARTING)
        do, done = partial(answered, seconds=seconds), _nothing_of(plan)

        def send(indices: Iterator[Any]) -> int:
            todo = Todo(Task(index) for index in indices)
            number = 0
            for _, entry in sent(line, "/made-up.deblur.zarr", "0" * 64, todo, do):
                done.add(entry)  # type: ignore[arg-type]
                number += 1
            return number

        send(iter([(0, 0, 0, 0, n) for n in range(100)]))  # what is loaded and made once
        both = (scheduler, psutil.Process())
        before, held = [_cpu(one) for one in both], [one.memory_info().rss for one in both]
        passed, start = wire.up + wire.down, time.perf_counter()
        assert send(iter(plan.grid)) == count
        wall = time.perf_counter() - start
        cpu = [_cpu(one) - was for one, was in zip(both, before, strict=True)]
        grown = [one.memory_info().rss - was for one, was in zip(both, held, strict=True)]
    return {
        "count": count, "seconds": seconds, "wired": wired, "wall": wall,
        "scheduler cpu": cpu[0], "client cpu": cpu[1],
        "scheduler grown": grown[0], "client grown": grown[1],
        "bytes": wire.up + wire.down - passed if wired else None,
    }  # fmt: skip


def begun(*, count: int) -> dict[str, Any]:
    """Measure one reading of a ledger of all tiles, with a look at the size of each file."""
    from napari_deblur import system
    from napari_deblur.bench.crowd import answered
    from napari_deblur.store import Store
    from napari_deblur.tasks import Task
    from napari_deblur.working import Order

    plan = _plan(count)
    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder:
        store, order = Store(Path(folder), plan), Order("", plan.key)
        store.ledger.folder.mkdir()
        for index in plan.grid:
            entry: Any = answered((Task(index),), order, seconds=LONG).outcomes[0]
            (name,) = entry.files
            file = store.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()  # empty, since sizes cost the same
            store.ledger.append(replace(entry, files={name: (0, "0" * 64)}))
        size = sum(file.stat().st_size for file in store.ledger.folder.iterdir())
        system.give_memory_back()  # what writing left
        me = psutil.Process()
        before, held = _cpu(me), me.memory_info().rss
        done = store.done()
        cpu, grown = _cpu(me) - before, me.memory_info().rss - held
        assert len(done.tiles) == count
    return {
        "count": count, "plan": len(json.dumps(plan.to_dict())), "ledger": size,
        "reading cpu": cpu, "client grown": grown,
    }  # fmt: skip


def alone(*, count: int) -> dict[str, Any]:
    """Run small tiles that are left as they are in this process: read, write, sync, ledger."""
    import numpy as np

    from napari_deblur import batch
    from napari_deblur.bench.large import made_up
    from napari_deblur.plans import ChannelPlan, Layout, Plan
    from napari_deblur.protocols import Facts, Kernel
    from napari_deblur.registry import methods
    from napari_deblur.tiles import Grid

    stack = made_up((16, 16, 16 * count))
    kernel = Kernel(np.ones((1, 1, 1), np.float32))
    plan = Plan(
        Layout.of(stack), None, "channel", Grid(stack.shape, (16, 16, 16)),
        (ChannelPlan(Facts(background=10.0, white=800.0), methods["identity"]()),), kernel,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder:
        me, before = psutil.Process(), 0.0
        for step in batch.run(plan, Path(folder, "a.zarr"), stack):
            if step.phase == "tiles" and not step.done:
                before = _cpu(me)
            if step.phase == "tiles" and step.done == count:
                cpu = _cpu(me) - before
    return {"count": count, "cpu": cpu}


@contextmanager
def _scheduler() -> Iterator[tuple[psutil.Process, str]]:
    """Start a scheduler, and workers that restore nothing."""
    python = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder, ExitStack() as open_:
        file = Path(folder, "scheduler.json")
        scheduler = _started(
            [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
             "--no-dashboard", "--scheduler-file", str(file)], open_,
        )  # fmt: skip
        ends = time.monotonic() + STARTING
        while not file.exists() or "address" not in file.read_text():
            if time.monotonic() > ends or scheduler.poll() is not None:
                raise RuntimeError("dask's scheduler does not start here")
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        _started([*python, "napari_deblur.bench.crowd", address, str(WORKERS), folder], open_)
        yield psutil.Process(scheduler.pid), address


def _started(command: list[str], cleanup: ExitStack) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    cleanup.callback(process.wait)
    cleanup.callback(process.kill)
    return process


def _plan(count: int) -> Plan:
    """Plan a made-up stack of so many tiles, a hundred in a row."""
    from napari_deblur.bench.large import kernel_of, made_up
    from napari_deblur.plans import ChannelPlan, Layout, Plan
    from napari_deblur.protocols import Facts
    from napari_deblur.registry import methods
    from napari_deblur.tiles import Grid

    z, y, x = CORE
    stack = made_up((z, y * (count // 100), x * 100))
    channel = ChannelPlan(Facts(background=10.0, white=800.0), methods["richardson-lucy"]())
    grid = Grid(stack.shape, CORE)
    return Plan(Layout.of(stack), None, "channel", grid, (channel,), kernel_of(31))


def _nothing_of(plan: Plan) -> Done:
    from napari_deblur.done import Done
    from napari_deblur.pyramid import levels_of

    return Done.of(levels_of(plan.layout, plan.grid))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
