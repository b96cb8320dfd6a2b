"""Seconds per iteration of Richardson-Lucy, ours and others', one after the other in turns."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import sleep
from typing import Any

from napari_deblur.bench.asked import Asked, chosen
from napari_deblur.bench.children import Child
from napari_deblur.bench.facts import machine, ratios, spread, versions
from napari_deblur.bench.rivals import RIVALS

__all__ = ["Timing", "in_turns", "measured"]

Shape = tuple[int, ...]
CASES: tuple[tuple[Shape, Shape], ...] = (
    ((64, 256, 256), (33, 33, 33)),
    ((1024, 1024), (31, 31)),
    ((32, 96, 96), (15, 15, 15)),
)
QUICK: tuple[tuple[Shape, Shape], ...] = (((12, 40, 40), (7, 7, 7)), ((96, 96), (9, 9)))
# Of one call, seconds; a rival that needs longer for one iteration does one and three.
SPAN = 0.6
# Threads of OpenMP spin for a fifth of a second after their work: nobody is timed meanwhile.
PAUSE = 0.25


@dataclass
class Timing:
    """What was measured of one rival: seconds per iteration in each round.

    `setup` is what a call takes besides its iterations.
    """

    name: str
    iterations: int = 1
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    setup: list[float] = field(default_factory=list)
    missing: str = ""


def measured(asked: Asked) -> Generator[str, None, dict[str, Any]]:
    """Measure all cases; yield what is being done."""
    names = chosen(RIVALS, asked.only, what="rival")
    rows = []
    for shape, kernel in QUICK if asked.quick else CASES:
        timings = yield from in_turns(shape, kernel, names, asked)
        rows += [{"shape": shape, "kernel": kernel, **_row(timing, timings)} for timing in timings]
    return {
        "benchmark": "speed",
        "machine": machine(asked.threads, asked.device),
        "versions": versions(RIVALS[name].package for name in names),
        "rounds": asked.rounds,
        "quick": asked.quick,
        "rows": rows,
    }


def in_turns(
    shape: Shape, kernel: Shape, names: Iterable[str], asked: Asked
) -> Generator[str, None, list[Timing]]:
    """Let rivals iterate in turns, each in a process of its own; yield what is being done.

    An iteration's time is what three times as many iterations take longer, so that preparing is
    not counted. Each round begins with another rival.
    """
    title = f"{_times(shape)}, kernel {_times(kernel)}"
    task = {"shape": shape, "kernel": kernel, "threads": asked.threads, "device": asked.device}
    timings = [Timing(name) for name in names]
    with ExitStack() as stack:
        running: list[tuple[Timing, Child]] = []
        for timing in timings:
            child = stack.enter_context(Child(asked.threads))
            why = _warmed(timing, child, task, span=SPAN / 20 if asked.quick else SPAN)
            if why:
                timing.missing = why
                child.__exit__()
            else:
                running.append((timing, child))
            yield f"{title}: {timing.name} {why or 'is ready'}"
        for turn in range(asked.rounds):
            first = turn % max(len(running), 1)
            for timing, child in [*running[first:], *running[:first]]:
                if not timing.missing:
                    _timed(timing, child, asked.device)
            yield f"{title}: round {turn + 1} of {asked.rounds}"
    return timings


def _warmed(timing: Timing, child: Child, task: dict[str, Any], *, span: float) -> str:
    """Prepare a rival, let plans be made, and choose a number of iterations; say what fails."""
    answer = child.ask("prepare", rival=timing.name, **task)
    for _ in range(2):
        if "missing" not in answer:
            answer = child.ask("run", iterations=1, device=task["device"])
    if "missing" in answer:
        return str(answer["missing"])
    timing.iterations = max(1, min(100, int(span / max(answer["wall"], 1e-6))))
    return ""


def _timed(timing: Timing, child: Child, device: str) -> None:
    few, answers = timing.iterations, []
    for iterations in (3 * few, few):
        sleep(PAUSE)
        answer = child.ask("run", iterations=iterations, device=device)
        if "missing" in answer:
            timing.missing = answer["missing"]
            return
        answers.append(answer)
    many, less = answers
    wall = max(many["wall"] - less["wall"], 1e-9) / (2 * few)
    timing.wall.append(wall)
    timing.cpu.append(max(many["cpu"] - less["cpu"], 1e-9) / (2 * few))
    timing.setup.append(max(less["wall"] - few * wall, 0.0))


def _row(timing: Timing, timings: Sequence[Timing]) -> dict[str, Any]:
    rival = RIVALS[timing.name]
    row: dict[str, Any] = {"name": timing.name, "label": rival.label, "kind": rival.kind}
    if timing.missing:
        return {**row, "missing": timing.missing}
    there = {t.name: t for t in timings if not t.missing}
    row |= {"iterations": timing.iterations, "seconds": spread(timing.wall)}
    row |= {"rounds": {"wall": timing.wall, "cpu": timing.cpu}}
    for name, reference in (("floor", "floor"), ("ours", "richardson-lucy")):
        if reference in there:
            row[f"over {name}"] = ratios(timing.wall, there[reference].wall)
            row[f"cpu over {name}"] = ratios(timing.cpu, there[reference].cpu)
    return row


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape))
