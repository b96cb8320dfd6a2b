"""A plain zarr array, of version 2 or 3, or a group that holds just one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import zarr

from napari_deblur.readers._building import Found, build_stack, chosen_axes, only, stored_in
from napari_deblur.readers._zarr_nodes import looks_like_zarr, open_array, open_node
from napari_deblur.readers._zarr_pixels import stored_pixels
from napari_deblur.readers._zarr_samples import fingerprint

if TYPE_CHECKING:
    from napari_deblur.stack import Source, Stack

__all__ = ["ZarrArray"]

LETTERS = {"time": "t", "frame": "t", "channel": "c", "depth": "z", "plane": "z"}


@dataclass(frozen=True)
class ZarrArray:
    """Opens a zarr array, which knows its axes only if they are named in its metadata."""

    patterns: ClassVar[tuple[str, ...]] = ("*.zarr",)

    def accepts(self, address: str) -> bool:
        """Say whether zarr finds a group or an array there."""
        if not looks_like_zarr(address):
            return False
        if "://" not in address:
            return True
        try:
            open_node(address)
        except FileNotFoundError:
            return False
        return True

    def __call__(self, source: Source) -> Stack:
        """Open the array, or the only one of a group.

        Raises
        ------
        ValueError
            When a group holds none or several, or when no axes are known.
        """
        only(source)
        node = open_node(source.address)
        if isinstance(node, zarr.Array):
            array = open_array(node, "", source.address)
        else:
            array = open_array(node, _only_array(node, source.address), source.address)
        axes = chosen_axes(source.axes, stated_axes(array), tuple(array.shape))
        pixels = stored_pixels(array, source.address, sparse=source.sparse)
        source = stored_in(source, "zarr-array", fingerprint(pixels, stated_axes(array)))
        return build_stack(source, pixels, axes, Found())


def stated_axes(array: Any) -> str | None:
    """Give the axes that an array's metadata name, a letter each, or None."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or len(names) != array.ndim or not all(isinstance(n, str) for n in names):
        return None
    letters = [LETTERS.get(name.lower(), name.lower()) for name in names]
    return "".join(letter if len(letter) == 1 else "?" for letter in letters)


def _only_array(group: Any, address: str) -> str:
    try:
        paths = sorted(path for path, node in group.members(max_depth=3) if hasattr(node, "shape"))
    except (NotImplementedError, OSError) as error:
        raise ValueError(
            f'the content of "{address}" cannot be listed over this connection: '
            "give the address of an array in it"
        ) from error
    if not paths:
        raise ValueError(f'"{address}" is a zarr group without arrays: give the path of an array')
    if len(paths) > 1:
        listed = ", ".join(paths[:12]) + (", …" if len(paths) > 12 else "")
        raise ValueError(
            f'"{address}" is a zarr group of {len(paths)} arrays ({listed}): '
            f'give the path of one, e.g. "{address.rstrip("/")}/{paths[0]}"'
        )
    return str(paths[0])
