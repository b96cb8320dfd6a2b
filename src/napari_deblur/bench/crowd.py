"""Workers that answer at once what a real one would after seconds: only the sending is real.

``python -m napari_deblur.bench.crowd SCHEDULER COUNT FOLDER`` runs so many of them in one process.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from distributed import Worker

from napari_deblur.ledger import Entry, now
from napari_deblur.working import Answer, Order

if TYPE_CHECKING:
    from napari_deblur.tasks import Task

__all__ = ["answered", "main"]


def answered(tasks: tuple[Task, ...], order: Order, *, seconds: float) -> Answer:
    """Say that tiles were written, which took so many seconds each."""
    entries = tuple(
        Entry(
            "tile", order.key, task.index, files={_file(task): (16_777_216, "0" * 64)},
            values="1" * 64, device="cuda", seconds=seconds, finished=now(),
        )
        for task in tasks
    )  # fmt: skip
    return Answer(entries, seconds * len(tasks))


def _file(task: Task) -> str:
    return "/".join(["0", "c", *map(str, task.index)])


async def main(scheduler: str, count: int, folder: str) -> None:
    """Work until the scheduler is gone."""
    async with AsyncExitStack() as running:
        workers = [
            await running.enter_async_context(
                Worker(scheduler, nthreads=1, local_directory=folder, dashboard=False)
            )
            for _ in range(count)
        ]
        await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
