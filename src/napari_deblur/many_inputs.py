"""Many inputs in one job: patterns and folders, the images in them, and where each result goes."""

from __future__ import annotations

import dataclasses
import glob
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deblur import outputs
from napari_deblur.places import Place, Remote, is_address, place_of
from napari_deblur.plates import Image, files_of, images_in, reader_of
from napari_deblur.registry import readers

if TYPE_CHECKING:
    from napari_deblur.job import Job

__all__ = ["Target", "means_many", "targets_of"]

PATTERN = "*?["
DEBLURRED = ".deblur"  # before the ending of a result's name
MANY = "*"  # makes a pattern of an address: behind a ? there may be a key
NOT_FOLDERS = {".zarr", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".toml"}


@dataclasses.dataclass(frozen=True)
class Target:
    """One image of an input, and where its result goes."""

    input: str
    image: Image
    output: Place

    def job(self, job: Job) -> Job:
        """Give the same job for this image."""
        return dataclasses.replace(
            job,
            input=self.input,
            output=str(self.output),
            series=self.image.series,
            field=self.image.field,
        )

    def __str__(self) -> str:
        place = self.image.place
        return Path(self.input).name + (f" [{place}]" if place else "")


def means_many(inputs: Sequence[str], output: str | None) -> bool:
    """Tell whether inputs and output speak of many images: patterns, folders, or into a folder."""
    return len(inputs) > 1 or any(map(_is_several, inputs)) or _is_folder_name(output)


def targets_of(job: Job, inputs: Sequence[str], folder: str | Path | Remote) -> tuple[Target, ...]:
    """Decide what is restored and where each result goes, before anything runs.

    A file with one image goes to ``FOLDER/NAME.deblur.zarr``; each image of a plate, or of a file
    with several series or positions, to ``FOLDER/NAME/A/1/0.deblur.zarr`` or
    ``FOLDER/NAME/2.deblur.zarr``.

    Parameters
    ----------
    job : Job
        With its ``series`` or ``field`` only those images are taken.
    inputs : paths, URLs, patterns such as ``in/*.zarr``, or folders
        Of a folder all files that look like images. Of folders and patterns kernels of the job
        and results are left out, unless the pattern speaks of ``.deblur``.
    folder : path

    Raises
    ------
    FileNotFoundError
        When nothing is there, or a pattern has no match.
    ValueError
        When two images would go to one place, or `folder` is the name of a file.
    """
    if place_of(folder).suffix.lower() in NOT_FOLDERS and not _is_plain_folder(folder):
        raise ValueError(
            f'many images need a folder for their results, and "{folder}" is the name of a file: '
            "name the folder last"
        )
    addresses = _without_parts(_expanded(inputs, _kernels_of(job)))
    found = [t for address in addresses for t in _targets_in(job, address, place_of(folder))]
    places = {_same(target.output) for target in found}
    found = [target for target in found if _same(target.input) not in places]
    _refuse_clashes(found)
    return tuple(found)


def _is_several(text: str) -> bool:
    """Whether an input is a pattern, or a folder that is no store itself."""
    if "://" in text:
        return is_address(text) and MANY in text
    path = Path(text).expanduser()
    if not path.exists():
        return any(sign in text for sign in PATTERN)
    return _is_plain_folder(path)


def _is_plain_folder(path: str | Path | Remote) -> bool:
    path = place_of(path).expanduser()
    if isinstance(path, Remote):
        return False
    return path.is_dir() and path.suffix.lower() != ".zarr" and reader_of(str(path)) is None


def _is_folder_name(output: str | None) -> bool:
    if output is None or "://" in output:
        return is_address(output) and str(output).endswith("/")
    return output.endswith(("/", os.sep)) or not Path(output).suffix or _is_plain_folder(output)


def _expanded(inputs: Iterable[str], leave: Collection[str]) -> list[str]:
    """Give the paths that patterns and folders stand for, each once, in order."""
    found: dict[str, str] = {}
    for text in inputs:
        for address in _paths(text):
            if _same(address) not in leave or address == text:
                found.setdefault(_same(address), address)
    if not found:
        raise FileNotFoundError(f"there is no image in {', '.join(map(repr, inputs))}")
    return list(found.values())


def _in_bucket(text: str) -> Iterator[str]:
    """Give the addresses that a pattern such as ``s3://lab/*/cells_*.zarr`` stands for, in order.

    What is below a place is listed a thousand names in a request; a store is not looked into.

    Raises
    ------
    ValueError
        Where there are no lists, and for ``**``, which would look into all stores.
    FileNotFoundError
        When nothing matches.
    """
    whole = Remote.read(text)
    names = whole.key.split("/")
    if whole.scheme != "s3":
        raise ValueError(
            f'"{text}" is a pattern, and the web has no lists of what is there: name each image'
        )
    if "**" in names or MANY in whole.bucket:
        raise ValueError(
            f'the pattern "{text}" would look into everything: in buckets a * stands for a part of '
            "one name, e.g. s3://lab/*/cells_*.ome.zarr"
        )
    found = [dataclasses.replace(whole, key="")]
    for name in names:
        if MANY in name:
            found = [one for place in found for one in place.glob(name) if one != place]
        else:
            found = [place / name for place in found]
    if MANY not in names[-1]:
        found = [place for place in found if place.exists()]
    yield from _no_results(text, sorted(map(str, found)))


def _no_results(pattern: str, matches: Sequence[str]) -> Iterator[str]:
    """Leave out results, which are not to be deblurred once more, if the pattern does not ask."""
    if not matches:
        raise FileNotFoundError(f'nothing matches "{pattern}": check the pattern')
    kept = [one for one in matches if DEBLURRED in pattern or not _is_result(one)]
    if not kept:
        raise FileNotFoundError(f'only results match "{pattern}": write {DEBLURRED} into it')
    yield from kept


def _is_result(name: str) -> bool:
    return name.rstrip("/").lower().endswith(f"{DEBLURRED}.zarr")


def _paths(text: str) -> Iterator[str]:
    path = Path(text).expanduser()
    if _is_several(text) and is_address(text):
        yield from _in_bucket(text)
        return
    if not _is_several(text):
        if "://" not in text and not path.exists():
            raise FileNotFoundError(f'there is no file or folder "{text}"')
        yield text
    elif path.is_dir():
        entries = sorted(entry for entry in path.iterdir() if not _is_result(entry.name))
        yield from (str(entry) for entry in entries if _looks_like_an_image(entry))
    else:
        yield from _no_results(text, sorted(glob.glob(str(path), recursive=True)))


def _looks_like_an_image(path: Path) -> bool:
    """By name, so that a damaged one is not passed over, or by content."""
    if path.name.startswith("."):
        return False
    patterns = (pattern for name in readers for pattern in readers[name].patterns)
    return any(fnmatch(path.name.lower(), p) for p in patterns) or reader_of(str(path)) is not None


def _without_parts(addresses: Iterable[str]) -> list[str]:
    """Leave out files of an OME-TIFF that was taken already: it is spread over several."""
    taken: set[str] = set()
    kept = []
    for address in addresses:
        if _same(address) not in taken:
            kept.append(address)
            taken |= {_same(file) for file in files_of(address)}
    return kept


def _targets_in(job: Job, address: str, folder: Place) -> Iterator[Target]:
    try:
        images = images_in(address)
    except Exception:  # noqa: BLE001 - it is said when its turn has come, and the others go on
        images = (Image(),)
    if job.series is not None or job.field is not None:
        field = None if job.field is None else job.field.strip("/")
        those = [i for i in images if (i.series or 0, i.field) == (job.series or 0, field)]
        images = tuple(those) or (Image(job.series, job.field),)
    name = outputs.suggested_output(address).name
    for image in images:
        if image.place:
            inside = f"{name.removesuffix('.deblur.zarr')}/{image.place}.deblur.zarr"
        yield Target(address, image, folder / (inside if image.place else name))


def _refuse_clashes(targets: Iterable[Target]) -> None:
    taken: dict[str, Target] = {}
    for target in targets:
        other = taken.setdefault(_same(target.output), target)
        if other is not target:
            raise ValueError(
                f"the results of {other.input} and {target.input} would both go to "
                f"{target.output}: rename one of them, or give them folders of their own"
            )


def _kernels_of(job: Job) -> set[str]:
    files = list(job.kernel.values()) if isinstance(job.kernel, Mapping) else [job.kernel]
    files += [table.kernel for table in job.channel]
    return {_same(file) for file in files if file is not None}


def _same(path: str | Place) -> str:
    """Give a path in one spelling, to be compared; a URL as it is."""
    text = str(path)
    if "://" in text:
        return text
    name = os.path.normcase(os.path.abspath(Path(text).expanduser()))
    return name.casefold() if sys.platform == "darwin" else name
