"""Which of many images a part of a job does: small ones whole, of large ones some tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deblur.parts import Part
from napari_deblur.plates import files_of

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.many_inputs import Target

__all__ = ["Turn", "parted", "sizes_of", "turns_of"]

# An image of so many bytes is a tile or two: it keeps no more than one process busy.
TINY = 2**26


@dataclass(frozen=True)
class Turn:
    """An image whose turn it is, and which part of it is to be done; None: all of it."""

    target: Target
    part: Part | None = None


def turns_of(job: Job, targets: Sequence[Target], part: Part | None) -> list[Turn]:
    """Give what is to be done here of many images.

    Whoever has the same images and the same number of parts comes to the same: nobody is asked.
    """
    if part is None:
        return [Turn(target) for target in targets]
    whole, shared = part.dealt(sizes_of(job, targets))
    return [Turn(targets[n]) for n in whole] + [Turn(targets[n], own) for n, own in shared]


def parted(job: Job, turns: Sequence[Turn], workers: int) -> tuple[list[Turn], list[Turn]]:
    """Part images into those that workers do side by side, each alone, and the others.

    Alone are done those of which there are many for each worker, and tiny ones, on the CPU: on a
    GPU one tile is done at a time, and a plan takes half of the memory that is free there.
    """
    from napari_deblur.gridding import chosen_device

    cpu = job.device == "cpu" or (job.device == "auto" and chosen_device("auto") == "cpu")
    if workers < 2 or not cpu:
        return [], list(turns)
    sizes = sizes_of(job, [turn.target for turn in turns])
    large = {n for n, _ in Part(1, workers).dealt(sizes)[1] if sizes[n] > TINY}
    large |= {n for n, turn in enumerate(turns) if turn.part is not None}
    if len(turns) - len(large) < 2:
        return [], list(turns)
    return [t for n, t in enumerate(turns) if n not in large], [turns[n] for n in sorted(large)]


def sizes_of(job: Job, targets: Sequence[Target]) -> list[int]:
    """Give about how many bytes each image has, without reading pixels.

    Of files the bytes on the disk count, of stores those of the pixels; of a plate only the first
    image is looked at. What cannot be opened counts as next to nothing: that is said in its turn.
    """
    images: dict[str, list[Target]] = {}
    for target in targets:
        images.setdefault(target.input, []).append(target)
    known: dict[Target, int] = {}
    for address, those in images.items():
        in_file = _bytes_of(address)
        for target in those:
            if in_file is not None:
                known[target] = in_file // len(those)
            elif target.image.field is not None and target is not those[0]:
                known[target] = known[those[0]]
            else:
                known[target] = _pixels_of(target.job(job))
    return [known[target] for target in targets]


def _bytes_of(address: str) -> int | None:
    """Give the bytes of a file, with all that an OME-TIFF is spread over; None if it is none."""
    if "://" in address or not Path(address).expanduser().is_file():
        return None
    try:
        return sum(file.stat().st_size for file in files_of(address) if file.is_file())
    except Exception:  # noqa: BLE001 - a damaged file speaks for itself when it is opened
        return 0


def _pixels_of(job: Job) -> int:
    try:
        return job.open().nbytes
    except Exception:  # noqa: BLE001 - it is said when its turn has come
        return 0
