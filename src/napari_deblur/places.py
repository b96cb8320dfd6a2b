"""Where a result lies: a folder of this machine, or in a bucket of an object store.

A `Remote` has those methods of a `pathlib.Path` that are needed here, so that most of the program
need not know. What differs, because objects are written as a whole and have no folders, is a
function here.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import re
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from napari_deblur import system
from napari_deblur.uploads import put_pieces

__all__ = [
    "CLOCK",
    "Place",
    "Remote",
    "clock",
    "create",
    "files",
    "free_space",
    "is_address",
    "on_this_machine",
    "place_of",
    "refuse_credentials",
    "relative",
    "remove_tree",
    "settle",
    "sha256_of",
    "size_in",
    "storage",
    "times",
    "touch",
    "write_atomically",
]

SCHEMES = ("s3", "http", "https")
PAGE = 1000  # names in one answer of a server
PIECE = 1 << 16  # bytes that are asked for at least
READ = 1 << 20  # bytes of a file that are read at a time
# The object that tells a server's time; what ends so beside a ledger is no damage.
CLOCK = "clock.claim"
TRIES = 25
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
ABSENT_ON_WINDOWS = {2, 3, 123, 206, 267, 1921}  # file, path, name, length, folder, link
PAUSE = 0.1  # seconds between two tries to remove what others still write to


class Stat(Protocol):
    """What `Remote.stat` tells; times are those of the server, in whole seconds."""

    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime(self) -> float: ...
    @property
    def st_mtime_ns(self) -> int: ...


@dataclass(frozen=True)
class _Stat:
    st_size: int
    st_mtime: float

    @property
    def st_mtime_ns(self) -> int:
        return round(self.st_mtime * 1e9)


@dataclass(frozen=True, order=True)
class Remote:
    """An object, or all objects below a name, as ``s3://bucket/key``.

    Parameters
    ----------
    scheme : "s3", "http" or "https"
        The web is for reading only, and can't be listed.
    bucket : str
        Or the host.
    key : str
        Without slashes at its ends.
    """

    scheme: str
    bucket: str
    key: str = ""

    @classmethod
    def read(cls, address: str) -> Remote:
        """Read an address; ValueError if it is none of an object, or holds credentials."""
        scheme, _, rest = address.partition("://")
        refuse_credentials(address)
        bucket, _, key = rest.partition("/")
        parts = [part for part in key.split("/") if part]
        if scheme not in SCHEMES or not bucket or {".", ".."} & set(parts):
            raise ValueError(
                f'"{address}" is no place for a result: give a folder, or s3://BUCKET/NAME'
            )
        return cls(scheme, bucket, "/".join(parts))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str | PurePosixPath) -> Remote:
        parts = [self.key, *(part for part in str(name).split("/") if part not in ("", "."))]
        return replace(self, key="/".join(part for part in parts if part))

    # The name -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """What the name ends in, with its point."""
        return PurePosixPath(self.key).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> Remote:
        """What it is in; a bucket is in itself."""
        return replace(self, key=self.key.rpartition("/")[0])

    def with_name(self, name: str) -> Remote:
        """Give another name in the same place."""
        return self.parent / name

    def relative_to(self, other: Remote) -> PurePosixPath:
        """Give the way from there to here."""
        return PurePosixPath(self.key).relative_to(other.key or ".")

    def absolute(self) -> Remote:
        """Give itself."""
        return self

    expanduser = resolve = absolute

    # What is there ------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is an object of this name, or one below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        try:
            self.stat()
        except FileNotFoundError as error:
            if "bucket" in str(error.strerror):
                raise
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects below this name."""
        if self.scheme != "s3":
            return not self.is_file()  # it can't be told
        return next(self._found(), None) is not None

    def is_symlink(self) -> bool:
        """Give False."""
        return False

    def stat(self) -> Stat:
        """Give the size and the time of the last change; FileNotFoundError if it is no object."""
        import obstore

        with self._explained():
            found = obstore.head(self._bucket, self.key)
        return _Stat(found["size"], found["last_modified"].timestamp())

    def iterdir(self) -> Iterator[Remote]:
        """Give what is right below this name, objects and what is as good as a folder."""
        found = self._listed()
        for one in (*found["common_prefixes"], *(one["path"] for one in found["objects"])):
            yield replace(self, key=one)

    def glob(self, pattern: str) -> Iterator[Remote]:
        """Give what is right below this name and fits a pattern."""
        return (one for one in self.iterdir() if fnmatchcase(one.name, pattern))

    def rglob(self, pattern: str) -> Iterator[Remote]:
        """Give all objects below this name that fit a pattern."""
        found = (replace(self, key=one["path"]) for one in self._found())
        return (one for one in found if fnmatchcase(one.name, pattern))

    # Content ------------------------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """Read the object."""
        import obstore

        with self._explained():
            return bytes(obstore.get(self._bucket, self.key).bytes())

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read the object as text."""
        return self.read_bytes().decode(encoding, errors)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open the object as a file; what is read of it is asked for then."""
        if mode != "rb":
            raise ValueError(f"an object is opened to be read, not as {mode}")
        return io.BufferedReader(_Ranges(self), PIECE)

    def write_bytes(self, content: system.Content, *, new: bool = False) -> None:
        """Write the object as a whole; FileExistsError if it has to be `new` and is not.

        What comes piece by piece may be too large for memory, and is sent as it comes.
        """
        import obstore

        with self._explained():
            if isinstance(content, bytes | memoryview):
                mode: Any = "create" if new else "overwrite"
                obstore.put(self._bucket, self.key, content, mode=mode, use_multipart=False)
            else:
                put_pieces(self._bucket, self.key, content)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object; where there is none, servers do not say so."""
        import obstore

        with self._explained():
            obstore.delete(self._bucket, self.key)

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: there are no folders."""

    def rmdir(self) -> None:
        """Do nothing."""

    @property
    def _bucket(self) -> Any:
        from napari_deblur.objects import connected

        return connected(self.scheme, self.bucket)

    def _listed(self) -> Any:
        """Give what is right below this name: objects, and prefixes of others."""
        import obstore

        with self._explained():
            return obstore.list_with_delimiter(self._bucket, self.key or None)

    def _found(self) -> Iterator[Any]:
        """Give name, size and time of all objects below this name."""
        import obstore

        with self._explained():
            for batch in obstore.list(self._bucket, self.key or None, chunk_size=PAGE):
                yield from batch

    def _explained(self) -> Any:
        from napari_deblur.objects import explained

        return explained(str(self))


class _Ranges(io.RawIOBase):
    """An object of which ranges are read."""

    def __init__(self, place: Remote) -> None:
        self._place, self._at, self._size = place, 0, place.stat().st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        import obstore

        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        with self._place._explained():
            found = obstore.get_range(
                self._place._bucket, self._place.key, start=self._at, length=length
            )
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


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


def refuse_credentials(address: str) -> None:
    """Raise ValueError for a URL with a password or a key in it: it would be kept in results."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return
    host = rest.partition("/")[0]
    if "@" in host:
        bare = f"{scheme}://{host.rpartition('@')[2]}"
        raise ValueError(
            f'the address "{bare}…" comes with a name or password, and addresses are kept in '
            "results: leave it out, and give credentials as tools for S3 want them"
        )
    if "?" in rest and scheme in SCHEMES:
        bare = address.partition("?")[0]
        raise ValueError(
            f'the address "{bare}?…" may hold a key behind the question mark, and addresses are '
            "kept in results: give it without"
        )


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


def settle(place: Place) -> None:
    """Wait until a file and its name are on the disk."""
    if isinstance(place, Path):
        system.sync_file(place)
        system.sync_folder(place.parent)


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
        return
    import obstore

    with place._explained():
        yield from obstore.get(place._bucket, place.key)


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
        place.write_bytes(_checked(content, check))


def _checked(
    pieces: Iterable[bytes | memoryview], check: Callable[[], None]
) -> Iterator[bytes | memoryview]:
    """Give pieces; raise what `check` does when all were given: an object is made whole then."""
    yield from pieces
    check()


def create(place: Place, content: bytes) -> None:
    """Write a file that is not there yet: of several who do so at once one succeeds.

    Raises
    ------
    FileExistsError
        When it is there.
    """
    if isinstance(place, Path):
        with place.open("xb") as file:
            file.write(content)
    else:
        place.write_bytes(content, new=True)


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

    In a bucket an object is written for it, of a name that all runs share: one that could not be
    deleted is there once, and is no damage.
    """
    if isinstance(folder, Path):
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b".")
            return os.fstat(file.fileno()).st_mtime
    probe = folder / CLOCK
    for attempt in range(1, TRIES + 1):
        probe.write_bytes(b".")
        try:
            now = probe.stat().st_mtime
        except FileNotFoundError:  # another process is done with it
            if attempt == TRIES:
                raise
            continue
        with suppress(PermissionError):  # who may write need not be allowed to delete
            probe.unlink()
        break
    return now


def times(folder: Place, pattern: str) -> dict[Place, float]:
    """Give the times of change of what is right in a folder and fits a pattern.

    Objects are listed, a thousand in a request, and not asked for one by one.
    """
    if isinstance(folder, Remote):
        return {
            replace(folder, key=one["path"]): one["last_modified"].timestamp()
            for one in folder._listed()["objects"]
            if fnmatchcase(PurePosixPath(one["path"]).name, pattern)
        }
    found: dict[Place, float] = {}
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):
            found[file] = file.stat().st_mtime
    return found


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

    That raises OSError where it can't be known. Objects are listed once, a thousand in a request,
    and not asked for one by one.
    """
    if isinstance(folder, Remote):
        known = _Sizes((one["path"], one["size"]) for one in folder._found())
        return lambda name: known.of((folder / name).key)

    def size(name: str) -> int | None:
        try:
            return (folder / name).stat().st_size
        except OSError as error:
            if not _is_absent(error):
                raise  # a drive that is away for a moment has lost nothing
            return None

    return size


def _is_absent(error: OSError) -> bool:
    """Whether an error says that no such file is there, or can be."""
    # Windows says of a network that is away that nothing is there, but with other numbers.
    return error.errno in ABSENT and getattr(error, "winerror", None) in (None, *ABSENT_ON_WINDOWS)


class _Sizes:
    """Sizes by name, of millions: 16 bytes each, 32 while they are sorted.

    Names are kept as hashes of 64 bits. Of 30 million two are alike in one of 40,000 cases; then
    one of them counts as having the size of the other, and is made again.
    """

    def __init__(self, found: Iterable[tuple[str, int]]) -> None:
        import numpy as np

        names, sizes = array("q"), array("q")
        for name, size in found:
            names.append(hash(name))
            sizes.append(size)
        keys = np.frombuffer(names, np.int64) if names else np.zeros(0, np.int64)
        order = np.argsort(keys)
        self._names: Any = keys[order]
        del keys, names
        self._sizes: Any = np.frombuffer(sizes, np.int64)[order] if sizes else self._names

    def of(self, name: str) -> int | None:
        key = hash(name)
        at = int(self._names.searchsorted(key))
        there = at < len(self._names) and self._names[at] == key
        return int(self._sizes[at]) if there else None


def remove_tree(folder: Place) -> None:
    """Delete a folder and all that is in it."""
    if isinstance(folder, Path):
        _remove_folder(folder)
        return
    import obstore

    with suppress(FileNotFoundError):
        names = [one.key for one in folder.rglob("*")]
        for start in range(0, len(names), PAGE):
            with folder._explained():
                obstore.delete(folder._bucket, names[start : start + PAGE])


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
