"""What those offer who will do a run: processes of this machine, or workers of a scheduler."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_deblur import gridding

if TYPE_CHECKING:
    from napari_deblur.job import Job

__all__ = ["offered"]

LOG = logging.getLogger(__name__)
RECOUNT = 60.0  # seconds between two times that workers are asked: there may be many images


def offered(job: Job, workers: int, scheduler: str | None) -> Generator[str, None, dict[str, Any]]:
    """Give the arguments of `planning` that depend on who will do what is planned.

    Raises
    ------
    ValueError
        When a GPU is asked for and neither this machine nor a worker has one.
    ConnectionError
        When no scheduler answers.
    """
    if scheduler is None:
        return {"processes": max(1, workers)}
    gpu_here = gridding.chosen_device("auto") == "cuda"
    if job.device == "cpu" or (job.device == "auto" and not gpu_here):
        if job.device == "auto":
            yield "asking the workers for GPUs"
            _tell_of_gpus(scheduler)
        if job.memory is not None:
            return {}
        yield "asking the workers what memory they have free, as soon as there is one"
        return {"memory": _of_each(scheduler, int(monotonic() / RECOUNT))}
    if job.device != "cuda" or gpu_here:
        return {}
    from napari_deblur.cluster import gpus

    yield "asking the workers what their GPUs have free, as soon as there is one"
    found = gpus(scheduler, wait=job.memory is None)
    free = [one for one in found.values() if one is not None]
    if found and not free:
        raise ValueError(
            'there is no GPU for device "cuda": this machine has none, and none of the workers at '
            f"{scheduler} has one"
        )
    return {"elsewhere": min(free, default=0)}  # of what is asked for in bytes nothing is used


@lru_cache(maxsize=8)
def _of_each(scheduler: str, now: int) -> int:
    """Give the bytes that a task may use on every worker: those of a machine share its memory."""
    from napari_deblur.cluster import memories

    found = memories(scheduler)
    machines = Counter(map(_machine, found))
    shares = [
        gridding.allowed_memory(None, "cpu", processes=machines[_machine(where)], free=free)
        for where, (free, _) in found.items()
    ]
    # Dask restarts a worker that holds more than its own limit.
    shares += [gridding.share_of(limit, 1) for _, limit in found.values() if limit]
    least = min(shares)
    if least < gridding.LEAST:
        raise ValueError(
            f"the workers at {scheduler} have too little memory for any task: start fewer on a "
            "machine, or with a larger limit (--memory-limit)"
        )
    return least


def _machine(address: str) -> str:
    return address.rpartition(":")[0]


@lru_cache(maxsize=8)
def _tell_of_gpus(scheduler: str) -> None:
    """Say it once if workers have GPUs that nobody asked for."""
    from napari_deblur.cluster import gpus

    if any(free is not None for free in gpus(scheduler).values()):
        LOG.warning("workers have GPUs, but the plan is for CPUs: use them with --device cuda")
