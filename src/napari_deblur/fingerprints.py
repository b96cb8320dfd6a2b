"""What tells content from other content of the same shape: a look at some of it.

A fingerprint is ``HEAD-SAMPLE-SAMPLE…``: a word for all that is known at once, and one for each
place that was looked at, nothing where that could not be read. Results keep it, so the places are
fixed: what changes them makes every result one of other content.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Stack

__all__ = ["agree", "of_pixels", "sample_of", "spread"]

# Fractions of the square roots of primes, in 2**32: no two axes keep step. Integers are the same
# on every machine.
STEPS = tuple(math.isqrt(prime << 64) % 2**32 for prime in (2, 3, 5, 7, 11, 13, 17, 19))
PLANES = 16  # of an array in memory
LINES, POINTS = 1024, 256  # of all these planes together; of each line
BLOCKS, SIDE = 4, 32  # of what is computed or unpacked when it is read
WORD = 8  # letters of a sample
MOST_COMPUTED = 2**26  # bytes of a block that is computed for a sample of it


def agree(then: str, now: str) -> bool:
    """Whether two fingerprints may be of the same content.

    What was not seen, then or now, does not count: a chunk that is missing is told when its turn
    has come, and earlier versions looked at no chunk, and at the time of a file.
    """
    if not then or not now:
        return True
    (head, *before), (other, *after) = _words(then), _words(now)
    if head != other or not before or not after:
        return head == other
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(a == b or not a or not b for a, b in pairs)


def _words(fingerprint: str) -> list[str]:
    """Give head and samples; a time, in nanoseconds since 1970, is longer than those."""
    head, *samples = fingerprint.split("-")
    return [head, *(one for one in samples if len(one) <= WORD)]


def spread(counts: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Give up to `most` places of a grid, all over it, the middle first; all if they are few."""
    if not all(counts):
        return []
    if math.prod(counts) <= most:
        return list(np.ndindex(*counts))
    found: dict[tuple[int, ...], None] = {}
    for number in range(8 * most):
        if len(found) == most:
            break
        at = ((2**31 + number * step) % 2**32 for step in STEPS)
        found[tuple(part * n >> 32 for part, n in zip(at, counts, strict=False))] = None
    return list(found)


def sample_of(*parts: bytes) -> str:
    """Give a word for some bytes."""
    found = hashlib.blake2b(digest_size=WORD // 2)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def of_pixels(stack: Stack) -> str:
    """Give the fingerprint of a stack that lives in memory; nothing if it would take long.

    Of an array that is there, points all over some planes; of one that is computed when it is
    read, as dask's are, a few small blocks. The type of its numbers does not count.
    """
    base = getattr(stack.pixels, "base", None)
    if isinstance(base, np.ndarray):
        return "-".join(("pixels", *_of_planes(stack)))
    if _computed_at_once(base) > MOST_COMPUTED:
        return ""
    return "-".join(("blocks", *_of_blocks(stack)))


def _of_planes(stack: Stack) -> list[str]:
    *counts, height, width = stack.shape
    planes = spread(counts, PLANES)
    lines = LINES // len(planes)
    step = (1, math.ceil(height / lines), math.ceil(width / POINTS))
    return [
        _word(stack.pixels.read(t, c, ((z, z + 1), (0, height), (0, width)), step))
        for t, c, z in planes
    ]


def _of_blocks(stack: Stack) -> list[str]:
    *counts, height, width = stack.shape
    rows, columns = math.ceil(height / SIDE), math.ceil(width / SIDE)
    words = []
    for t, c, z, y, x in spread((*counts, rows, columns), BLOCKS):
        (y, x), (bottom, right) = (y * SIDE, x * SIDE), (height, width)
        region = ((z, z + 1), (y, min(y + SIDE, bottom)), (x, min(x + SIDE, right)))
        try:
            words.append(_word(stack.read(t, c, region)))
        except Exception:  # noqa: BLE001 - whatever reading it raises is told by its tile
            words.append("")
    return words


def _word(block: NDArray[Any]) -> str:
    with np.errstate(all="ignore"):
        return sample_of(np.ascontiguousarray(block, "<f4").tobytes())


def _computed_at_once(base: Any) -> int:
    """Give the bytes of the largest chunk of an array; 0 if it does not say."""
    chunks = getattr(base, "chunks", None) or ()
    sizes = [max(n, default=1) if isinstance(n, tuple | list) else int(n) for n in chunks]
    return math.prod(sizes) * np.dtype(base.dtype).itemsize if sizes else 0
