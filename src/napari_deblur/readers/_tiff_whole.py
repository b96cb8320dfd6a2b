"""Is a TIFF all there? A file cut short otherwise opens with fewer planes, without an error."""

from __future__ import annotations

import math
import struct
from typing import Any, BinaryIO

from napari_deblur.places import place_of

__all__ = ["check_pages", "check_series"]

MOST_TAGS = 4096
# What tifffile makes of pages whose metadata make no sense.
FALLBACKS = {"generic", "uniform"}
SMALLEST_HEAD = 8  # bytes of the header, where no pixels are
MOST_PIECE = 2**33  # bytes, unpacked: strips and tiles are decoded as a whole
TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def check_pages(path: str) -> None:
    """Follow the chain of page directories from the header to its end.

    Raises
    ------
    ValueError
        When a directory or a value of it lies outside the file, or the chain runs in a circle.
    """
    place = place_of(path)
    size = place.stat().st_size
    again = "so copy it again from where it came from"
    with place.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        count, pointer = (order + "Q", order + "Q") if big else (order + "H", order + "I")
        seen: set[int] = set()
        position = _number(head[8 if big else 4 :], pointer)
        while position:
            if position in seen:
                raise ValueError(
                    f'"{path}" is damaged: its directory of pages runs in a circle after '
                    f"{len(seen)} pages, {again}"
                )
            seen.add(position)
            following, reach = _directory(file, position, count, pointer)
            if following is None and position < size:
                raise ValueError(
                    f'"{path}" is cut short or damaged: page {len(seen) - 1} should be described '
                    f"at byte {position} but is not, {again}"
                )
            if following is None or reach > size:
                raise ValueError(
                    f'"{path}" is cut short: page {len(seen) - 1} reaches to byte '
                    f"{max(reach, position)} but the file has {size} bytes, {again}"
                )
            position = following
        if not seen:
            raise ValueError(f'"{path}" is cut short: it has a header but no page, {again}')


def _check_pieces(keyframe: Any, pages: Any, path: str) -> None:
    """Compare the strips or tiles that are there with what the sizes of the pages promise.

    One without bytes would be read as zeros.
    """
    size = math.prod(keyframe.chunks) * keyframe.dtype.itemsize
    if size > MOST_PIECE:
        raise ValueError(
            f'"{path}" declares strips or tiles of {size:.3g} bytes: it is damaged, or has to be '
            "written again in smaller ones"
        )
    promised = math.prod(keyframe.chunked)
    for number, page in enumerate(pages):
        pairs = zip(page.dataoffsets, page.databytecounts, strict=False)
        there = sum(offset > 0 and count > 0 for offset, count in pairs)
        if there < promised:
            raise ValueError(
                f'"{path}" is damaged or cut short: page {number} has {there} of its {promised} '
                "strips or tiles, so copy it again from where it came from"
            )


def _directory(file: BinaryIO, position: int, count: str, pointer: str) -> tuple[int | None, int]:
    """Give where the next directory lies, and how far the values of this one reach."""
    file.seek(position)
    entry = struct.Struct(pointer[0] + "HH" + 2 * pointer[1])
    number = _number(file.read(struct.calcsize(count)), count)
    if not number or number > MOST_TAGS:
        return None, position
    raw = file.read(number * entry.size)
    following = _number(file.read(struct.calcsize(pointer)), pointer)
    if following is None:
        return None, position
    inside = struct.calcsize(pointer)
    reach = 0
    for _, kind, length, offset in entry.iter_unpack(raw):
        size = TYPE_SIZES.get(kind, 1) * length
        if size > inside:
            reach = max(reach, offset + size)
    return following, reach


def _number(raw: bytes, form: str) -> int | None:
    size = struct.calcsize(form)
    return int(struct.unpack(form, raw[:size])[0]) if len(raw) >= size else None


def check_series(tif: Any, series: Any, pages: Any, path: str) -> None:
    """Compare what the metadata promise with the planes that are there and the file's length.

    Parameters
    ----------
    tif : tifffile.TiffFile
    series : tifffile.TiffPageSeries
        The series, or one resolution of it.
    pages : sequence of tifffile pages, None for those that were not found
    path : str

    Raises
    ------
    ValueError
        When planes are missing.
    """
    dialect = "ome" if tif.is_ome else "imagej" if tif.is_imagej else series.kind
    if series.kind in FALLBACKS and dialect not in FALLBACKS:
        if dialect == "ome" and "BinaryOnly" in tif.ome_metadata:
            raise ValueError(
                f'"{path}" holds planes of an image that another file describes, which it names '
                "after BinaryOnly: open the first file of the set"
            )
        raise ValueError(
            f'"{path}" is cut short or damaged: its {dialect} metadata promise other planes '
            f"than the {len(tif.pages)} that it has, so copy it again"
        )
    there = sum(page is not None for page in pages)
    promised = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    if there < len(pages) or (series.dataoffset is None and there < promised):
        raise ValueError(
            f'"{path}" has {there} of the {max(promised, len(pages))} planes that its metadata '
            "promise: copy it again, with the other files of the same image if it has some"
        )
    if series.dataoffset is None:
        _check_pieces(series.keyframe, pages, path)
    elif series.dataoffset < SMALLEST_HEAD:
        raise ValueError(
            f'"{path}" is damaged: its pixels should begin at byte {series.dataoffset}, so copy it '
            "again from where it came from"
        )
    # An image may be spread over several files, or lie in another one altogether.
    ends: dict[Any, int] = {}
    if series.dataoffset is not None:
        ends[series.keyframe.parent] = series.dataoffset + series.nbytes
    else:
        for page in pages:
            pairs = zip(page.dataoffsets, page.databytecounts, strict=False)
            end = max((offset + count for offset, count in pairs), default=0)
            ends[page.parent] = max(end, ends.get(page.parent, 0))
    for file, end in ends.items():
        size = file.filehandle.size
        if end > size:
            name = path if file is tif else file.filehandle.path
            raise ValueError(
                f'"{name}" is cut short: its pixels reach to byte {end} but it has {size} bytes, '
                "so copy it again from where it came from"
            )
