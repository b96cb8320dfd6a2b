"""First looks at a file."""

from __future__ import annotations

import errno
from typing import Any

from napari_deblur.places import is_address, place_of

__all__ = ["file_fingerprint", "first_bytes", "is_of_the_disk", "opened"]


def opened(address: str) -> Any:
    """Give what libraries open: a path, or an open file that reads an object in ranges."""
    return place_of(address).open("rb") if is_address(address) else address


def first_bytes(address: str, count: int = 32, *, remote: bool = False) -> bytes:
    """Give the beginning of a file; nothing for a folder, or for a URL unless `remote`."""
    if "://" in address and not (remote and is_address(address)):
        return b""
    path = place_of(address)
    try:
        if not path.is_file():
            return b""
    except PermissionError:  # so a bucket that may not be listed says of what is not there
        return b""
    with path.open("rb") as file:
        return file.read(count)


def file_fingerprint(address: str) -> str:
    """Give size and time of the last change."""
    stat = place_of(address).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def is_of_the_disk(error: BaseException) -> bool:
    """Whether an error is of the disk, the network or a permission, and none of the content.

    A place that damaged content names may lie before the file's begin: an invalid argument.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
