"""What a ledger says of files, in memory: some tens of bytes for each of millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["Accepted", "Recorded"]

SIZE = 32  # bytes of a SHA-256
Accepted = set[tuple[int, str]]  # sizes and SHA-256


class Recorded:
    """Sizes and SHA-256 by the names of files: 57 bytes for each line about one.

    Names are kept as hashes of 64 bits. Of 30 million two are alike in one of 40,000 cases; then
    only one of them is looked at.

    Parameters
    ----------
    found : iterable of (name, size, SHA-256 in hexadecimal)
        A name may come several times: what was written anew has the same or other bytes.
    """

    def __init__(self, found: Iterable[tuple[str, int, str]]) -> None:
        names, sizes, digests = array("q"), array("q"), bytearray()
        for name, size, digest in found:
            names.append(hash(name))
            sizes.append(size)
            digests += bytes.fromhex(digest)
        keys = np.asarray(names, np.int64)
        self._order = np.argsort(keys, kind="stable")
        self._names: Any = keys[self._order]
        self._sizes = np.asarray(sizes, np.int64)
        self._digests = np.asarray(digests, np.uint8).reshape(-1, SIZE)
        self._asked = np.zeros(len(keys), bool)
        last = np.ones(len(keys), bool)
        last[:-1] = self._names[1:] != self._names[:-1]
        self._count = int(np.count_nonzero(last))
        self.bytes = int(self._sizes[self._order[last]].sum())

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        first, end = self._span(name)
        return first < end

    def of(self, name: str) -> Accepted:
        """Give what a file may be."""
        first, end = self._span(name)
        return {
            (int(self._sizes[number]), self._digests[number].tobytes().hex())
            for number in self._order[first:end]
        }

    def is_first(self, name: str) -> bool:
        """Whether there is such a name, and it was not asked for before."""
        first, end = self._span(name)
        if first == end or self._asked[first]:
            return False
        self._asked[first] = True
        return True

    def _span(self, name: str) -> tuple[int, int]:
        key = hash(name)
        return int(self._names.searchsorted(key)), int(self._names.searchsorted(key, "right"))
