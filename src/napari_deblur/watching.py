"""Which workers to trust: where all fails, or a task hangs, nothing is sent for a while.

A worker whose GPU or disk has failed fails fast, asks for more, and would spoil most of an image.
So what fails there is done by others, without counting as a try; if it fails there too it was not
the worker's fault.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Mapping, Set
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

from napari_deblur.ledger import Entry
from napari_deblur.stopping import stops_the_run

if TYPE_CHECKING:
    from napari_deblur.tasks import Task

__all__ = ["Batch", "Watch"]

LOG = logging.getLogger(__name__)
ROW = 5  # tries that may fail on a worker, one after the other
REST = 300.0  # seconds that it gets nothing then
HUNG, TIMES = 600.0, 20  # a batch hangs after so many seconds and so many times the usual time
FIRST = 3600.0  # the same, while none has come back: all may take as long
LONG = 3600.0  # seconds that the worker gets nothing then

HANGS = (
    "tile %s has been %.0f s on the worker at %s, where most take a few: its disk or network may "
    "hang"
)

Batch = tuple["Task", ...]
Outcome = Entry | Exception


class Watch:
    """What is known of the workers of a run."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, int] = defaultdict(int)
        self._until: dict[str, float] = {}  # those in doubt
        self._faults: dict[str, str] = {}  # what they said, until it was told
        self._moved: dict[Task, str] = {}  # from which worker
        self._lasted: deque[float] = deque(maxlen=100)
        self._said: dict[Batch, float] = {}  # of what hangs, when
        self._passed_on: set[Batch] = set()

    def trusted(self, there: Set[str]) -> list[str] | None:
        """Give the workers that are to get more; None: all."""
        now = monotonic()
        self._until = {one: end for one, end in self._until.items() if end > now and one in there}
        good = sorted(there - self._until.keys())
        if not good:
            self._until.clear()  # it is not the workers
        return good if self._until else None

    def judged(
        self, worker: str, pairs: list[tuple[Task, Outcome]], there: Set[str]
    ) -> tuple[list[tuple[Task, Outcome]], list[Task]]:
        """Take what a worker made of tasks: give what counts, and what others are to try."""
        came = {task: self._moved.pop(task) for task, _ in pairs if task in self._moved}
        for task, outcome in pairs:
            if isinstance(outcome, Entry):
                self._rows[worker] = 0
                if worker not in self._until:
                    self._faults.pop(worker, None)
                self._convict(came.get(task, ""))
            elif task in came:
                self._acquit(came[task])
            else:
                self._rows[worker] += 1
                self._faults.setdefault(worker, f"{type(outcome).__name__}: {outcome}"[:200])
        failed = [(task, one) for task, one in pairs if not isinstance(one, Entry)]
        others = there - self._until.keys() - {worker}
        stops = any(stops_the_run(one) for _, one in failed if not isinstance(one, Entry))
        bad = self._rows[worker] >= ROW or worker in self._until
        if not (worker and bad and others) or stops:
            return pairs, []
        self.doubt(worker, REST)
        moved = [task for task, _ in failed if task not in came]
        self._moved |= dict.fromkeys(moved, worker)
        return [pair for pair in pairs if pair[0] not in self._moved], moved

    def doubt(self, worker: str, seconds: float) -> None:
        """Give a worker nothing for some seconds, if there are others."""
        self._until[worker] = max(self._until.get(worker, 0.0), monotonic() + seconds)
        self._rows[worker] = 0

    def lasted(self, seconds: float) -> None:
        """Say how long a batch took."""
        self._lasted.append(seconds)

    @property
    def limit(self) -> float:
        """Seconds after which a batch hangs."""
        return max(HUNG, TIMES * median(self._lasted)) if self._lasted else FIRST

    def hung(
        self,
        at_work: Mapping[str, Mapping[str, float]],
        batches: Mapping[str, Batch],
        there: Set[str],
    ) -> list[str]:
        """Say what hangs, and give what others are to do: each batch once.

        Parameters
        ----------
        at_work : mapping of a worker to {name of a batch: seconds}
            Of what only waits there, 0.
        batches : mapping of a name to a batch
            Those that are out.
        there : set of workers
        """
        now, limit, back = monotonic(), self.limit, []
        for worker, lasting in at_work.items():
            own = {name: seconds for name, seconds in lasting.items() if name in batches}
            names = [name for name, seconds in own.items() if seconds > limit]
            if not names:
                continue
            self.doubt(worker, LONG)
            for name in names:
                batch = batches[name]
                if now - self._said.get(batch, -limit) >= limit:
                    self._said[batch] = now
                    LOG.warning(HANGS, batch[0].index, own[name], worker)
            new = [name for name in names if batches[name] not in self._passed_on]
            if new and self.trusted(there):
                self._passed_on.update(batches[name] for name in new)
                back += [*new, *(name for name, seconds in own.items() if not seconds)]
        return back

    def _convict(self, worker: str) -> None:
        """Say that others do what failed on a worker."""
        if worker in self._until and worker in self._faults:
            LOG.warning(
                "all fails on the worker at %s (%s) and not on others: they do its tiles",
                worker,
                self._faults.pop(worker),
            )

    def _acquit(self, worker: str) -> None:
        """Say that others fail as well; one that was convicted stays out."""
        if self._faults.pop(worker, None):
            self._until.pop(worker, None)
