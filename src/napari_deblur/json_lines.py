"""What is said on stderr as lines of JSON, one object each: for programs that read a log."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_deblur.plans import Plan
    from napari_deblur.progress import Progress

__all__ = ["Pace", "are_asked", "asked", "followed", "is_on", "planned", "say", "tell"]

PAUSE = 10.0  # seconds between two lines of progress that tell nothing but numbers
NAMES = ("phase", "done", "total", "index", "failed", "clipped", "emptied", "note")
_on: ContextVar[bool] = ContextVar("json_lines", default=False)


class _Warnings(logging.Handler):
    """Says what this package and others warn of."""

    def emit(self, record: logging.LogRecord) -> None:
        say("note", text=record.getMessage())


@contextmanager
def asked(word: str | None) -> Iterator[None]:
    """Say so, inside, what would be said in sentences and bars, if `word` is ``json``."""
    if word != "json":
        yield
        return
    before, logger, handler = _on.set(True), logging.getLogger(), _Warnings(logging.WARNING)
    logger.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logger.removeHandler(handler)
        _on.reset(before)


def are_asked(words: Sequence[str]) -> bool:
    """Tell whether the words of a command ask for them."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return "--progress=json" in words or ("--progress", "json") in pairs


def is_on() -> bool:
    """Whether lines of JSON were asked for."""
    return _on.get()


def say(event: str, **said: Any) -> None:
    """Write a line; `event` is step, planned, progress, image, note or error."""
    sys.stderr.write(json.dumps({"event": event, **said}, default=int) + "\n")
    sys.stderr.flush()


def planned(steps: Generator[str, None, Plan]) -> Plan:
    """Let a plan be made, with a line for each step and note."""
    begun = monotonic()
    while True:
        try:
            say("step", text=next(steps))
        except StopIteration as done:
            plan: Plan = done.value
            break
    for text in plan.notes:
        say("note", text=text)
    say("planned", tiles=len(plan), seconds=round(monotonic() - begun, 1))
    return plan


class Pace:
    """Says which progress is worth a line: where a phase begins or ends, notes, now and then."""

    def __init__(self) -> None:
        self._phase, self._said_at = "", 0.0

    def takes(self, progress: Progress) -> bool:
        """Whether this one is."""
        ended = progress.done == progress.total
        late = monotonic() >= self._said_at + PAUSE
        if not (progress.note or ended or late or progress.phase != self._phase):
            return False
        self._phase, self._said_at = progress.phase, monotonic()
        return True


def tell(progress: Progress, **also: Any) -> None:
    """Write a line of how far something is."""
    values = {name: getattr(progress, name) for name in NAMES}
    eta = None if progress.eta is None else round(progress.eta, 1)
    say("progress", **also, **values, seconds=round(progress.seconds, 1), eta=eta)


def followed(run: Iterator[Progress]) -> Progress | None:
    """Follow a run to its end; give the last progress."""
    last, pace = None, Pace()
    for progress in run:
        last = progress
        if pace.takes(progress):
            tell(progress)
    return last
