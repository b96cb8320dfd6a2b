"""Zeiss' czi, by the package bioio and its plug-in: planes are read when they are asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from napari_deblur.readers._building import Found, build_stack, chosen_axes, only, stored_in
from napari_deblur.readers._extra import needed
from napari_deblur.readers._files import file_fingerprint, first_bytes
from napari_deblur.readers._ome_xml import read_ome_xml
from napari_deblur.readers._planes import check_series, decoding
from napari_deblur.stack import Channel

if TYPE_CHECKING:
    from napari_deblur.stack import Source, Stack

__all__ = ["BioIO"]


@dataclass(frozen=True)
class BioIO:
    """Opens one scene of a file of Zeiss' ZEN."""

    patterns: ClassVar[tuple[str, ...]] = ("*.czi",)

    def accepts(self, address: str) -> bool:
        """Say whether the file begins like a czi."""
        return first_bytes(address).startswith(b"ZISRAWFILE")

    def titles(self, address: str) -> tuple[str, ...]:
        """Name the scenes."""
        return tuple(_opened(address).scenes)

    def __call__(self, source: Source) -> Stack:
        """Open a scene, the first one if none is named.

        Raises
        ------
        ValueError
            When a package is missing, the file is damaged, or there is no such scene.
        """
        only(source, series=True)
        image, series = _opened(source.address), source.series or 0
        check_series(series, len(image.scenes), source.address)
        with decoding(source.address):
            image.set_scene(series)
            data, letters = image.dask_data, image.dims.order.lower()
            found = _found(image, series)
        long = [n for n, (a, size) in enumerate(zip(letters, data.shape, strict=True))
                if size > 1 or a in "yx"]  # fmt: skip
        data = data[tuple(slice(None) if n in long else 0 for n in range(data.ndim))]
        stated = "".join(letters[n] for n in long)
        axes = chosen_axes(source.axes, stated, data.shape)
        source = stored_in(source, "bioio", file_fingerprint(source.address))
        return build_stack(source, data, axes, found, stated=stated)


def _opened(address: str) -> Any:
    bioio = needed("bioio", address, " bioio-czi")
    plugin = needed("bioio_czi", address, " bioio-czi (that one is under the GPL)")
    with decoding(address):
        # Else whole volumes are read at once.
        return bioio.BioImage(address, reader=plugin.Reader, chunk_dims=["Y", "X"])


def _found(image: Any, series: int) -> Found:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of words that OME does not know
            found = read_ome_xml(image.ome_metadata.to_xml(), series)
    except Exception:  # noqa: BLE001 - what a plug-in cannot translate is not known
        found = Found()
    if any(size is not None for size in found.pixel_size):
        return found
    z, y, x = image.physical_pixel_sizes
    names = tuple(Channel(str(name)) for name in image.channel_names or ())
    return Found((z, y, x), None, found.channels or names, found.optics)
