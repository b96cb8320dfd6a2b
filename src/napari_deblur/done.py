"""What is finished, in memory: some tens of bytes for each chunk, since there may be millions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry
    from napari_deblur.pyramid import Level
    from napari_deblur.tiles import Grid, Index, Shards

__all__ = ["Digests", "Done"]

SIZE = 32  # bytes of a SHA-256
HASH = re.compile("[0-9a-f]{64}")
MOST = 2**62  # voxels of a tile


class Digests:
    """A SHA-256 for each of those chunks of a grid that are there, in hexadecimal.

    Memory is taken by those that are there, about 33 bytes each; a chunk is counted once however
    often it is given.
    """

    def __init__(self, grid: Grid) -> None:
        self._counts = grid.counts
        # Pages of zeros that nobody writes to take no memory.
        self._there = np.zeros(len(grid), bool)
        self._bytes = np.zeros((len(grid), SIZE), np.uint8)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._there))

    def __contains__(self, index: Index) -> bool:
        return bool(self._there[self.number(index)])

    def __iter__(self) -> Iterator[Index]:
        for number in np.flatnonzero(self._there):
            t, c, z, y, x = (int(i) for i in np.unravel_index(number, self._counts))
            yield t, c, z, y, x

    def __setitem__(self, index: Index, digest: str) -> None:
        number = self.number(index)
        self._bytes[number] = np.frombuffer(bytes.fromhex(digest), np.uint8)
        self._there[number] = True

    def __delitem__(self, index: Index) -> None:
        self._there[self.number(index)] = False

    def get(self, index: Index) -> str | None:
        """Give the digest of a chunk; None if it is not there."""
        number = self.number(index)
        return self._bytes[number].tobytes().hex() if self._there[number] else None

    def count(self, numbers: slice | np.ndarray[Any, Any]) -> int:
        """Count the chunks that are there among those at some positions in the grid's order."""
        return int(np.count_nonzero(self._there[numbers]))

    def has_place(self, index: Sequence[int]) -> bool:
        """Whether an index is one of the grid's."""
        return len(index) == len(self._counts) and all(
            0 <= i < n for i, n in zip(index, self._counts, strict=True)
        )

    def number(self, index: Index) -> int:
        """Give the position of a chunk in the grid's order; IndexError when there is none."""
        number = 0
        for i, n in zip(index, self._counts, strict=True):
            if not 0 <= i < n:
                raise IndexError(f"no chunk {index} in a grid of {self._counts}")
            number = number * n + i
        return number


@dataclass
class Done:
    """What the ledger says is finished and still there, for one plan.

    Parameters
    ----------
    values : Digests of each level
        SHA-256 of what was stored, tiles first.
    inputs : Digests of each level
        Of what a chunk was made of.
    clipped, emptied : arrays (n,)
        Voxels of each tile, in the grid's order.
    shards : mapping of (level, index of a file) to a hash
        Of the chunks that were joined in a file.
    failed : mapping of (level, index) to an error
        Chunks made since then are among them.
    parts : set of int
        How many parts there were to be, of all that were begun.
    boxes : mapping of a level to its files, or nothing
        Nothing if it need not be known what waits.
    waiting : mapping of (level, index of a file) to {chunk: {path: SHA-256 of the file}}
        Chunks with files of their own, which are to be joined. Those of few files at a time.
    """

    values: Sequence[Digests]
    inputs: Sequence[Digests]
    clipped: np.ndarray[Any, np.dtype[np.int64]]
    emptied: np.ndarray[Any, np.dtype[np.int64]]
    splits: dict[Index, int] = field(default_factory=dict)
    shards: dict[tuple[int, Index], str] = field(default_factory=dict)
    failed: dict[tuple[int, Index], str] = field(default_factory=dict)
    parts: set[int] = field(default_factory=set)
    boxes: Mapping[int, Shards] = field(default_factory=dict)
    waiting: dict[tuple[int, Index], dict[Index, dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, levels: Sequence[Level], boxes: Mapping[int, Shards] | None = None) -> Done:
        """Give one in which nothing is done."""
        tiles = prod(levels[0].grid.counts)
        values, inputs = ([Digests(level.grid) for level in levels] for _ in range(2))
        clipped, emptied = (np.zeros(tiles, np.int64) for _ in range(2))
        return cls(values, inputs, clipped, emptied, boxes=boxes or {})

    @property
    def tiles(self) -> Digests:
        """The values of tiles."""
        return self.values[0]

    def fits(self, entry: Entry) -> bool:
        """Whether an entry is of something that there is: anybody may have written a ledger."""
        if max(entry.clipped, entry.emptied) >= MOST:
            return False
        if entry.kind in ("tile", "level", "split", "failed"):
            if not (
                0 <= entry.level < len(self.values)
                and self.values[entry.level].has_place(entry.index)
                and (entry.kind != "tile" or entry.level == 0)
            ):
                return False
            hashes = {"tile": [entry.values], "level": [entry.values, entry.inputs]}
            return all(HASH.fullmatch(one) for one in hashes.get(entry.kind, []))
        if entry.kind == "shard":
            return entry.level in self.boxes and entry.index in self.boxes[entry.level]
        return entry.kind != "part" or len(entry.index) == len(("number", "of"))

    def add(self, entry: Entry) -> None:
        """Count one more entry, which `fits`."""
        index: Any = entry.index  # of five numbers, by its kind
        if entry.kind in ("tile", "level"):
            self._wait(entry, index)
        if entry.kind == "tile":
            self.tiles[index] = entry.values
            number = self.tiles.number(index)
            for counts, count in ((self.clipped, entry.clipped), (self.emptied, entry.emptied)):
                if counts[number] != count:  # a page of zeros stays one
                    counts[number] = count
        elif entry.kind == "split":
            self.splits[index] = max(entry.splits, self.splits.get(index, 0))
        elif entry.kind == "level":
            self.values[entry.level][index] = entry.values
            self.inputs[entry.level][index] = entry.inputs
        elif entry.kind == "shard":
            self.shards[entry.level, index] = entry.inputs
        elif entry.kind == "failed":
            self.failed[entry.level, index] = entry.error
        elif entry.kind == "part":
            self.parts.add(index[1])

    def take(self, other: Done, level: int, index: Index) -> None:
        """Count a chunk as another one does, unless it is there."""
        digest = other.values[level].get(index)
        if index in self.values[level] or digest is None:
            return
        self.values[level][index] = digest
        if made_of := other.inputs[level].get(index):
            self.inputs[level][index] = made_of
        if level == 0:
            number = self.tiles.number(index)
            self.clipped[number], self.emptied[number] = (
                other.clipped[number],
                other.emptied[number],
            )

    def forget(self, level: int, index: Index) -> None:
        """Count a chunk as not there."""
        del self.values[level][index]
        del self.inputs[level][index]
        if level in self.boxes:
            self.waiting.get((level, self.boxes[level].of(index)), {}).pop(index, None)

    def sums(self, level: int, shard: Index) -> dict[str, str]:
        """Give the files of their own that the chunks of a file have, with their SHA-256."""
        found: dict[str, str] = {}
        for index in self.boxes[level].chunks(shard):
            if index in self.values[level]:
                found |= self.waiting[level, shard][index]
        return found

    def joined(self, level: int, shard: Index) -> None:
        """Forget the files of their own of chunks that were joined, unless some were missing."""
        if all(index in self.values[level] for index in self.boxes[level].chunks(shard)):
            self.waiting.pop((level, shard), None)

    def _wait(self, entry: Entry, index: Index) -> None:
        box = self.boxes.get(entry.level)
        if box is not None and box.several:
            files = {path: digest for path, (_, digest) in entry.files.items()}
            self.waiting.setdefault((entry.level, box.of(index)), {})[index] = files
