"""What a chunk unpacks to, found before it is: a few bytes can become more than memory holds."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

__all__ = ["STREAMS", "packed_by", "unpacked"]

ZSTANDARD, LONGEST_HEAD = b"\x28\xb5\x2f\xfd", 18
# Those that say nowhere how long they become: they are unpacked once more than otherwise needed.
STREAMS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 32),
    "zlib": lambda: zlib.decompressobj(zlib.MAX_WBITS | 32),
    "bz2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}
HEADS = ("zstd", "blosc", "lz4")


def packed_by(metadata: Mapping[str, Any]) -> str:
    """Name the last codec that packs a chunk, of those that are known here; nothing if none is.

    Parameters
    ----------
    metadata : mapping
        Of an array, as plain data.
    """
    listed = metadata.get("codecs")
    if listed is None:  # version 2
        listed = [*(metadata.get("filters") or ()), metadata.get("compressor")]
    for codec in reversed([one for one in listed if isinstance(one, Mapping)]):
        name = str(codec.get("name", codec.get("id"))).removeprefix("numcodecs.")
        if name == "sharding_indexed":
            return packed_by(codec["configuration"])
        if name in STREAMS or name in HEADS:
            return name
    return ""


def unpacked(chunk: Buffer, packed: str, most: int) -> int:
    """Give the bytes that a chunk says it unpacks to; or those that it does, up to `most` + 1."""
    if packed in STREAMS:
        return _counted(memoryview(chunk.as_numpy_array()), STREAMS[packed], most)
    head = chunk[:LONGEST_HEAD].to_bytes()
    if packed == "zstd":
        return _promised(head)
    # Of Blosc (its README_CHUNK_FORMAT) and of numcodecs' LZ4, four bytes.
    start = 4 if packed == "blosc" else 0
    return int.from_bytes(head[start : start + 4], "little")


def _counted(raw: Any, decoder: Callable[[], Any], most: int) -> int:
    """Unpack streams, one after the other as gzip may have them; what is damaged is told later."""
    total = 0
    try:
        while len(raw) and total <= most:
            stream = decoder()
            total += len(stream.decompress(raw, most + 1 - total))
            raw = stream.unused_data
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        pass
    return total


def _promised(head: bytes) -> int:
    """Give the size that a frame of Zstandard (RFC 8878, 3.1.1.1) says it unpacks to, or 0."""
    if head[:4] != ZSTANDARD or len(head) < 5:
        return 0
    kind, single = head[4] >> 6, head[4] >> 5 & 1
    size = (single, 2, 4, 8)[kind]
    start = 5 + (not single) + (0, 1, 2, 4)[head[4] & 3]
    return int.from_bytes(head[start : start + size], "little") + (256 if kind == 1 else 0)
