"""First looks at a file."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from napari_deblur.fingerprints import STEPS, sample_of, spread
from napari_deblur.places import Remote, is_address, place_of

if TYPE_CHECKING:
    from napari_deblur.places import Place

__all__ = ["file_fingerprint", "first_bytes", "is_of_the_disk", "opened"]

# Of a file's bytes: so many pieces of so many. A change of a 30th of it, all in one place, is seen.
PIECES, OF_AN_OBJECT, PIECE = 64, 8, 2**12


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


def file_fingerprint(address: str, *others: str) -> str:
    """Give the size of a file and a word for bytes all over it; another for `others` of its set.

    Times don't count: of a copy to another disk, or from an archive, they are others.
    """
    place = place_of(address)
    most = OF_AN_OBJECT if isinstance(place, Remote) else PIECES
    size, word = _looked_at(place, most)
    said = [str(size), word]
    if others:
        picked = [others[n] for (n,) in spread((len(others),), most)]
        seen = [_looked_at(place_of(one), max(2, most // len(picked))) for one in picked]
        said.append(sample_of(*(f"{size} {word} ".encode() for size, word in seen)))
    return "-".join(said)


def _looked_at(place: Place, pieces: int) -> tuple[int, str]:
    """Give the size of a file, and a word for its beginning, its end and places between."""
    with place.open("rb") as opened:
        raw: Any = opened.raw  # nothing is read ahead
        size = raw.seek(0, os.SEEK_END)
        found = [size.to_bytes(8, "little")]
        room = max(0, size - PIECE)
        # Evenly spread would keep step with the rows of an image, and be its dark edge each time.
        between = (number * STEPS[0] % 2**32 * room >> 32 for number in range(1, pieces - 1))
        for start in sorted({0, room, *between}):
            raw.seek(start)
            found.append(raw.read(PIECE) or b"")
    return size, sample_of(*found)


def is_of_the_disk(error: BaseException) -> bool:
    """Whether an error is of the disk, the network or a permission, and none of the content.

    A place that damaged content names may lie before the file's begin: an invalid argument.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
