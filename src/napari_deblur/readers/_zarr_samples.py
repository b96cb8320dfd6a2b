"""What tells a zarr array from another of its kind: its metadata, and bytes of a few chunks.

Neither times of change nor ETags: they differ in a copy that was put back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur.fingerprints import sample_of, spread
from napari_deblur.places import Remote, is_address, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_deblur.places import Place
    from napari_deblur.readers._zarr_pixels import Stored

__all__ = ["fingerprint", "plain_metadata"]

CHUNKS, OF_A_BUCKET = 16, 8
AT_ONCE = 8
WHOLE, PIECE = 2**16, 2**12  # bytes: of a chunk that is read whole, and of parts of a larger one
NONE = "none"  # where a chunk that is not stored is content


def fingerprint(pixels: Stored, *metadata: object) -> str:
    """Give a word for an array's metadata and whatever else decides how it is read, and samples.

    A few dozen reads of 4 KiB, or as many requests. Where neither a disk nor a bucket is below,
    the metadata are all.
    """
    array = pixels.array
    plain = json.dumps([plain_metadata(array), *metadata], sort_keys=True, default=str)
    head = hashlib.sha256(plain.encode()).hexdigest()[:16]
    return "-".join((head, *_samples(pixels)))


def plain_metadata(array: Any) -> Any:
    """Give what is known of an array, without its attributes."""
    whole = array.metadata.to_dict()
    return {name: value for name, value in whole.items() if name != "attributes"}


def _samples(pixels: Stored) -> list[str]:
    address, array = pixels.address, pixels.array
    if "://" in address and not is_address(address):
        return []
    files = pixels.shards or pixels.chunks
    counts = [math.ceil(n / size) for n, size in zip(pixels.shape, files, strict=True)]
    folder = place_of(address) / array.path
    picked = spread(counts, OF_A_BUCKET if isinstance(folder, Remote) else CHUNKS)
    if not picked:
        return []
    names = [array.metadata.encode_chunk_key(at) for at in picked]
    look = partial(
        _sample, pieces=max(2, CHUNKS // len(names)), missing=NONE if pixels.sparse else ""
    )
    with ThreadPoolExecutor(min(AT_ONCE, len(names))) as threads:
        return list(threads.map(look, [folder / name for name in names]))


def _sample(file: Place, *, pieces: int, missing: str) -> str:
    """Give a word for the size of a file and parts of it; nothing where it can't be read."""
    try:
        if isinstance(file, Path) and not file.is_file():  # a pipe would be waited for
            return "" if file.exists() else missing
        with file.open("rb") as opened:
            raw: Any = opened.raw  # nothing is read ahead
            size = raw.seek(0, os.SEEK_END)
            parts = [size.to_bytes(8, "little")]
            for start, stop in _parts(size, pieces):
                raw.seek(start)
                parts.append(raw.read(stop - start) or b"")
    except FileNotFoundError:
        return missing
    except OSError:
        return ""
    return sample_of(*parts)


def _parts(size: int, pieces: int) -> Iterator[tuple[int, int]]:
    """Give what is read of a file: evenly over it, with its end, where sums and indices lie."""
    if size <= WHOLE:
        yield 0, size
        return
    for number in range(1, pieces + 1):
        stop = size * number // pieces
        yield stop - PIECE, stop
