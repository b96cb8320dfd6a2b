"""Objects in a bucket, by the methods of a path: one object, or all below a name.

Objects are written as a whole and have no folders; whoever has written one finds it in the next
list.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from napari_deblur.uploads import put_pieces

if TYPE_CHECKING:
    from napari_deblur.system import Content

__all__ = ["CLOCK", "SCHEMES", "Remote", "refuse_credentials"]

SCHEMES = ("s3", "http", "https")
PAGE = 1000  # names in one answer of a server
PIECE = 1 << 16  # bytes that are asked for at least
AT_ONCE = 16  # small objects that are fetched
# The object that tells a server's time; what ends so beside a ledger is no damage.
CLOCK = "clock.claim"
TRIES = 25
UNKNOWN = "NotImplemented"  # as servers say it
_unconditional: set[tuple[str, str]] = set()  # buckets of servers that know no conditions


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

    def times(self, pattern: str) -> dict[Remote, float]:
        """Give the times of change of the objects right below this name that fit a pattern."""
        return {
            replace(self, key=one["path"]): one["last_modified"].timestamp()
            for one in self._listed()["objects"]
            if fnmatchcase(PurePosixPath(one["path"]).name, pattern)
        }

    def sizes(self) -> Callable[[str], int | None]:
        """Give what tells sizes below this name. They are listed once, when the first is asked."""
        from napari_deblur.listed import Sizes

        listing = Lock()

        @lru_cache(maxsize=1)
        def known() -> Sizes:
            return Sizes((one["path"], one["size"]) for one in self._found())

        def size(name: str) -> int | None:
            with listing:
                return known().of((self / name).key)

        return size

    def now(self) -> float:
        """Give the server's time, by an object of a name that all runs share.

        One that could not be deleted is there once, and is no damage.
        """
        probe = self / CLOCK
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

    # Content ------------------------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """Read the object."""
        import obstore

        with self._explained():
            return bytes(obstore.get(self._bucket, self.key).bytes())

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read the object as text."""
        return self.read_bytes().decode(encoding, errors)

    def pieces(self) -> Iterator[Any]:
        """Read the object piece by piece."""
        import obstore

        with self._explained():
            yield from obstore.get(self._bucket, self.key)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open the object as a file; what is read of it is asked for then."""
        if mode != "rb":
            raise ValueError(f"an object is opened to be read, not as {mode}")
        return io.BufferedReader(_Ranges(self), PIECE)

    def opened(self, pattern: str) -> Iterator[tuple[Remote, BinaryIO]]:
        """Open what is right below this name and fits a pattern, in the order of names.

        There may be many: small objects are fetched some at a time.
        """
        found = sorted((one["path"], one["size"]) for one in self._listed()["objects"])
        ahead: deque[tuple[Remote, Future[bytes] | None]] = deque()
        with ThreadPoolExecutor(AT_ONCE, "napari-deblur-fetch") as pool:
            for key, size in found:
                one = replace(self, key=key)
                if not fnmatchcase(one.name, pattern):
                    continue
                ahead.append((one, pool.submit(one.read_bytes) if size <= PIECE else None))
                if len(ahead) == AT_ONCE:
                    yield _opened(*ahead.popleft())
            while ahead:
                yield _opened(*ahead.popleft())

    def write_bytes(self, content: Content, *, new: bool = False) -> None:
        """Write the object as a whole; FileExistsError if it has to be `new` and is not.

        What comes piece by piece may be too large for memory, and is sent as it comes. A server
        that knows no conditions writes what is not new, too.
        """
        if not isinstance(content, bytes | memoryview):
            if (small := self.send(content)) is not None:
                self.write_bytes(small, new=new)
        elif new and (self.scheme, self.bucket) not in _unconditional:
            try:
                self._put(content, "create")
            except OSError as error:
                if UNKNOWN not in str(error.strerror):
                    raise
                self._put(content, "overwrite")
                _unconditional.add((self.scheme, self.bucket))
        else:
            self._put(content, "overwrite")

    def send(self, pieces: Iterable[bytes | memoryview]) -> bytes | None:
        """Write what comes piece by piece; give it back if it is small enough for one request."""
        with self._explained():
            return put_pieces(self._bucket, self.key, pieces)

    def _put(self, content: bytes | memoryview, mode: Any) -> None:
        import obstore

        with self._explained():
            obstore.put(self._bucket, self.key, content, mode=mode, use_multipart=False)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object; where there is none, servers do not say so."""
        import obstore

        with self._explained():
            obstore.delete(self._bucket, self.key)

    def remove_all(self) -> None:
        """Delete all objects below this name, as they are listed; there may be millions."""
        import obstore

        with suppress(FileNotFoundError), self._explained():
            for batch in obstore.list(self._bucket, self.key or None, chunk_size=PAGE):
                obstore.delete(self._bucket, [one["path"] for one in batch])

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


def _opened(place: Remote, fetched: Future[bytes] | None) -> tuple[Remote, BinaryIO]:
    return place, place.open() if fetched is None else io.BytesIO(fetched.result())


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
