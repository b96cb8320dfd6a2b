"""What those offer who will do a run: processes of this machine, or workers of a scheduler."""

from __future__ import annotations

import logging
from collections.abc import Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_deblur import gridding

if TYPE_CHECKING:
    from napari_deblur.job import Job

__all__ = ["offered"]

LOG = logging.getLogger(__name__)


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
    if job.device not in ("auto", "cuda") or gridding.chosen_device("auto") == "cuda":
        return {}
    if job.device == "auto":
        yield "asking the workers for GPUs"
        _tell_of_gpus(scheduler)
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
def _tell_of_gpus(scheduler: str) -> None:
    """Say it once if workers have GPUs that nobody asked for."""
    from napari_deblur.cluster import gpus

    if any(free is not None for free in gpus(scheduler).values()):
        LOG.warning("workers have GPUs, but the plan is for CPUs: use them with --device cuda")
