"""Objects that come piece by piece: sent in parts as they come, and kept nowhere in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue
from typing import Any

__all__ = ["put_pieces"]

PART = 8 * 2**20  # bytes; servers take 10,000 of them
AT_ONCE = 4  # parts on their way, in memory
MOMENT = 0.1  # seconds between two looks at whether sending has failed
Piece = bytes | memoryview


def put_pieces(bucket: Any, key: str, pieces: Iterable[Piece]) -> bytes | None:
    """Put an object as a whole or not at all; give back what has up to `PART` bytes instead.

    The pieces may be read from a bucket themselves, so they are asked for in this thread: inside of
    its sending obstore reads nothing. If one of them can't be had, what was sent is given up.
    """
    import obstore

    rest, first, size = iter(pieces), deque[Piece](), 0
    for piece in rest:
        first.append(piece)
        size += len(piece)
        if size > PART:
            break
    else:
        return b"".join(first)
    handed: Queue[Piece | Exception | None] = Queue(1)

    def given() -> Iterator[Piece]:
        while (piece := handed.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def hand(piece: Piece | Exception | None) -> bool:
        while not sent.done():  # it ends early if it fails
            try:
                handed.put(piece, timeout=MOMENT)
            except Full:
                continue
            return True
        return False

    with ThreadPoolExecutor(1, "napari-deblur-send") as sender:
        sent = sender.submit(
            obstore.put, bucket, key, given(),
            use_multipart=True, chunk_size=PART, max_concurrency=AT_ONCE,
        )  # fmt: skip
        try:
            all(map(hand, _parts(first, rest)))
        except BaseException:
            hand(RuntimeError("there are no more pieces"))
            raise
        hand(None)
        sent.result()
    return None


def _parts(first: deque[Piece], rest: Iterator[Piece]) -> Iterator[Piece]:
    """Give pieces of up to `PART` bytes; those that were given are not held on to."""
    while first:
        yield from _cut(first.popleft())
    for piece in rest:
        yield from _cut(piece)


def _cut(piece: Piece) -> Iterator[Piece]:
    view = memoryview(piece).cast("B")
    return (view[start : start + PART] for start in range(0, len(view), PART))
