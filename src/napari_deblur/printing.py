"""What the command line prints: facts and results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer

from napari_deblur import json_lines

if TYPE_CHECKING:
    from rich.console import Console

    from napari_deblur.batch import Progress
    from napari_deblur.plans import Plan

__all__ = [
    "decided",
    "doing",
    "error",
    "followed",
    "lasting",
    "line",
    "note",
    "say",
    "sentence",
    "table",
    "watched",
]

# Where output goes into a file: a line when this share of a phase is done, after some seconds.
SHARE, PAUSE = 0.05, 2.0


def say(text: str = "") -> None:
    """Print to stdout, as it is."""
    with _unless_closed():
        typer.echo(text)


def line(text: str) -> None:
    """Print to stdout at once, above a bar if there is one; names may have any characters."""
    encoding = sys.stdout.encoding or "utf-8"
    with _unless_closed():
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()


@contextmanager
def _unless_closed() -> Iterator[None]:
    """Go on in silence where whoever reads stdout, such as `head`, has seen enough."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Print to stderr, dimly where there are colours."""
    if json_lines.is_on():
        json_lines.say("note", text=text)
        return
    _console().print(text, style="dim")


def error(text: str) -> None:
    """Print an error to stderr."""
    if json_lines.is_on():
        json_lines.say("error", text=text)
        return
    console = _console()
    console.print("error:", style="bold red", end=" ")
    console.print(text)


def sentence(problem: BaseException) -> str:
    """Give what an exception says, in one line and without quotes around it."""
    text = str(problem.args[0]) if isinstance(problem, KeyError) and problem.args else str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    text = " ".join(text.split())
    kind = type(problem).__name__
    if not isinstance(problem, ValueError | TypeError | KeyError | OSError | RuntimeError):
        text = f"{kind}: {text}" if text else kind
    if " " not in text:  # not written for people
        text = f"{kind}: {text}: run it again with --debug to see where"
    return text


def table(rows: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns."""
    from napari_deblur.describing import lines

    pairs = list(rows.items() if isinstance(rows, Mapping) else rows)
    if pairs:
        say(lines(pairs))


def lasting(seconds: float) -> str:
    """Say how long something takes: ``0.8 s``, ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds == inf:
        return "an unlimited time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say on stderr what is being done, until it is: on a terminal the line goes away again."""
    if json_lines.is_on():
        json_lines.say("step", text=what)
        yield
        return
    console = _console()
    if not console.is_terminal:
        console.print(f"{what} …")
    with console.status(f"[dim]{what} …"):
        yield


def decided(steps: Generator[str, None, Plan]) -> Plan:
    """Let a plan be made, saying what is being done and how long it took."""
    if json_lines.is_on():
        return json_lines.planned(steps)
    console, begun = _console(), monotonic()
    with console.status("") as status:
        while True:
            try:
                step = next(steps)
            except StopIteration as done:
                plan: Plan = done.value
                break
            if console.is_terminal:
                status.update(f"[dim]{step} …")
            else:
                console.print(f"{step} …")
    for said in plan.notes:
        console.print(f"note: {said}", style="yellow")
    count = f"{len(plan)} tile{'s' if len(plan) > 1 else ''}"
    console.print(f"planned {count} in {lasting(monotonic() - begun)}", style="dim")
    return plan


def followed(run: Iterator[Progress]) -> Progress:
    """Follow a run to its end, with a bar where there is a terminal; give the last progress."""
    last = watched(run)
    assert last is not None
    return last


def watched(run: Iterator[Progress]) -> Progress | None:
    """Do the same with what may have nothing to say."""
    if json_lines.is_on():
        return json_lines.followed(run)
    console = _console()
    return _with_bar(run, console) if console.is_terminal else _in_lines(run, console)


def _in_lines(run: Iterator[Progress], console: Console) -> Progress | None:
    last, phase, share, said_at = None, "", 0.0, 0.0
    for progress in run:
        last, done = progress, progress.done / max(progress.total, 1)
        due = done >= share + SHARE and progress.seconds >= said_at + PAUSE
        if due or progress.note or progress.phase != phase or done == 1:
            console.print(str(progress))
            phase, share, said_at = progress.phase, done, progress.seconds
    return last


def _with_bar(run: Iterator[Progress], console: Console) -> Progress | None:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", style="dim"),
    )
    last, tasks = None, {}
    # What goes to stdout meanwhile comes above the bar, but stays in its file if that is one.
    with Bar(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bar:
        for progress in run:
            last = progress
            if progress.note:
                bar.console.print(f"note: {progress.note}", style="yellow", soft_wrap=True)
            if progress.phase in ("complete", "incomplete", "part"):
                continue
            if progress.phase not in tasks:
                tasks[progress.phase] = bar.add_task(progress.phase, total=None, left="")
            left = f"{lasting(progress.eta)} left" if progress.eta is not None else ""
            if progress.done == progress.total:
                left = ""
            if progress.failed:
                left += f" {progress.failed} failed"
            task = tasks[progress.phase]
            bar.update(task, completed=progress.done, total=progress.total, left=left)
    return last


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
