"""A stack that lives in memory, put where other processes can read it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_deblur import places
from napari_deblur.stack import AXES, Pixels, Stack

if TYPE_CHECKING:
    from napari_deblur.places import Place
    from napari_deblur.plans import Layout
    from napari_deblur.tiles import Grid

__all__ = ["clear", "copied", "scratch_of", "stack_of"]

LOG = logging.getLogger(__name__)


@contextmanager
def copied(stack: Stack, store: Place, grid: Grid) -> Iterator[None]:
    """Put a stack from memory beside the store, chunk by chunk, and remove it in the end."""
    import zarr

    path = scratch_of(store)
    LOG.warning("the stack lives in memory: it is copied to %s for the workers", path)
    try:
        clear(store)
        copy = zarr.create_array(
            places.storage(path),
            shape=stack.shape,
            chunks=(1, 1, *grid.core),
            dtype=stack.dtype,
            config={"write_empty_chunks": True},  # so that one that is missing is known to be
        )
        for index in grid:
            core = grid.tile(index).core
            where = (*index[:2], *(slice(*span) for span in core))
            copy[where] = stack.read(*index[:2], core)
        yield
    finally:
        clear(store)


def scratch_of(path: Place) -> Place:
    """Say where a stack from memory is put, so that other processes can read it."""
    return path.with_name(f".{path.name}.input.zarr")


def clear(store: Place) -> None:
    """Remove what a killed run left. Who calls holds a claim, so that it is no living one's."""
    with suppress(OSError):  # it is not there, or can't be removed: it does no harm
        places.remove_tree(scratch_of(store))


def stack_of(scratch: Place, layout: Layout) -> Stack:
    """Open the copy of a stack that lived in memory.

    A worker may read on while it is removed: what is not there any more is an error.
    """
    import zarr

    from napari_deblur.readers._zarr_pixels import stored_pixels

    array = zarr.open_array(places.storage(scratch), mode="r")
    pixels = Pixels(stored_pixels(array, str(scratch)), AXES)
    return Stack(
        pixels,
        layout.axes,
        layout.pixel_size,
        layout.channels,
        layout.optics,
        layout.time_step,
        layout.rgb,
        name=layout.name,
    )
