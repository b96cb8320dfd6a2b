"""What `verify` finds, and the threads that look at files."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Literal

from napari_deblur import places
from napari_deblur.places import Place, Remote

if TYPE_CHECKING:
    from napari_deblur.recorded import Accepted

__all__ = ["Finding", "Looker"]

AHEAD = 4  # files for each thread that wait for it
Kind = Literal[
    "incomplete", "missing", "empty", "torn", "changed", "unreadable", "metadata", "foreign",
    "ledger", "link",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Parameters
    ----------
    kind : str
        ``incomplete`` (the run is not finished), ``missing``, ``empty``, ``torn`` (too short),
        ``changed`` or ``unreadable`` files, damaged ``metadata``, ``foreign`` files or entries that
        are not of this result, damaged lines of the ``ledger``, a ``link`` that leads out of the
        store.
    path : str
        Relative to the store.
    text : str
        One sentence.
    """

    kind: Kind
    path: str
    text: str

    @property
    def is_damage(self) -> bool:
        """Whether data are lost; a result that is merely unfinished has no damage."""
        return self.kind != "incomplete"

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.text}"


class _Stopped(Exception):
    """Nobody waits for the outcome any more."""


class Looker(AbstractContextManager["Looker"]):
    """Threads that compare files with what the ledger says of them.

    Parameters
    ----------
    path : Path or Remote
        The store.
    threads : int
        Files that are read at once.
    sizes : bool
        Look at sizes only, and read nothing.
    """

    def __init__(self, path: Place, *, threads: int = 1, sizes: bool = False) -> None:
        self.bytes = 0  # that were read
        self.ahead = AHEAD * threads  # files that are to be out at once
        self._path, self._sizes, self._size = path, sizes, places.size_in(path)
        self._stop, self._counting = Event(), Lock()
        self._pool = ThreadPoolExecutor(threads, "napari-deblur-verify")

    def begin(self, name: str, accepted: Accepted) -> Future[Finding | None]:
        """Begin to look at a file."""
        return self._pool.submit(self.found, name, accepted)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def found(self, name: str, accepted: Accepted) -> Finding | None:
        """Say what is wrong with a file."""
        try:
            return self._compared(name, accepted)
        except FileNotFoundError:
            return Finding("missing", name, "the ledger has it but it is not there")
        except OSError as error:
            if isinstance(self._path, Remote):
                raise  # a server that is away is so for all
            return Finding("unreadable", name, f"it cannot be read ({error.strerror or error})")

    def _compared(self, name: str, accepted: Accepted) -> Finding | None:
        sizes, size = sorted(size for size, _ in accepted), self._size(name)
        if size is None:
            raise FileNotFoundError(name)
        should = f"should have {sizes[-1]}"
        if size == 0 and 0 not in sizes:
            return Finding("empty", name, f"it has no bytes and {should}")
        if size < sizes[0]:
            return Finding("torn", name, f"it has {size} bytes and {should}")
        if self._sizes and size not in sizes:
            return Finding("changed", name, f"it has {size} bytes and {should}")
        if self._sizes or (size, self._digest(name)) in accepted:
            return None
        return Finding("changed", name, "its bytes are not those that were written")

    def _digest(self, name: str) -> str:
        return places.sha256_of(self._path / name, self._count)

    def _count(self, length: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        with self._counting:
            self.bytes += length
