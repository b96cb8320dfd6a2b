"""The ledger: what is finished, in append-only lines, one file for each process.

The presence of a chunk says nothing (a killed run, a lost file and a zero-length file all read
back as fill value); a line here does. Each line ends with its own checksum, so a line that was
torn by a crash or damaged later never counts.
"""

from __future__ import annotations

import io
import json
import operator
import os
import platform
import re
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from napari_deblur import places, system
from napari_deblur.places import Place, Remote
from napari_deblur.stopping import RunStopped

__all__ = ["Entry", "Head", "Ledger", "damaged_lines", "entries", "heads"]

CHECK = ', "check": "'
HEAD = re.compile(
    r'\{"kind": "(\w+)", "key": "(\w*)", "index": \[((?:\d{1,9}(?:, \d{1,9})*)?)\], '
    r'"level": (\d{1,9}), '
)
# Nothing can be added to an object: it is written again with each line, until it has so many.
LINES = 64


@dataclass(frozen=True)
class Entry:
    """One line: a tile or a chunk of a pyramid level that is on the disk, or a note.

    Parameters
    ----------
    kind : str
        ``tile`` (a core of the image, with its kernel and residuals), ``level`` (a chunk of a
        pyramid level), ``kernel`` (a kernel of the plan), ``metadata`` (zarr.json files about
        to be written), ``split`` (a tile is about to be tried again in smaller pieces), ``failed``
        (a chunk was given up, for now), ``shard`` (chunks of a level were joined to one file) or
        ``part`` (number and count of a part that has begun).
    key : str
        That of the plan; entries with another key never count.
    index : tuple of int
    level : int
    files : mapping of a path in the store to (bytes, SHA-256 of the file)
    values : str
        SHA-256 of the decoded voxels, C order, little-endian.
    inputs : str
        For levels: what stands for the values of the chunks below; for shards, of those in it.
    splits, clipped, emptied, retries, device, seconds, finished, error
        How it went; `finished` in UTC.
    """

    kind: Literal["tile", "level", "kernel", "metadata", "split", "failed", "shard", "part"]
    key: str
    index: tuple[int, ...] = ()
    level: int = 0
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    values: str = ""
    inputs: str = ""
    splits: int = 0
    clipped: int = 0
    emptied: int = 0
    retries: int = 0
    device: str = ""
    seconds: float = 0.0
    finished: str = ""
    error: str = ""

    def to_line(self) -> str:
        """Give one line of JSON with its checksum."""
        text = json.dumps(asdict(self))
        return f'{text[:-1]}{CHECK}{_check(text)}"}}\n'

    @classmethod
    def from_line(cls, line: str) -> Entry | None:
        """Read a line; None if it is torn or damaged."""
        body, found, check = line.rstrip("\n").rpartition(CHECK)
        text = body + "}"
        if not found or check != f'{_check(text)}"}}':
            return None
        try:
            data = json.loads(text)
            files = {path: (size, digest) for path, (size, digest) in data["files"].items()}
            index = tuple(map(operator.index, data["index"]))
            said = {name: data[name] for name in TYPES if name in data}  # a later one may say more
            known = all(isinstance(value, TYPES[name]) for name, value in said.items())
            return cls(**said, index=index, files=files) if known else None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return None  # nobody here wrote it


# Of what a line says, besides its index and files.
TYPES: dict[str, tuple[type, ...]] = {
    f.name: {"int": (int,), "float": (int, float)}.get(str(f.type), (str,))
    for f in fields(Entry)
    if f.name not in ("index", "files")
}


class Head(NamedTuple):
    """What a line is about, as far as its first words tell: read 6 times as fast as all of it."""

    kind: str
    key: str
    where: tuple[int, ...]
    level: int

    @classmethod
    def of(cls, line: str) -> Head | None:
        """Read the beginning of a line; None if it begins in another way than those of today."""
        found = HEAD.match(line)
        if found is None:
            return None
        kind, key, index, level = found.groups()
        return cls(kind, key, tuple(map(int, index.split(", "))) if index else (), int(level))


class Ledger:
    """The lines that this process adds, in a file of its own that appears with the first.

    The file is opened for each line: a worker may live on while its store is removed and made
    again.

    Parameters
    ----------
    folder : Path or Remote
    check : function
        Called before each line; it raises RunStopped when nothing may be written any more.
    """

    def __init__(self, folder: Place, check: Callable[[], None] = lambda: None) -> None:
        self.folder, self._check = folder, check
        self._file: Place | None = None
        self._named: Path | None = None  # the file whose name is on the disk
        self._lines: list[bytes] = []  # of that file, in an object store
        self._lock = threading.Lock()  # a worker may have several threads

    def append(self, entry: Entry) -> None:
        """Add a line; what it speaks of must be on the disk already."""
        with self._lock:
            file, self._file = self._file or self._new_file(), None
            raw = entry.to_line().encode()
            if isinstance(file, Remote):
                self._check()
                self._append_to_object(file, raw)
                return
            try:
                with file.open("ab", buffering=0) as handle:
                    # Not before: whoever overwrites the result later removes the open file, too.
                    self._check()
                    while raw:  # a full disk may take a part and raise at the next
                        raw = raw[handle.write(raw) :]
            except RunStopped:
                with suppress(OSError):
                    if not file.stat().st_size:
                        file.unlink()
                raise
            # Only now: after a torn line nothing is added to a file any more.
            self._file = file

    def _append_to_object(self, file: Remote, raw: bytes) -> None:
        lines, self._lines = [*self._lines, raw], []
        file.write_bytes(b"".join(lines))
        if len(lines) < LINES:
            self._file, self._lines = file, lines

    def settle(self) -> None:
        """Wait until the lines are on the disk, if there are any."""
        with self._lock:
            file = self._file
            if not isinstance(file, Path) or not file.exists():
                return
            system.sync_file(file)
            if file != self._named:
                system.sync_folder(file.parent)
                self._named = file

    def _new_file(self) -> Place:
        host = re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "host"
        # Sorted by time: of a chunk that was made twice the later entry counts.
        begun = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        return self.folder / f"{begun}-{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"


def now() -> str:
    """Give the time as ledgers write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def entries(folder: Place, wanted: Callable[[Head], bool] | None = None) -> Iterator[Entry]:
    """Read all valid lines of all processes, whatever their key.

    With `wanted` lines are left out that say in their first words that they aren't; those that
    begin in another way than lines of today are given.
    """
    for _, lines in _lines(folder):
        for line in lines:
            if wanted is not None and (head := Head.of(line)) is not None and not wanted(head):
                continue
            entry = Entry.from_line(line)
            if entry is not None:
                yield entry


def heads(folder: Place) -> Iterator[Head]:
    """Say what the lines of all processes are about; some may be torn or damaged."""
    for _, lines in _lines(folder):
        for line in lines:
            head = Head.of(line)
            if head is not None:
                yield head
            elif (entry := Entry.from_line(line)) is not None:
                yield Head(entry.kind, entry.key, entry.index, entry.level)


def damaged_lines(folder: Place) -> Iterator[tuple[Place, int]]:
    """Find lines that are damaged, as (file, number of the line).

    A last line without its end is the mark of a killed process, not of damage.
    """
    for path, lines in _lines(folder):
        for number, line in enumerate(lines, start=1):
            if line.endswith("\n") and Entry.from_line(line) is None:
                yield path, number


def _lines(folder: Place) -> Iterator[tuple[Place, Iterator[str]]]:
    for path, opened in places.opened(folder, "*.jsonl"):
        with opened as file:
            yield path, io.TextIOWrapper(file, "utf-8", "replace", newline="\n")


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
