"""Arrays of NPY and NPZ files, maybe from strangers: nothing in them runs, and nothing grows."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.readers._files import is_of_the_disk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from napari_deblur.places import Place

__all__ = ["MOST", "arrays_in", "names_in"]

# Bytes of all arrays of a file, unpacked; a megabyte may become a gigabyte of zeros.
MOST = 2**29
# What comes of bytes that were changed, found by changing them.
DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
)


def names_in(path: Place) -> list[str]:
    """Name the arrays of an NPZ file; that of an NPY file has no name, "".

    Raises
    ------
    ValueError
        When it is neither, or damaged.
    """
    with _loaded(path) as file:
        return list(file)


def arrays_in(path: Place, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read those arrays of a file that have these names, or all.

    Raises
    ------
    ValueError
        When it is no such file, is damaged, or holds Python objects or more than 512 MiB.
    """
    with _loaded(path) as file:
        read = {name: file[name] for name in file if names is None or name in names}
        # numpy gives bytes for what does not begin like an array.
        if not all(isinstance(array, np.ndarray) for array in read.values()):
            raise ValueError("it holds something else than arrays")
    return read


@contextmanager
def _loaded(path: Place) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as opened:  # numpy leaves a damaged one open
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                yield {"": loaded}
                return
            with loaded as file:
                # No more is unpacked than is said here.
                if sum(member.file_size for member in file.zip.infolist()) > MOST:
                    raise ValueError(f"it would become more than {MOST >> 20} MiB")
                yield file
    except DAMAGE as error:
        if is_of_the_disk(error):
            raise
        raise ValueError(" ".join(str(error).split())[:120] or type(error).__name__) from error
