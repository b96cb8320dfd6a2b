"""TIFF files as tifffile opens them, and in words what it finds wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import tifffile

from napari_deblur.places import is_address
from napari_deblur.readers._files import opened

__all__ = ["DAMAGE", "damage_named", "file_at"]

# What tifffile raises for bytes that were changed, found by changing them.
DAMAGE = (
    tifffile.TiffFileError,
    struct.error,
    LookupError,
    TypeError,
    RuntimeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
)


def file_at(address: str) -> tifffile.TiffFile:
    """Open a TIFF; several positions of Micro-Manager as images, as its OME-XML has them."""
    name = address if is_address(address) else None
    tif = tifffile.TiffFile(opened(address), name=name)
    if tif.is_mmstack and "R" in tif.series[0].axes:
        tif.close()
        tif = tifffile.TiffFile(opened(address), name=name, is_mmstack=False)
    return tif


@contextmanager
def damage_named(address: str) -> Iterator[None]:
    """Say in words what tifffile says of damage; what we say ourselves stays as it is."""
    try:
        yield
    except (*DAMAGE, ValueError) as error:
        frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
        if isinstance(error, ValueError) and "tifffile.tifffile" not in frames:
            raise
        raise ValueError(
            f'"{address}" is a damaged TIFF ({" ".join(str(error).split())[:120]}): '
            "copy it again from where it came from"
        ) from error
