"""Doing tasks by an engine, each up to three times, unless all fail.

A few that fail are left out. Where many fail one after the other, one is tried here and there
further on: if none succeeds it is not the image that is to blame, but the device, the network or
what was asked for, and the run stops before it has spoilt the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_deblur.ledger import Entry
from napari_deblur.noted import is_joined
from napari_deblur.stopping import (
    KEPT,
    LATER,
    ImageStopped,
    RunStopped,
    may_pass,
    refuse_away,
    refuse_gone,
    stops_the_run,
)
from napari_deblur.tasks import Engine, Task, Todo

if TYPE_CHECKING:
    from napari_deblur.progress import Progress, Tally
    from napari_deblur.store import Done, Store

__all__ = ["attempted"]

TRIES = 3
PAUSES = (10.0, 30.0)  # seconds until the next try of what may pass: a network that is away
# New tasks that may fail one after the other, until others are tried.
ROW = 20
# Of these: how many are passed over before each, and seconds to wait for what may pass.
STEPS = tuple(zip([4**n for n in range(8)], [2, 4, 6, 8, 10, 10, 10, 10], strict=True))


def attempted(
    store: Store,
    engine: Engine,
    tasks: Iterator[Task],
    done: Done,
    tally: Tally,
    *,
    fail_fast: bool = False,
    max_failed: int | None = None,
) -> Iterator[Progress]:
    """Let an engine do tasks; what fails comes again at the end, three times in all.

    With `max_failed` it goes on until so many have failed, whatever the others do.

    Raises
    ------
    RunStopped
        When too many fail.
    """
    todo = Todo(_told(task, done) for task in tasks)
    row = _Row(todo, done)
    with closing(engine(todo)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, Entry):
                row.end()
                done.add(outcome)
                if task.joins:
                    done.joined(task.level, task.index)
                    yield tally.progress()
                    continue
                tally.done += 1
                tally.clipped += outcome.clipped
                tally.emptied += outcome.emptied
                yield tally.progress(task.index)
                continue
            if task.level == 0 and not task.joins and store.plan.source is not None:
                refuse_gone(store.plan.source.address, outcome)
            if task.joins and is_joined(
                store.path, store.plan, task.level, task.index, task.inputs
            ):  # by another part, or by who finishes: then the tiles are gone
                done.shards[task.level, task.index] = task.inputs
                continue
            # Without the file nothing that is in it can be read: that is no tile to be left out.
            last = task.joins and task.retries + 1 == TRIES
            if fail_fast or last or stops_the_run(outcome):
                raise outcome
            # The first line, and not too long: it goes into the store's attributes.
            said = f"{type(outcome).__name__}: {outcome}".partition("\n")[0][:200]
            note = f"{'file' if task.joins else 'tile'} {task.index} failed ({said})"
            if task.retries + 1 < TRIES:
                pause = PAUSES[task.retries] if may_pass(outcome) else 0.0
                todo.again(replace(task, retries=task.retries + 1), pause)
                note += " and will be tried again"
            else:
                if may_pass(outcome):
                    source = store.plan.source
                    refuse_away(store.ledger.folder, source.address if source else None)
                done.add(store.note_failed(task.level, task.index, said))
                failure = {"level": task.level, "index": list(task.index), "error": said}
                tally.failed.append(failure)
                note += f" {TRIES} times and is left out"
            yield tally.progress(task.index, note)
            if max_failed is None:
                if said := row.add(task, outcome):
                    yield tally.progress(note=said)
            elif len(tally.failed) + len(todo) > max_failed:
                raise ImageStopped(
                    f"stopped: more than {max_failed} tiles failed, the last is {task.index} "
                    f"({said}); see to that, {KEPT}"
                ) from outcome
    row.check()


class _Row:
    """What failed since something succeeded; of what failed in an earlier run that is expected."""

    def __init__(self, todo: Todo, done: Done) -> None:
        self._todo, self._done = todo, done
        self._count, self._first = 0, ""
        self._error: Exception = RuntimeError()

    def end(self) -> None:
        """Say that something succeeded."""
        self._count = 0
        if self._todo.searching:
            self._todo.found()

    def add(self, task: Task, error: Exception) -> str:
        """Count a try that failed; give what there is to say.

        Raises
        ------
        RunStopped
            When those that were tried elsewhere have failed too.
        """
        if self._todo.missed(task):
            raise self._stopped()
        if not task.retries and (task.level, task.index) not in self._done.failed:
            self._count += 1
            if self._count == 1:
                said = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
                self._first, self._error = f"{task.index} ({said})", error
        if self._count <= ROW or self._todo.searching:
            return ""
        wait = may_pass(error)
        self._todo.search((step, seconds * wait) for step, seconds in STEPS)
        said = f"the last {self._count} tiles failed: others are tried"
        return said + (f" for {sum(s for _, s in STEPS)} s" if wait else "")

    def check(self) -> None:
        """Raise RunStopped if nothing succeeded at the end."""
        if self._todo.searching:
            raise self._stopped()

    def _stopped(self) -> RunStopped:
        text = f"stopped: the last {self._count} tiles all failed, the first is {self._first}"
        if may_pass(self._error):
            stopped = RunStopped(f"{text}; {LATER}, {KEPT}")
            stopped.errno = getattr(self._error, "errno", None)
        else:
            stopped = ImageStopped(f"{text}; see to that, {KEPT} (--max-failed N leaves N out)")
        stopped.__cause__ = self._error
        return stopped


def _told(task: Task, done: Done) -> Task:
    """Say to whoever joins files which ones these are: what lies there need not be of a tile."""
    return replace(task, sums=done.sums(task.level, task.index)) if task.joins else task
