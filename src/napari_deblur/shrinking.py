"""Chunks of pyramid levels: each made of those of the level below, out of core."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_deblur import places, sharding
from napari_deblur.arrays import block_of, specs_of
from napari_deblur.pyramid import below, emptied, levels_of, pieces, shrunk
from napari_deblur.results import MASK, mask_of

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_deblur.places import Place
    from napari_deblur.plans import Plan
    from napari_deblur.tiles import Box, Index

__all__ = ["REPAIR", "Shrinker", "Shrunk"]

REPAIR = "run napari-deblur verify --discard, and then the same again"


class Shrunk(NamedTuple):
    """A chunk of a pyramid level, and where integers have no data."""

    image: NDArray[Any]
    empty: NDArray[np.bool_] | None


class Shrinker:
    """Makes chunks of the levels of a result.

    Parameters
    ----------
    path : Path or Remote
        The result.
    plan : Plan
        That of the result.
    """

    def __init__(self, path: Place, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self._levels, self._arrays = levels_of(plan.layout, plan.grid), specs_of(plan)
        self._opened: dict[str, zarr.Array] = {}

    def under(self, number: int, index: Index) -> Iterator[Index]:
        """Give the chunks of the level below that a chunk of a level is made of."""
        return below(self._levels[number], self._levels[number - 1], index)

    def made(self, number: int, index: Index, gaps: Collection[Index] = ()) -> Shrunk:
        """Make a chunk of a level, piece by piece.

        Of the level below, `gaps` are the chunks that could not be made. Any other one that is not
        there, or can't be unpacked, is an error: what is missing would be read as no data.

        Raises
        ------
        ValueError
            When something was lost or damaged since it was written.
        """
        level, lower = self._levels[number], self._levels[number - 1]
        core = level.grid.tile(index).core
        image = np.empty([stop - start for start, stop in core], self.plan.dtype)
        empty = np.empty(image.shape, np.bool_) if MASK in self._arrays else None
        for box, source in pieces(level, lower, index):
            where = tuple(slice(a - s, b - s) for (a, b), (s, _) in zip(box, core, strict=True))
            mask = None
            if empty is not None:
                mask = self._read(mask_of(number - 1), index[:2], source)
                empty[where] = emptied(mask, level.step)
            block = self._read(str(number - 1), index[:2], source)
            image[where] = shrunk(block, level.step, mask)
        self._refuse_lost(number, index, gaps)
        return Shrunk(image, empty)

    def _refuse_lost(self, number: int, index: Index, gaps: Collection[Index]) -> None:
        """Raise ValueError if a file that was read is not there, or empty."""
        names = [name for name in (str(number - 1), mask_of(number - 1)) if name in self._arrays]
        chunks = [one for one in self.under(number, index) if one not in gaps]
        for file in {self._file(name, one) for name in names for one in chunks}:
            try:
                size = file.stat().st_size
            except FileNotFoundError:
                size = 0
            if not size:
                raise ValueError(f"{file} was lost since it was written: run the same again")

    def _file(self, name: str, index: Index) -> Place:
        block = block_of(self.plan, name, index)
        return self.path / sharding.file_of(name, self._arrays[name], block)

    def _read(self, name: str, frame: tuple[int, int], box: Box) -> NDArray[Any]:
        """Read stored values (z, y, x) of a level or its mask, (frame, channel) and box."""
        axes = self.plan.layout.axes
        spans: dict[str, Any] = dict(zip("tc", frame, strict=True))
        spans |= {a: slice(*span) for a, span in zip("zyx", box, strict=True)}
        try:
            block = np.asarray(self._stored(name)[tuple(spans[a] for a in axes)])
        except (ValueError, RuntimeError) as error:  # of a codec
            raise ValueError(
                f"a chunk of {self.path / name} is not what was written ({error}): {REPAIR}"
            ) from error
        return block if "z" in axes else block[None]

    def _stored(self, name: str) -> zarr.Array:
        import zarr

        if name not in self._opened:
            self._opened[name] = zarr.open_array(places.storage(self.path / name), mode="r")
        return self._opened[name]
