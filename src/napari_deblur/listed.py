"""What a server listed, in memory: some bytes for each of millions of objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

__all__ = ["Sizes"]


class Sizes:
    """Sizes by name, of millions: 16 bytes each, 32 while they are sorted.

    Names are kept as hashes of 64 bits. Of 30 million two are alike in one of 40,000 cases; then
    one of them counts as having the size of the other, and is made again.
    """

    def __init__(self, found: Iterable[tuple[str, int]]) -> None:
        import numpy as np  # commands that list nothing begin without it

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
        """Give the size of an object; None if it was not listed."""
        key = hash(name)
        at = int(self._names.searchsorted(key))
        there = at < len(self._names) and self._names[at] == key
        return int(self._sizes[at]) if there else None
