"""What a layer's own file says of axes, voxels, channels and optics. No windows here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_deblur.opening import open_stack

if TYPE_CHECKING:
    from napari_deblur.stack import Channel, Optics

__all__ = ["Said", "is_quick", "said_at_once", "said_by", "takes_long"]

Sizes = tuple[float | None, float | None, float | None]

# Bytes of a file whose headers the window reads by itself.
QUICK = 2**26
# Pages of a TIFF, and letters that are said of them, which it does not read by itself.
MANY = 100
LONG = 2**16


@dataclass(frozen=True)
class Said:
    """What a file says of its voxels, channels and optics.

    `axes` and `shape` are as they are stored; colour samples are channels.
    """

    pixel_size: Sizes | None
    channels: tuple[Channel, ...]
    optics: Optics
    axes: str = ""
    shape: tuple[int, ...] = ()


Key = tuple[str, int, int]  # with time of change and bytes
_READ: dict[Key, Said | None] = {}
_LOCK = Lock()
KEPT = 32


def said_by(path: Any) -> Said | None:
    """Read what a file says; once, as long as it does not change, as a TIFF may have many pages.

    None where there is no file, or it lies in a network: the window waits for none.
    """
    key = _key(path)
    if key is None:
        return None
    # Of a folder it does not tell when what lies in it changes.
    with _LOCK:
        if key in _READ and not Path(path).is_dir():
            return _READ[key]
    found = _said(str(path))
    with _LOCK:
        _READ[key] = found
        for old in list(_READ)[:-KEPT]:
            del _READ[old]
    return found


def said_at_once(path: Any) -> Said | None:
    """Give what a file says if that takes no time, or if it was read before."""
    key = _key(path)
    if key is None:
        return None
    with _LOCK:
        if key in _READ:
            return _READ[key]
    return said_by(path) if is_quick(path) else None


def takes_long(path: Any) -> bool:
    """Tell whether `said_at_once` has to wait for `said_by`, in a thread."""
    key = _key(path)
    with _LOCK:
        if key is None or key in _READ:
            return False
    return not is_quick(path)


def _key(path: Any) -> Key | None:
    if not path or "://" in str(path):
        return None
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return str(path), state.st_mtime_ns, state.st_size


def _said(path: str) -> Said | None:
    try:
        found = open_stack(path)
    except (ValueError, OSError, TypeError, KeyError):
        return None
    pixels = found.pixels
    stored = tuple(int(n) for n in pixels.base.shape)
    return Said(found.pixel_size, found.channels, found.optics, pixels.axes, stored)


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

    from napari_deblur.readers._tiff_files import DAMAGE

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.ome_metadata or "") > LONG:
                return True
            file.pages[MANY]  # counts no further
    except (*DAMAGE, ValueError):
        return False
    return True
