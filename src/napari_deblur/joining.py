"""The plan that all parts of a run share: the first to come makes it, the others take it."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from napari_deblur import claims, creating, outputs
from napari_deblur.places import place_of
from napari_deblur.results import LEDGER, open_result

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.plans import Plan

__all__ = ["planning"]

# Seconds between two looks at whether the plan is there: more and more, since a thousand may wait.
PAUSE, LONGEST = 1.0, 15.0


def planning(
    job: Job, *, workers: int = 0, scheduler: str | None = None
) -> Generator[str, None, Plan]:
    """Decide a job's plan and store it, or wait until another part has done so.

    Searches on different machines may differ in the last bits, and so may the memory that is free:
    parts that decided on their own would come to plans that do not go together.

    Yields
    ------
    str
        What is being done.
    """
    place, waits = job.output_path, 0
    who: Any = {"workers": workers, "scheduler": scheduler}
    while outputs.is_blank(place):
        try:
            claim = claims.take(place / LEDGER, "", claims.PLAN)
        except claims.Claimed as other:
            if not waits:
                yield f"waiting for the plan of all parts: {other}"
            time.sleep(random.uniform(0.5, 1.0) * min(PAUSE * 1.5**waits, LONGEST))
            waits += 1
            continue
        with claim:
            if outputs.is_blank(place):
                plan = yield from job.planning(**who)
                asked = job.resolved().to_dict()
                creating.create(place, plan, job=asked, start=_kernels_of(job)).close()
                return plan
    stored = outputs.stored_plan(job, job.open())
    if stored is None or open_result(place).attributes["hashes"].get("start") != _kernels_of(job):
        return (yield from job.planning(**who))
    yield f"taking the plan from {place}, which another part made"
    return stored


def _kernels_of(job: Job) -> str:
    """Give what stands for the files of a job's kernels: where a search starts can't be told after.

    Sizes and times of change, as for the input; of a folder those of its ``zarr.json``.
    """
    given = job.kernel.values() if isinstance(job.kernel, Mapping) else [job.kernel]
    names = [*given, *(table.kernel for table in job.channel)]
    said = []
    for name in names:
        if name is None:
            continue
        file = place_of(name).expanduser()
        inner = file / "zarr.json"
        seen = (inner if inner.is_file() else file).stat()
        said.append(f"{seen.st_size} {seen.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
