"""Parts of a run: which tiles each of several machines does, without asking the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from napari_deblur.tiles import Index, Shards

__all__ = ["Part"]


@dataclass(frozen=True)
class Part:
    """One of `of` parts, counted from 1 as job arrays do.

    A part is a run of tiles in the grid's order, x fastest, so that neighbours stay together: dealt
    out one by one, every machine would read nearly every chunk of the source, and most voxels of
    the halos twice. Tiles that lie in one file go together.

    Raises
    ------
    ValueError
        When there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(f"there is no part {self}: parts of {self.of} are counted from 1")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``k/n``."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is None:
            raise ValueError(f'part is "{text}": give k/n, such as 2/8')
        return cls(int(found[1]), int(found[2]))

    def span(self, count: int) -> tuple[int, int]:
        """Give first and end of the part's positions among `count` tiles.

        Examples
        --------
        >>> [Part(k, 3).span(8) for k in (1, 2, 3)]
        [(0, 2), (2, 5), (5, 8)]
        """
        return count * (self.number - 1) // self.of, count * self.number // self.of

    def tiles(self, shards: Shards) -> Iterator[Index]:
        """Give the indices of the part's tiles, file by file."""
        return (index for shard in self.files(shards) for index in shards.chunks(shard))

    def files(self, shards: Shards) -> Iterator[Index]:
        """Give the files that the part writes."""
        return islice(shards, *self.span(len(shards)))
