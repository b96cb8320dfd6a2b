"""Where a result lies: a folder of this machine, or in a bucket of an object store.

A `Remote` has those methods of a `pathlib.Path` that are needed here, so that most of the program
need not know. What differs, because objects are written as a whole and have no folders, is a
function here.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from napari_deblur import system
from napari_deblur.remotes import CLOCK, SCHEMES, Remote, refuse_credentials

__all__ = [
    "CLOCK",
    "Place",
    "Remote",
    "checked",
    "clock",
    "files",
    "free_space",
    "is_address",
    "on_this_machine",
    "opened",
    "place_of",
    "refuse_credentials",
    "relative",
    "remove_tree",
    "sha256_of",
    "size_in",
    "storage",
    "times",
    "touch",
    "write_atomically",
]

READ = 1 << 20  # bytes of a file that are read at a time
TRIES = 25
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
ABSENT_ON_WINDOWS = {2, 3, 123, 206, 267, 1921}  # file, path, name, length, folder, link
PAUSE = 0.1  # seconds between two tries to remove what others still write to

Place = Path | Remote


def is_address(text: object) -> bool:
    """Whether something is the URL of an object."""
    return isinstance(text, Remote) or str(text).partition("://")[0] in SCHEMES


def place_of(address: str | os.PathLike[str] | Remote) -> Place:
    """Give the place of an address: a path, or a URL such as ``s3://bucket/name``.

    Raises
    ------
    ValueError
        For a URL of another kind.
    """
    if isinstance(address, Remote):
        return address
    text = os.fspath(address)
    if re.match("[a-z][a-z0-9]+:/(?!/)", text):
        raise ValueError(f'"{text}" was an address once and is a path now: give it as text')
    return Remote.read(text) if "://" in text else Path(text)


def on_this_machine(address: str | os.PathLike[str]) -> Path:
    """Give the path of a file that is written; ValueError for a URL."""
    place = place_of(address)
    if isinstance(place, Remote):
        raise ValueError(
            f"{place} is in object storage, where only runs of the command line or of Python write "
            "their results: give a path of this machine"
        )
    return place


def storage(place: Place) -> Any:
    """Give what zarr takes for a place."""
    if isinstance(place, Path):
        return place
    from napari_deblur.objects import Objects

    read_only = place.scheme != "s3"
    return Objects(place.scheme, place.bucket, place.key, read_only=read_only)


def relative(place: Place, folder: Place) -> str:
    """Give the way from a folder to what is in it, with slashes."""
    if isinstance(place, Remote):
        return place.key.removeprefix(str(getattr(folder, "key", ""))).lstrip("/")
    assert isinstance(folder, Path)
    return place.relative_to(folder).as_posix()


def sha256_of(place: Place, each: Callable[[int], None] | None = None) -> str:
    """Read a file, piece by piece; `each` is told how long a piece is, and may raise to stop."""
    found = hashlib.sha256()
    for piece in _pieces(place):
        if each is not None:
            each(len(piece))
        found.update(piece)
    return found.hexdigest()


def _pieces(place: Place) -> Iterator[Any]:
    if isinstance(place, Path):
        with place.open("rb", buffering=0) as file:
            while piece := file.read(READ):
                yield piece
    else:
        yield from place.pieces()


def write_atomically(
    place: Place, content: system.Content, check: Callable[[], None] | None = None
) -> None:
    """Replace a file as a whole: whoever reads it sees the old content or the new.

    `check` is called as late as can be; if it raises, nothing was replaced.
    """
    if isinstance(place, Path):
        system.write_atomically(place, content, check)
        return
    if check is None:
        place.write_bytes(content)
    elif isinstance(content, bytes | memoryview):
        check()
        place.write_bytes(content)
    else:
        place.write_bytes(checked(content, check))


def checked(
    pieces: Iterable[bytes | memoryview], check: Callable[[], None]
) -> Iterator[bytes | memoryview]:
    """Give pieces; raise what `check` does when all were given: an object is made whole then."""
    yield from pieces
    check()


def touch(place: Place) -> None:
    """Set the time of change to now, by the clock of the disk or server.

    Some bytes are written again: setting the time would take that of this machine, on Windows and
    on some network drives.

    Raises
    ------
    FileNotFoundError
        When it is gone.
    """
    if isinstance(place, Path):
        with place.open("r+b", buffering=0) as file:
            first = file.read(1)
            file.seek(0)
            file.write(first)
    else:
        place.write_bytes(place.read_bytes())


def clock(folder: Place) -> float:
    """Give the time of the disk or server.

    Something is written for it.
    """
    if isinstance(folder, Path):
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b".")
            return os.fstat(file.fileno()).st_mtime
    return folder.now()


def times(folder: Place, pattern: str) -> dict[Place, float]:
    """Give the times of change of what is right in a folder and fits a pattern.

    Objects are listed, a thousand in a request, and not asked for one by one.
    """
    if isinstance(folder, Remote):
        return cast("dict[Place, float]", folder.times(pattern))
    found: dict[Place, float] = {}
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):
            found[file] = file.stat().st_mtime
    return found


def opened(folder: Place, pattern: str) -> Iterator[tuple[Place, BinaryIO]]:
    """Open what is right in a folder and fits a pattern, in the order of names."""
    if isinstance(folder, Remote):
        yield from folder.opened(pattern)
        return
    for path in sorted(folder.glob(pattern)):
        yield path, path.open("rb")


def files(folder: Place) -> Iterator[Place]:
    """Give all files below a folder, by name; there may be millions."""
    if isinstance(folder, Remote):
        yield from folder.rglob("*")  # servers list them so
        return
    try:
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # it was removed meanwhile
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from files(folder / entry.name)
        elif entry.is_file():
            yield folder / entry.name


def size_in(folder: Place) -> Callable[[str], int | None]:
    """Give what tells the size of a file in a folder, or None if it is not there.

    That raises OSError where it can't be known. Objects are listed when the first is asked for, a
    thousand in a request, and not asked for one by one.
    """
    if isinstance(folder, Remote):
        return folder.sizes()

    def size(name: str) -> int | None:
        try:
            return (folder / name).stat().st_size
        except OSError as error:
            if not _is_absent(error):
                raise  # a drive that is away for a moment has lost nothing
            return None
        except ValueError:
            return None  # no file can have such a name

    return size


def _is_absent(error: OSError) -> bool:
    """Whether an error says that no such file is there, or can be."""
    # Windows says of a network that is away that nothing is there, but with other numbers.
    return error.errno in ABSENT and getattr(error, "winerror", None) in (None, *ABSENT_ON_WINDOWS)


def remove_tree(folder: Place) -> None:
    """Delete a folder and all that is in it."""
    if isinstance(folder, Path):
        _remove_folder(folder)
    else:
        folder.remove_all()


def _remove_folder(folder: Path) -> None:
    """Delete a folder to which a process may write that was stopped, and has not noticed yet."""
    for _ in range(TRIES):
        try:
            shutil.rmtree(folder)
            return
        except OSError as error:
            changed = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
            if not changed or not folder.exists():
                raise
        time.sleep(PAUSE)
    shutil.rmtree(folder)


def free_space(place: Place) -> float:
    """Give the bytes that are free there; a bucket has no end."""
    return system.free_disk(place) if isinstance(place, Path) else math.inf
