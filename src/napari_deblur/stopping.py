"""Why a run stops at once, in one sentence, and how it goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from napari_deblur.places import Place, clock, is_address, place_of

__all__ = [
    "ImageStopped",
    "RunStopped",
    "explained",
    "may_pass",
    "refuse_away",
    "refuse_gone",
    "stops_the_run",
]

# The disk is full or not ours to write to, a server is away: no other tile would fare better.
FATAL = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EHOSTUNREACH")
    if hasattr(errno, name)
}
# A network drive is away for a moment, or there are too many files open: later it may work.
PASSING = {
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "EREMOTEIO", "ENETDOWN", "ENETUNREACH"),
        *("EHOSTDOWN", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EMFILE", "ENFILE"),
    )
    if hasattr(errno, name)
}
WAYS = {
    errno.ENOSPC: "free some space",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EHOSTUNREACH: "wait until the network and the server work again",
    errno.EROFS: "make it writable",
    errno.EMFILE: "let more files be open (ulimit -n)",
    getattr(errno, "EDQUOT", errno.ENOSPC): "free some of your quota",
}
NO_PERMISSION = "get the permission to read and write there"
LATER = "wait until the disk or the network works again"
OTHER = "see to that"
KEPT = "then run the same again: what is done is kept"
SHARING = 32  # Windows: another program has the file open at this moment


class RunStopped(OSError):
    """The run cannot go on now, but can be continued: the text says why and how."""


class ImageStopped(RunStopped):
    """The run of this image cannot go on now; that of another one may."""


def stops_the_run(error: BaseException) -> bool:
    """Whether an error would meet every tile: disk full, read-only, no permission, a lost claim."""
    while error is not None:
        if isinstance(error, RunStopped):
            return True
        if isinstance(error, OSError) and error.errno in FATAL:
            return getattr(error, "winerror", None) != SHARING
        error = error.__cause__  # type: ignore[assignment]
    return False


def may_pass(error: BaseException) -> bool:
    """Whether the same may work in a moment: a disk or a network is away."""
    return isinstance(error, OSError) and error.errno in PASSING


def refuse_away(folder: Place, address: str | None) -> None:
    """Raise OSError if nothing can be written to a folder now, or an input does not answer."""
    clock(folder)
    if address is not None and "://" not in address:
        os.stat(address)


def refuse_gone(address: str, error: BaseException) -> None:
    """Raise RunStopped if an input is not there any more: the file, or all that was in a folder.

    Anything else that an input may suffer is of one tile, for all that is known.

    Parameters
    ----------
    address : str
        Of the input.
    error : exception
        Of a tile. On the web, which can't be listed, nothing else tells that a file is gone.
    """
    try:
        gone = _is_gone(address, error)
    except (FileNotFoundError, NotADirectoryError):
        gone = True
    except (OSError, ValueError):
        return
    if gone:
        raise RunStopped(
            f"stopped: the input {address} is no longer there; put it back, {KEPT}"
        ) from FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address)


def _is_gone(address: str, error: BaseException) -> bool:
    """Whether an input is gone; FileNotFoundError if a file is."""
    if "://" in address and not is_address(address):
        return False  # nobody here can look
    if not is_address(address):
        os.stat(address)
        return os.path.isdir(address) and not os.listdir(address)  # a drive that was taken away
    if isinstance(error, FileNotFoundError) and error.filename == address:
        return True
    return not place_of(address).exists()


@contextmanager
def explained(output: Place) -> Iterator[None]:
    """Say in one sentence why the run stops, and that it can go on."""
    try:
        yield
    except OSError as error:
        fatal = stops_the_run(error)
        # What we refuse ourselves has no number, and says what to do.
        if isinstance(error, RunStopped) or not (fatal or error.errno):
            raise
        passing = may_pass(error)
        way = WAYS.get(error.errno or 0, LATER if passing else NO_PERMISSION if fatal else OTHER)
        kind = RunStopped if fatal or passing else ImageStopped
        stopped = kind(f"stopped at {error.filename or output}: {error.strerror}; {way}, {KEPT}")
        stopped.errno = error.errno
        raise stopped from error
