"""The door: whatever holds pixels comes in here and is a `Stack` from then on."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from napari_deblur.fingerprints import agree, of_pixels
from napari_deblur.places import Remote, is_address, refuse_credentials
from napari_deblur.registry import readers
from napari_deblur.stack import Region, Source, Stack

if TYPE_CHECKING:
    from napari_deblur.stack import Reader

__all__ = ["as_planned", "check_content", "coarsest", "open_stack", "reopen"]

# Readers that know a file by its size and some of its bytes.
OF_ONE_FILE = {"bioio", "lif", "nd2", "picture", "tiff"}
Sizes = tuple[float | None, float | None, float | None]


def open_stack(
    source: object,
    axes: str | None = None,
    pixel_size: float | Sequence[float | None] | None = None,
    *,
    series: int | None = None,
    level: int = 0,
    field: str | None = None,
    sparse: bool = False,
) -> Stack:
    """Open a stack without reading its pixels.

    Parameters
    ----------
    source : path or URL such as ``s3://BUCKET/NAME``, numpy, dask or zarr array, or Stack
        OME-Zarr, zarr, TIFF of all kinds, PNG, JPEG or BMP; nd2, lif or czi with the extra
        ``bioio``. A stack is given back.
    axes : str, optional
        A letter for each axis of `source`, out of "tczyx" or "s" for colour samples, in the order
        in which they are stored, e.g. "zyx". Goes before what the file says.
    pixel_size : (z, y, x) or (y, x) or one number for all, in µm, optional
        Goes before what the file says.
    series : int, optional
        Which image of a file that holds several; the first one by default.
    level : int
        Which resolution of a pyramid; 0 is the finest.
    field : str, optional
        Which image of a plate, e.g. "A/1/0".
    sparse : bool
        Chunks that a zarr store does not hold are empty on purpose. Without this, reading one is
        an error (but where the fill value is NaN, no data): it may be lost.

    Raises
    ------
    FileNotFoundError
        When there is nothing at that path.
    ValueError
        When it cannot be opened, is not whole, or its axes are not known.
    TypeError
        When `source` is none of these things.
    """
    size = _sizes(pixel_size)
    if isinstance(source, str | os.PathLike | Remote):
        wanted = Source(_address(str(source)), "", axes, size, series, level, field, sparse=sparse)
        stack = _reader_for(wanted.address)(wanted)
    else:
        if series or level or field is not None:
            raise ValueError(
                "series, level and field choose an image of a file, but this is an array in "
                "memory: leave them out"
            )
        stack = _open_memory(source, axes, size, sparse=sparse)
    if isinstance(pixel_size, Sequence) and len(pixel_size) == 2 and "z" in stack.axes:
        raise ValueError(
            f"pixel_size {tuple(pixel_size)} has 2 values but the stack has axes "
            f'"{stack.axes}": give (z, y, x)'
        )
    return stack


def reopen(source: Source, *, check: bool = True) -> Stack:
    """Open again what a stack was opened from, in this or another process.

    Frames, channels and region that were selected are selected again.

    Raises
    ------
    FileNotFoundError
        When the file is gone.
    ValueError
        When it has changed since, unless `check` is false.
    """
    _must_exist(source.address)
    name = source.reader
    stack: Stack = readers[name]()(source) if name else _reader_for(source.address)(source)
    new = stack.source.fingerprint if stack.source is not None else ""
    if check:
        _compare(source, new)
    if source.times is None and source.channels is None and source.region is None:
        return stack
    return stack.selected(times=source.times, channels=source.channels, region=source.region)


def as_planned(source: object, shape: Sequence[int], axes: str, *, rgb: bool = False) -> Stack:
    """Open what a plan was made for: it has the shape (t, c, z, y, x) and the axes of the plan.

    Raises
    ------
    ValueError
        When it has others.
    """
    bare = not isinstance(source, Stack | str | os.PathLike) and not rgb
    if bare and len(getattr(source, "shape", ())) == len(axes):
        stack = open_stack(source, axes)
    else:
        stack = open_stack(source)
    if (stack.shape, stack.axes) != (tuple(shape), axes):
        raise ValueError(
            f"the stack has shape {stack.shape} and axes {stack.axes}, but the plan was made for "
            f"{tuple(shape)} and {axes}: plan it again"
        )
    return stack


def check_content(stack: Stack, source: Source | None, fingerprint: str) -> None:
    """Raise ValueError if a stack is another than the one that a plan was made for.

    Parameters
    ----------
    stack : Stack
    source : Source or None
        Of the plan. What has none, and what is read in another way, can't be compared with it.
    fingerprint : str
        Of the plan, where its stack lives in memory.
    """
    given = stack.source
    if source is None:
        now = of_pixels(stack) if fingerprint and given is None else ""
        alike = now.partition("-")[0] == fingerprint.partition("-")[0]
        if alike and not agree(fingerprint, now):
            raise ValueError(
                "the array holds other pixels than the one that the plan was made for: give that "
                "one, or plan it again"
            )
    elif given == source:
        _must_be_unchanged(source)
    elif (
        given is not None
        and given.reader == source.reader
        and not agree(source.fingerprint, given.fingerprint)
    ):
        raise ValueError(
            f'the plan was made for "{source.address}", and the content of "{given.address}" is '
            "another: leave the stack out, or plan it again"
        )


def _must_be_unchanged(source: Source) -> None:
    """Look again at what was opened a while ago; files of many pages take long to open."""
    from napari_deblur.readers._files import file_fingerprint

    if source.reader in OF_ONE_FILE and source.fingerprint.count("-") == 1:  # and not of several
        _compare(source, file_fingerprint(source.address))
    else:
        reopen(source)


def _compare(source: Source, now: str) -> None:
    if not agree(source.fingerprint, now):
        raise ValueError(
            f'"{source.address}" has changed since it was opened first, and what was decided then '
            "does not fit it: put back what was there, or plan it again as new data"
        )


def coarsest(stack: Stack) -> Stack | None:
    """Give the same stack at the lowest resolution of its pyramid; None if there is only one.

    A region that was selected becomes the voxels of that resolution that cover it.
    """
    source = stack.source
    if source is None or source.level >= stack.levels - 1:
        return None
    bare = replace(source, level=stack.levels - 1, times=None, channels=None, region=None)
    coarse = reopen(replace(bare, fingerprint="", pixel_size=None))
    fine = replace(stack.pixels, times=None, channels=None, region=None).shape[2:]
    factors = [a / b for a, b in zip(fine, coarse.shape[2:], strict=True)]
    if source.pixel_size is not None:
        z, y, x = (
            None if v is None else v * f for v, f in zip(source.pixel_size, factors, strict=True)
        )
        coarse = reopen(replace(bare, fingerprint="", pixel_size=(z, y, x)))
    region: Region | None = None
    if source.region is not None:
        z_span, y_span, x_span = (
            (int(start / f), min(math.ceil(stop / f), size))
            for (start, stop), f, size in zip(source.region, factors, coarse.shape[2:], strict=True)
        )
        region = (z_span, y_span, x_span)
    return coarse.selected(times=source.times, channels=source.channels, region=region)


def _sizes(pixel_size: float | Sequence[float | None] | None) -> Sizes | None:
    """Give (z, y, x) of what a user may say."""
    if pixel_size is None:
        return None
    plain = pixel_size.tolist() if hasattr(pixel_size, "tolist") else pixel_size
    values = list(plain) if isinstance(plain, Sequence) else [plain] * 3
    if len(values) == 2:
        values = [None, *values]
    if len(values) != 3 or not all(
        v is None or (isinstance(v, int | float) and math.isfinite(v) and v > 0) for v in values
    ):
        raise ValueError(
            f"pixel_size={pixel_size!r} is no size of voxels: give (z, y, x), (y, x) or one "
            "number, in µm and above 0"
        )
    z, y, x = (None if v is None else float(v) for v in values)
    return z, y, x


def _address(text: str) -> str:
    """Give a URL as it is, and a path so that it holds in other processes."""
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    if "://" in text:
        refuse_credentials(text)
        return text
    if not text:
        raise ValueError('the path is empty: give the path of an image, e.g. "cells.ome.zarr"')
    path = os.path.abspath(os.path.expanduser(text))
    _must_exist(path)
    return path


def _must_exist(address: str) -> None:
    if "://" not in address and not Path(address).exists():
        raise FileNotFoundError(f'there is no file or folder "{address}"')


def _reader_for(address: str) -> Reader:
    """Give the reader that accepts the content, whatever the name is."""
    for name in readers:
        reader: Reader = readers[name]()
        if reader.accepts(address):
            return reader
    patterns = sorted({pattern for name in readers for pattern in readers[name].patterns})
    kinds = f"what can be opened is {', '.join(patterns)}"
    path = Path(address)
    if is_address(address) and not Remote.read(address).exists():
        raise FileNotFoundError(f'there is nothing at "{address}"')
    if "://" in address:
        raise ValueError(
            f'there is no zarr store and no TIFF at "{address}": over a network only those are '
            "read, and what is in a folder is named by a pattern such as s3://BUCKET/NAME/*.zarr"
        )
    if path.is_dir():
        raise ValueError(f'the folder "{address}" is no zarr store: {kinds}')
    if path.stat().st_size == 0:
        raise ValueError(f'the file "{address}" is empty (0 bytes): {kinds}')
    raise ValueError(f'the content of "{address}" is of no known kind, whatever its name: {kinds}')


def _open_memory(source: Any, axes: str | None, size: Sizes | None, *, sparse: bool) -> Stack:
    if isinstance(source, Stack):
        return _again(source, axes, size)
    if not all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__")):
        raise TypeError(
            f"a stack is opened from a path, a URL or an array, not from {type(source).__name__}: "
            "make it an array with numpy.asarray"
        )
    if any(isinstance(n, float) for n in source.shape):
        raise ValueError(
            "the array does not know its own shape: call compute_chunk_sizes() on it first"
        )
    if isinstance(getattr(source, "_meta", source), np.ma.MaskedArray):
        raise ValueError(
            "the array has a mask, and what lies under it would be taken for pixels: fill it "
            'first, with NaN for no data, e.g. array.astype("f4").filled(numpy.nan)'
        )
    if type(source).__module__.partition(".")[0] == "zarr":
        return _open_zarr(source, axes, size, sparse=sparse)
    from napari_deblur.readers._building import Found, build_stack, chosen_axes

    letters = chosen_axes(axes, None, tuple(source.shape))
    return build_stack(None, source, letters, Found(), pixel_size=size)


def _again(stack: Stack, axes: str | None, size: Sizes | None) -> Stack:
    if axes is not None and axes.lower() != stack.axes:
        raise ValueError(
            f'axes="{axes}" were asked for but the stack is open already, with axes '
            f'"{stack.axes}": give the array or path it was opened from'
        )
    if size is None:
        return stack
    source = replace(stack.source, pixel_size=size) if stack.source is not None else None
    return replace(stack, pixel_size=size, source=source)


def _open_zarr(array: Any, axes: str | None, size: Sizes | None, *, sparse: bool) -> Stack:
    """Open a zarr array by its path where it has one, so that other processes can too."""
    from napari_deblur.readers._building import Found, build_stack, chosen_axes
    from napari_deblur.readers._zarr_pixels import stored_pixels
    from napari_deblur.readers.zarr_array import stated_axes

    root = getattr(array.store, "root", None)
    if isinstance(root, Path):
        address = _address(str(root / array.path))
        stack: Stack = readers["zarr-array"]()(Source(address, "", axes, size, sparse=sparse))
        return stack
    letters = chosen_axes(axes, stated_axes(array), tuple(array.shape))
    pixels = stored_pixels(array, array.path or "the zarr array", sparse=sparse)
    return build_stack(None, pixels, letters, Found(), pixel_size=size)
