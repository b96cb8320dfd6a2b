"""What a layer's own file says of voxels, channels and optics. No windows here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur.opening import open_stack

if TYPE_CHECKING:
    from napari_deblur.stack import Channel, Optics

__all__ = ["Said", "is_quick", "said_by"]

Sizes = tuple[float | None, float | None, float | None]

# Bytes of a file whose headers the window reads by itself.
QUICK = 2**26
# Pages of a TIFF, and letters that are said of them, which it does not read by itself.
MANY = 100
LONG = 2**16


@dataclass(frozen=True)
class Said:
    """What a file says of its voxels, channels and optics."""

    pixel_size: Sizes | None
    channels: tuple[Channel, ...]
    optics: Optics


def said_by(path: Any) -> Said | None:
    """Read what a file says; once, as long as it does not change, as a TIFF may have many pages.

    None where there is no file, or it lies in a network: the window waits for none.
    """
    if not path or "://" in str(path):
        return None
    try:
        state = Path(path).stat()
    except OSError:
        return None
    # Of a folder it does not tell when what lies in it changes.
    read = _said.__wrapped__ if Path(path).is_dir() else _said
    return read(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _said(path: str, _changed: int, _bytes: int) -> Said | None:
    try:
        found = open_stack(path)
    except (ValueError, OSError, TypeError, KeyError):
        return None
    return Said(found.pixel_size, found.channels, found.optics)


def is_quick(path: Any) -> bool:
    """Tell whether `said_by` takes no time: a TIFF can have many pages."""
    if not path or "://" in str(path):
        return True
    try:
        return Path(path).is_dir() or (Path(path).stat().st_size < QUICK and not _has_many(path))
    except OSError:
        return True


def _has_many(path: Any) -> bool:
    """Tell whether a file is a TIFF of many pages, or of a long text on them, without reading it.

    A page costs 0.4 ms.
    """
    import tifffile

    from napari_deblur.readers.tiff import DAMAGE

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.ome_metadata or "") > LONG:
                return True
            file.pages[MANY]  # counts no further
    except (*DAMAGE, ValueError):
        return False
    return True
