"""Parts of a run: which tiles each of several machines does, without asking the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from napari_deblur.tiles import Index, Shards

__all__ = ["Part"]

# Images of more than a quarter of what a part does in all are divided: so no part has a quarter
# more to do than another one.
DIVIDED = 4


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

    def dealt(self, sizes: Sequence[int]) -> tuple[list[int], list[tuple[int, Part]]]:
        """Say which of several images the part does.

        Small ones are dealt out whole, neighbours together, the same amount to each part. Those of
        more than a quarter of a part's share are done by all parts together. Since an image of
        three tiles has work for three parts, the parts of the next image are counted from the next
        one; and each part begins with another image, so that plans are made side by side.

        Parameters
        ----------
        sizes : sequence of int
            Of the images, in any unit, the same for all parts.

        Returns
        -------
        whole : list of int
            The positions of images that the part does alone.
        shared : list of (int, Part)
            Positions of the others, and which part of each this one does.

        Examples
        --------
        >>> [Part(k, 2).dealt([9, 1, 1, 1]) for k in (1, 2)]
        [([1], [(0, Part(number=1, of=2))]), ([2, 3], [(0, Part(number=2, of=2))])]
        """
        sizes = [max(1, size) for size in sizes]
        most = sum(sizes) // (DIVIDED * self.of)
        small = [n for n, size in enumerate(sizes) if size <= most]
        large = [n for n, size in enumerate(sizes) if size > most]
        whole, before, total = [], 0, sum(sizes[n] for n in small)
        for n in small:  # all in a line, cut into equal pieces: an image goes where its middle is
            if (2 * before + sizes[n]) * self.of // (2 * total) + 1 == self.number:
                whole.append(n)
            before += sizes[n]
        shared = [
            (n, replace(self, number=(self.number - 1 + turn) % self.of + 1))
            for turn, n in enumerate(large)
        ]
        first = (self.number - 1) * len(shared) // self.of
        return whole, shared[first:] + shared[:first]
