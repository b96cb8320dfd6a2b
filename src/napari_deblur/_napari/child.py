"""The process of a run: ``python -m napari_deblur._napari.child REQUEST.json``.

It says what it does in lines of JSON on the standard output, and ends when the standard input
is closed, so it never outlives napari. It imports neither napari nor Qt.

The request has a "job" (`Job.to_dict`), what is "described" otherwise, and a "plan" or none; or
it names a store to "resume". Lines: {"say": text}, {"ready": {…}} after which it waits for the
line "go", {"output": path}, {"progress": {…}}, {"step": {…}} within a tile, at the end
{"done": {…}} or {"error": text}. It also obeys the lines "pause" and "resume".
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from napari_deblur._napari.mistakes import words

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from napari_deblur.job import Job
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["main"]

EVERY = 0.5  # seconds, in which the iterations within a tile are told once


def main(request: str) -> int:
    """Do what the request says; give the exit status."""
    talk, orders = _talking(), _Orders()
    threading.Thread(target=orders.obey, daemon=True).start()
    try:
        text = Path(request).read_text("utf-8")
        # napari may be killed before it can clear away; nobody reads it again.
        Path(request).unlink(missing_ok=True)
        _work(json.loads(text), talk, orders)
    except Exception as error:  # noqa: BLE001 - shown in the window, the rest goes to the log
        traceback.print_exc()
        talk(error=words(error))
        return 1
    return 0


class _Orders:
    """What napari tells the process by its standard input."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.paused = 0.0  # seconds
        self.steps = 0  # iterations since the last tile
        self.on_step: Callable[[int], None] | None = None
        self._told = 0.0
        self._going = threading.Event()
        self._going.set()

    def obey(self) -> None:
        """Read orders; end the process as soon as the other end is gone."""
        words = {"go": self.go.set, "pause": self._going.clear, "resume": self._going.set}
        rest = b""
        while heard := os.read(sys.stdin.fileno(), 1024):
            *lines, rest = (rest + heard).split(b"\n")
            for line in lines:
                words.get(line.decode().strip(), self.go.is_set)()
        os._exit(130)

    def asked(self) -> bool:
        """Wait here as long as the run is paused, and count: called in each iteration."""
        if not self._going.is_set():
            begun = monotonic()
            self._going.wait()
            self.paused += monotonic() - begun
        self.steps += 1
        if self.on_step is not None and monotonic() - self._told > EVERY:
            self._told = monotonic()
            self.on_step(self.steps)
        return False


def _talking() -> Callable[..., None]:
    """Keep the standard output for our lines; what else is printed goes to the log."""
    out: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()  # tiles are made in a thread of their own

    def talk(**message: Any) -> None:
        with lock:
            out.write(json.dumps(message, default=str) + "\n")
            out.flush()

    return talk


def _work(request: dict[str, Any], talk: Callable[..., None], orders: _Orders) -> None:
    from napari_deblur import batch
    from napari_deblur.ops import cancellable

    talk(say="starting")
    with cancellable(orders.asked):
        decide = _resumed if "resume" in request else _decided
        plan, output, stack, job = _spoken(decide(request), talk)
        output.parent.mkdir(parents=True, exist_ok=True)
        _wait_for_go(plan, output, talk, orders)
        opened, last, most = False, None, _iterations(plan)
        orders.steps = 0
        orders.on_step = lambda count: talk(step={"count": count, "of": most})
        for progress in batch.run(plan, output, stack, job=job):
            if not opened:
                talk(output=str(output))
                opened = True
            talk(progress=_without_pauses(asdict(progress), orders))
            last, orders.steps = progress, 0
    phase, note = (last.phase, last.note) if last is not None else ("", "")
    emptied = last.emptied if last is not None else 0
    talk(done={"output": str(output), "phase": phase, "note": note, "emptied": emptied})


def _iterations(plan: Plan) -> int | None:
    """Give how many iterations a plan of one tile takes, where that is a number of its method."""
    number = getattr(plan.channels[0].method, "iterations", None)
    return number if isinstance(number, int) and len(plan) == 1 and not plan.layout.rgb else None


def _spoken(steps: Generator[str, None, Any], talk: Callable[..., None]) -> Any:
    while True:
        try:
            talk(say=next(steps))
        except StopIteration as done:
            return done.value


Decided = tuple["Plan", Path, "Stack | None", "Mapping[str, Any] | None"]


def _decided(request: Mapping[str, Any]) -> Generator[str, None, Decided]:
    """Decide the plan, unless it is known, and the path; those of the same job are taken again."""
    from napari_deblur._napari.asking import free_path, paths_after
    from napari_deblur.job import Job
    from napari_deblur.per_channel import asked_of
    from napari_deblur.planning import planning
    from napari_deblur.plans import Layout, Plan

    job = Job.from_dict(request["job"])
    stack = _described(job.open(), request["described"])
    asked = asked_of(job, stack)
    for candidate in paths_after(request["output"]):
        if not candidate.exists():
            break
        if (stored := _stored(replace(job, output=str(candidate)), stack, asked)) is not None:
            named = replace(job, output=str(candidate))
            return stored, candidate, stack, named.resolved().to_dict()
    if request["plan"] is not None:
        # What the user confirmed in the form goes before what the file says.
        known = Plan.from_dict(request["plan"])
        plan = replace(known, source=stack.source, layout=Layout.of(stack))
    else:
        plan = yield from planning(stack, **asked)
    output = free_path(request["output"], plan.key)
    return plan, output, stack, replace(job, output=str(output)).resolved().to_dict()


def _stored(job: Job, stack: Stack, asked: Mapping[str, Any]) -> Plan | None:
    """Give the plan of a result of the same job: planned anew, its tiles might be others."""
    from napari_deblur import outputs, wishes

    stored = outputs.stored_plan(job, stack)
    return stored if stored is not None and wishes.same_kernels(stored, stack, asked) else None


def _resumed(request: Mapping[str, Any]) -> Generator[str, None, Decided]:
    """Go on with a store, as it was begun."""
    from napari_deblur.results import open_result

    path = Path(request["resume"])
    result = open_result(path)
    yield "looking at what is done"
    if result.plan.source is None:
        raise ValueError(f"{path} does not say where its pixels are: press Run")
    return result.plan, path, None, result.job


def _wait_for_go(plan: Plan, output: Path, talk: Callable[..., None], orders: _Orders) -> None:
    """Say what the run takes, and wait until somebody wants it; nothing of what is complete."""
    from napari_deblur._napari.speeds import computed, of_plan
    from napari_deblur.results import open_result
    from napari_deblur.system import free_disk

    if output.exists() and open_result(output).complete:
        return
    talk(
        ready={
            "tiles": len(plan),
            "memory": plan.memory,
            "disk": plan.disk,
            "free": free_disk(output),
            "voxels": computed(plan.grid.tile_shape, plan.kernel.shape) * len(plan),
            "work": asdict(of_plan(plan)),
            "output": str(output),
        }
    )
    orders.go.wait()


def _without_pauses(progress: dict[str, Any], orders: _Orders) -> dict[str, Any]:
    """Expect what is left from the time in which something was done."""
    seconds = progress["seconds"]
    if progress["eta"] and orders.paused and seconds > orders.paused:
        progress["eta"] *= 1 - orders.paused / seconds
    return progress


def _described(stack: Any, described: Mapping[str, Any]) -> Any:
    # JSON has lists in place of tuples. Unknown stays unknown, whatever the file says.
    size = tuple(described["pixel_size"]) if described["pixel_size"] else None
    source = replace(stack.source, pixel_size=size)
    return replace(
        stack,
        name=described["name"],
        time_step=described["time_step"],
        pixel_size=size,
        source=source,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
