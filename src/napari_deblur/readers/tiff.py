"""TIFF, BigTIFF, OME-TIFF and ImageJ TIFF, of any size: no pixel is read when they are opened."""

from __future__ import annotations

import math
import os
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tifffile
import zarr

from napari_deblur import decoding
from napari_deblur.places import is_address
from napari_deblur.readers._building import build_stack, chosen_axes, only, stored_in
from napari_deblur.readers._files import (
    file_fingerprint,
    first_bytes,
    is_of_the_disk,
)
from napari_deblur.readers._tiff_facts import read_facts
from napari_deblur.readers._tiff_files import DAMAGE, damage_named, file_at
from napari_deblur.readers._tiff_whole import check_pages, check_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Source, Stack

__all__ = ["Tiff"]

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Tiff:
    """Opens one series of a TIFF, at one of its resolutions."""

    patterns: ClassVar[tuple[str, ...]] = ("*.tif", "*.tiff", "*.btf", "*.tf8", "*.lsm")

    def accepts(self, address: str) -> bool:
        """Say whether the file begins like a TIFF."""
        return first_bytes(address, remote=True).startswith(MAGIC)

    def __call__(self, source: Source) -> Stack:
        """Open a series, the first one if none is named.

        Raises
        ------
        ValueError
            When planes are missing, the axes are not known or there is no such series or level.
        """
        only(source, series=True, level=True)
        check_pages(source.address)
        with damage_named(source.address), file_at(source.address) as tif:
            return _open(tif, source)


COLOURED = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)


def _open(tif: tifffile.TiffFile, source: Source) -> Stack:
    index = source.series or 0
    whole = _picked(tif.series, index, "series", source.address)
    series = _picked(whole.levels, source.level, "level", source.address)
    check_series(tif, series, series.pages, source.address)
    page = series.keyframe
    full = series.get_axes(squeeze=False)
    # The user may name the axes of length 1 too, which are left out otherwise.
    squeeze = source.axes is None or len(source.axes) != len(full)
    shape = tuple(int(n) for n in series.get_shape(squeeze))
    stated = series.get_axes(squeeze).lower()
    coloured = "s" in stated and page.photometric in COLOURED
    # tifffile writes three or four planes as the colours of one: the user may know better.
    if source.axes is not None and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        coloured = coloured and "s" in source.axes.lower()
    if not coloured:
        stated = stated.replace("s", "c")
    axes = chosen_axes(source.axes, stated, shape)
    if coloured and page.samplesperpixel > 1 and axes[stated.index("s")] not in "sc":
        raise ValueError(
            f'axes="{axes}" contradict "{source.address}", whose axis {stated.index("s")} of shape '
            f'{shape} holds colour samples: name it s, e.g. axes="{stated}"'
        )
    found = read_facts(tif, index, shape[axes.index("c")] if "c" in axes else 1)
    found = replace(found, pixel_size=_at_level(found.pixel_size, whole, series))
    others = {page.parent.filehandle.path for page in series.pages if page.parent is not tif}
    for other in others:
        if not Path(os.path.normpath(other)).is_relative_to(Path(tif.filehandle.dirname)):
            raise ValueError(
                f'the metadata of "{source.address}" name "{other}", outside of its folder: put '
                "the files of an image into one folder"
            )
    known = file_fingerprint(source.address, *sorted(others))
    source = stored_in(source, "tiff", known)
    base = _base(tif, source, series, axes, squeeze=squeeze)
    return build_stack(source, base, axes, found, stated=stated, levels=len(whole.levels))


def _at_level(sizes: Any, whole: Any, level: Any) -> Any:
    """Give the voxel size of a lower resolution: the same extent over fewer voxels."""
    fine = dict(zip(whole.axes, whole.shape, strict=True))
    coarse = dict(zip(level.axes, level.shape, strict=True))
    return tuple(
        None if size is None else size * fine.get(axis, 1) / coarse.get(axis, 1)
        for axis, size in zip("ZYX", sizes, strict=True)
    )


def _picked(things: Any, index: int, what: str, address: str) -> Any:
    if not 0 <= index < len(things):
        raise ValueError(
            f'{what}={index} was asked for but "{address}" has {len(things)}, counted from 0: '
            f"choose 0 to {len(things) - 1}"
        )
    return things[index]


def _base(tif: Any, source: Source, series: Any, axes: str, *, squeeze: bool) -> Any:
    """Give something to index: the file itself if its pixels lie plainly in it, else zarr."""
    parent = series.keyframe.parent
    shape = tuple(int(n) for n in series.get_shape(squeeze))
    if is_address(source.address):
        return _Packed(source.address, source.series or 0, source.level, squeeze)
    if series.dataoffset is not None and all(page.parent is parent for page in series.pages):
        dtype = np.dtype(series.dtype).newbyteorder(parent.byteorder)
        chunks = tuple(n if a in "yxs" else 1 for a, n in zip(axes, shape, strict=True))
        path = source.address if parent is tif else parent.filehandle.path
        return _Mapped(path, dtype, series.dataoffset, shape, chunks)
    return _Packed(source.address, source.series or 0, source.level, squeeze)


@dataclass(frozen=True)
class _Mapped:
    """Pixels that lie unpacked in one piece of a file.

    The file is mapped for each read: a crop touches its own bytes only (a plane as one zarr chunk
    reads all of it), it pickles, and a file that was cut short meanwhile is an error, not a crash.
    """

    path: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]

    def __getitem__(self, where: Any) -> NDArray[Any]:
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(mapped[where])


class _Packed:
    """Pixels in tiles or strips that are compressed or scattered; decoded when they are read."""

    def __init__(self, path: str, series: int, level: int, squeeze: bool) -> None:  # noqa: FBT001
        self._address = (path, series, level, squeeze)
        tif = file_at(path)
        # The file is read as long as this lives, and Python warns if nobody closes it.
        weakref.finalize(self, tif.close)
        store = tif.series[series].levels[level].aszarr(level=0, squeeze=squeeze)
        self._array = zarr.open(store, mode="r")
        self.shape, self.dtype, self.chunks = (
            self._array.shape,
            self._array.dtype,
            self._array.chunks,
        )
        nbytes = math.prod(self.chunks) * np.dtype(self.dtype).itemsize
        self.at_once = decoding.at_once(nbytes)

    def __reduce__(self) -> tuple[type[_Packed], tuple[str, int, int, bool]]:
        return _Packed, self._address

    def __getitem__(self, where: Any) -> NDArray[Any]:
        try:
            return decoding.read(self._array, where, chunks=self.chunks)
        except (*DAMAGE, ValueError, OSError) as error:
            of_the_network = isinstance(error, OSError) and is_address(self._address[0])
            if of_the_network or is_of_the_disk(error):
                raise  # of the network, not of the content
            raise ValueError(
                f'pixels of "{self._address[0]}" cannot be decoded, the file is damaged '
                f"({' '.join(str(error).split())[:120]}): copy it again from where it came from"
            ) from error
