"""What a run is asked for, and what can be done elsewhere in its place. No windows here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur._napari.addressing import addressed, keep, must_be_writable
from napari_deblur._napari.asking import OF_LAYERS, locate
from napari_deblur._napari.texts import lasting

if TYPE_CHECKING:
    from napari_deblur._napari.asking import Ask
    from napari_deblur._napari.wishing import Asking
    from napari_deblur.job import Job
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Place", "copying", "costs_of", "deserves_a_question", "requesting"]

Found = tuple["Stack", Path | None]
# Seconds, and share of the free disk, above which a run waits for a word.
LONG = 600
MUCH = 0.5


@dataclass(frozen=True)
class Place:
    """Where the pixels of a layer are looked for, and where the result goes.

    Parameters
    ----------
    whole : Stack
        All channels of the layer.
    path : str or None
        The file that it came from.
    folder : Path
        Where a copy goes.
    output : Path
    known : Stack and Path, or None
        What was found the last time.
    """

    whole: Stack
    path: str | None
    folder: Path
    output: Path
    known: Found | None = None


def requesting(
    asking: Asking,
    place: Place,
    planned: Callable[[Ask], Generator[str, None, Plan | None]],
) -> Generator[str, None, tuple[str, Found]]:
    """Give the child's request as JSON, and where the pixels lie.

    `planned` gives the plan of a preview, if there was one of the same.
    """
    must_be_writable(place.output.parent, 'choose another one under "save as"')
    ask, found = yield from _found(asking, place)
    plan = yield from planned(ask)
    request = {
        "job": _job(ask, found[0], place).resolved().to_dict(),
        "described": {
            "name": place.whole.name,
            "time_step": place.whole.time_step,
            "pixel_size": place.whole.pixel_size,
        },
        "plan": replace(plan, source=None, fingerprint="").to_dict() if plan is not None else None,
        "output": str(place.output),
    }
    return json.dumps(request), found


def copying(
    asking: Asking, place: Place, what: str, file: Path | None = None
) -> Generator[str, None, tuple[str, str, Found]]:
    """Give a text that does the same elsewhere, a sentence on it, and where the pixels lie.

    Parameters
    ----------
    what : "python", "command" or "job"
    file : Path, optional
        Of the job that is saved.

    Raises
    ------
    ValueError
        When the file says a voxel size and the form does not.
    """
    from napari_deblur.scripting import python_of

    if file is not None:  # what it needs lies beside it, so that both can be moved
        place = replace(place, folder=file.absolute().parent, known=None)
    ask, found = yield from _found(asking, place)
    job = _job(ask, found[0], place).resolved()
    if file is not None and isinstance(job.kernel, str) and job.kernel.endswith(OF_LAYERS):
        job = replace(job, kernel=str(_beside(Path(job.kernel), place.folder)))
    opened = job.open()
    sizes = place.whole.pixel_size
    if (opened.pixel_size or (None,) * 3) != (sizes or (None,) * 3):
        raise ValueError(
            'a job cannot say that a voxel size is not known: fill in all sizes under "voxel (µm)"'
        )
    saved = ""
    if found[1] is not None:
        keep(found[1])
        saved = f" The layer is in memory only, so it was saved first: {found[1]}."
    if what == "python":
        return python_of(job), f"Copied as Python.{saved}", found
    if what == "job" or job.channel:
        if file is None:  # tables of channels have no options
            place.folder.mkdir(parents=True, exist_ok=True)
            file = place.folder / f"{Path(place.output).name.partition('.')[0]}.job.toml"
        job.save(file)
    if what == "job":
        return "", f"Saved: {file}.{saved}", found
    if job.channel:
        import shlex

        line = shlex.join(["napari-deblur", "run", str(file)])
        return line, f"Copied; channels differ, so the job is in a file: {file}.{saved}", found
    return job.command(), f"Copied as a command line.{saved}", found


def _beside(kernel: Path, folder: Path) -> Path:
    """Copy the kernel of a layer to where a job is saved."""
    copy = folder / kernel.name
    if not copy.exists():
        shutil.copyfile(kernel, copy)
    return copy


def _found(asking: Asking, place: Place) -> Generator[str, None, tuple[Ask, Found]]:
    ask = yield from asking
    found = yield from addressed(place.whole, place.path, place.folder, place.known)
    return ask, found


def _job(ask: Ask, found: Stack, place: Place) -> Job:
    assert found.source is not None
    return locate(ask.job, found.source, place.whole, str(place.output))


def costs_of(ready: Mapping[str, Any], speed: tuple[float, float] | None) -> str:
    """Say what a run takes: "12 tiles, 1.1 GB of memory, result 3 GB (80 GB free), about 6 min".

    Parameters
    ----------
    ready : mapping
        What the child says.
    speed : (seconds, voxels) of a preview, or None
    """
    from napari_deblur.describing import size

    tiles = ready["tiles"]
    parts = [
        f"{tiles} tile{'s' if tiles > 1 else ''}",
        f"{size(ready['memory'])} of memory",
        f"result {size(ready['disk'])} ({size(ready['free'])} free)",
    ]
    if (seconds := _seconds(ready, speed)) is not None:
        parts.append(f"about {lasting(seconds)}")
    return ", ".join(parts) + "."


def deserves_a_question(ready: Mapping[str, Any], speed: tuple[float, float] | None) -> bool:
    """Whether a run takes so long, or so much of the disk, that it waits for a word."""
    seconds = _seconds(ready, speed)
    return ready["disk"] > MUCH * ready["free"] or (seconds is not None and seconds > LONG)


def _seconds(ready: Mapping[str, Any], speed: tuple[float, float] | None) -> float | None:
    if speed is None or speed[1] <= 0:
        return None
    return float(ready["voxels"] * speed[0] / speed[1])
