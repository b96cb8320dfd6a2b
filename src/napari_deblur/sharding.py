"""What is in a file of a result: a chunk, or a shard of several with its index (zarr 3).

A shard is what its chunks are packed to, one after the other, then where each begins and how long
it is, then a checksum of that. So the shards of several tiles are joined without unpacking them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.results import LEDGER

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_deblur.arrays import Spec

__all__ = ["LOOSE", "Summed", "encoded", "file_of", "joined", "loose"]

LOOSE = f"{LEDGER}/tiles"  # where tiles wait for those with which they will share a file
ABSENT = np.uint64(2**64 - 1)  # offset and length of a chunk that nobody wrote
CHECK = struct.Struct("<I")
Piece = bytes | memoryview


def file_of(name: str, spec: Spec, block: tuple[int, ...]) -> str:
    """Say in which file of a finished result a block of an array lies."""
    boxes = (n // many for n, many in zip(spec.file, spec.tile, strict=True))
    return "/".join([name, "c", *(str(b // n) for b, n in zip(block, boxes, strict=True))])


def loose(name: str, block: tuple[int, ...]) -> str:
    """Say where a block lies that waits for others."""
    return f"{LOOSE}/{name}/{'.'.join(map(str, block))}"


class Summed:
    """Pieces of a file on their way to the disk, counted and hashed."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.size, self.hash = 0, hashlib.sha256()
        self._pieces = pieces

    def __iter__(self) -> Iterator[Piece]:
        for piece in self._pieces:
            self.size += len(piece)
            self.hash.update(piece)
            yield piece
            del piece  # before the next one is read: tiles are large


def encoded(spec: Spec, values: NDArray[Any]) -> memoryview:
    """Give what is in the file of a tile; at the end of the array `values` may be smaller.

    It is no copy, since tiles are large. One that is to be joined with others is a shard, even if
    it has one chunk only.
    """
    held: dict[str, Any] = {}
    array = _in_memory(spec, held)
    array[tuple(slice(n) for n in values.shape)] = values
    return memoryview(held[_only(spec)].as_numpy_array())


def joined(spec: Spec, tiles: Iterable[tuple[tuple[int, ...], bytes]]) -> Iterator[Piece]:
    """Join the shards of tiles into one, piece by piece.

    Parameters
    ----------
    tiles : iterable of (block, content)
        All of one file; those that are not given stay empty.

    Raises
    ------
    ValueError
        When the index of a tile is damaged.
    """
    inner = [n // many for n, many in zip(spec.tile, spec.chunk, strict=True)]
    index = np.full([n // c for n, c in zip(spec.file, spec.chunk, strict=True)] + [2], ABSENT)
    boxes = [n // many for n, many in zip(spec.file, spec.tile, strict=True)]
    position = np.uint64(0)
    for block, content in tiles:
        own, body = _parted(content, inner)
        there = own[..., 1] != ABSENT
        own[there, 0] += position
        first = [b % box * n for b, box, n in zip(block, boxes, inner, strict=True)]
        index[tuple(slice(f, f + n) for f, n in zip(first, inner, strict=True))] = own
        position += np.uint64(len(body))
        yield body
        del content, body  # before the next one is read
    raw = index.astype("<u8").tobytes()
    yield raw + CHECK.pack(_checksum(raw))


def _parted(content: bytes, counts: list[int]) -> tuple[NDArray[np.uint64], memoryview]:
    """Give the index of a shard, and what is before it."""
    size = 16 * int(np.prod(counts))
    start = len(content) - size - CHECK.size
    raw, check = content[start : start + size], content[start + size :]
    if start < 0 or CHECK.unpack(check)[0] != _checksum(raw):
        raise ValueError(
            "a tile that waits for others is damaged: run napari-deblur verify --discard, and then "
            "the same again"
        )
    return np.frombuffer(raw, "<u8").astype(np.uint64).reshape(*counts, 2), memoryview(content)[
        :start
    ]


def _in_memory(spec: Spec, held: dict[str, Any]) -> zarr.Array:
    """Make an array of one tile, whose file is put into `held`."""
    import zarr
    from zarr.storage import MemoryStore

    settings = spec.settings() | {"shape": spec.tile, "dimension_names": None}
    settings["shards"] = spec.tile if spec.is_joined or spec.tile != spec.chunk else None
    # Chunks that are all fill value are written too: one that is missing is always an error.
    return zarr.create_array(MemoryStore(held), config={"write_empty_chunks": True}, **settings)


def _only(spec: Spec) -> str:
    return "/".join(["c", *("0" for _ in spec.tile)])


def _checksum(raw: bytes) -> int:
    import google_crc32c

    return int(google_crc32c.value(raw))
