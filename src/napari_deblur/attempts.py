"""Doing tasks by an engine, each up to three times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_deblur.ledger import Entry
from napari_deblur.stopping import refuse_gone, stops_the_run
from napari_deblur.tasks import Engine, Task, Todo

if TYPE_CHECKING:
    from napari_deblur.progress import Progress, Tally
    from napari_deblur.store import Done, Store

__all__ = ["attempted"]

TRIES = 3


def attempted(
    store: Store,
    engine: Engine,
    tasks: Iterator[Task],
    done: Done,
    tally: Tally,
    *,
    fail_fast: bool = False,
) -> Iterator[Progress]:
    """Let an engine do tasks; what fails comes again at the end, three times in all."""
    todo = Todo(_told(task, done) for task in tasks)
    with closing(engine(todo)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, Entry):
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
            if task.joins and _joined_by_another(store, task):
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
                todo.again(replace(task, retries=task.retries + 1))
                note += " and will be tried again"
            else:
                done.add(store.note_failed(task.level, task.index, said))
                failure = {"level": task.level, "index": list(task.index), "error": said}
                tally.failed.append(failure)
                note += f" {TRIES} times and is left out"
            yield tally.progress(task.index, note)


def _told(task: Task, done: Done) -> Task:
    """Say to whoever joins files which ones these are: what lies there need not be of a tile."""
    return replace(task, sums=done.sums(task.level, task.index)) if task.joins else task


def _joined_by_another(store: Store, task: Task) -> bool:
    """Whether another part, or who finishes, was faster: then the tiles of a file are gone."""
    return store.done().shards.get((task.level, task.index)) == task.inputs
