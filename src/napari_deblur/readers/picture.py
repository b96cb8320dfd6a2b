"""PNG, JPEG and BMP pictures: one plane, grey or coloured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_deblur.readers._building import Found, build_stack, chosen_axes, only, stored_in
from napari_deblur.readers._files import file_fingerprint, first_bytes, is_of_the_disk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.stack import Source, Stack

__all__ = ["Picture"]

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
GREY = {"1": "?", "L": "u1", "LA": "u1", "I": "i4", "F": "f4"}
GREY |= {"I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I;16N": "u2"}
# Samples of a PNG's colour types, of which pillow reads no more than 8 bits with colour.
SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}


@dataclass(frozen=True)
class Picture:
    """Opens PNG, JPEG and BMP; an alpha channel of grey pictures is left out."""

    patterns: ClassVar[tuple[str, ...]] = ("*.png", "*.jpg", "*.jpeg", "*.bmp")

    def accepts(self, address: str) -> bool:
        """Say whether the file begins like one of these formats."""
        return first_bytes(address).startswith(MAGIC)

    def __call__(self, source: Source) -> Stack:
        """Open the picture, reading its header only.

        Raises
        ------
        ValueError
            When the file is damaged, too large for pillow's limit or holds several pictures.
        """
        only(source)
        base = _Pixels(source.address)
        axes = chosen_axes(source.axes, "yxs"[: len(base.shape)], base.shape)
        source = stored_in(source, "picture", file_fingerprint(source.address))
        return build_stack(source, base, axes, Found())


class _Pixels:
    """A picture's pixels, decoded when they are first asked for."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.depth, kind = _png_kind(path)
        try:
            with Image.open(path) as picture:
                self.mode = picture.mode
                self.shape: tuple[int, ...] = (picture.height, picture.width)
                pictures = getattr(picture, "n_frames", 1)
                self.transparent = "A" in picture.mode or "transparency" in picture.info
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            if is_of_the_disk(error):
                raise
            raise ValueError(f'the picture "{path}" cannot be opened: {error}') from error
        if pictures > 1:
            raise ValueError(f'"{path}" holds {pictures} pictures: save the one that is meant')
        if self.depth == 16:
            self.dtype, samples = np.dtype("u2"), SAMPLES[kind]
        else:
            self.dtype = np.dtype(GREY.get(self.mode, "u1"))
            samples = 1 if self.mode in GREY else 4 if self.transparent else 3
        self.shape += (samples,) if samples > 2 else ()

    def __getitem__(self, where: Any) -> NDArray[Any]:
        block: NDArray[Any] = self._decoded[where].copy()
        return block

    @cached_property
    def _decoded(self) -> NDArray[Any]:
        try:
            if self.depth == 16:
                from imagecodecs import png_decode

                pixels = np.asarray(png_decode(Path(self.path).read_bytes()))
                return pixels[..., 0] if pixels.ndim > len(self.shape) else pixels
            with Image.open(self.path) as picture:
                if self.mode == "LA":
                    return np.asarray(picture.getchannel("L"))
                if self.mode not in GREY:
                    return np.asarray(picture.convert("RGBA" if self.transparent else "RGB"))
                return np.asarray(picture)
        except (OSError, SyntaxError, RuntimeError) as error:
            if is_of_the_disk(error):
                raise
            raise ValueError(
                f'the pixels of "{self.path}" are damaged or cut short ({error}): copy it again'
            ) from error


def _png_kind(path: str) -> tuple[int, int]:
    head = first_bytes(path)
    return (head[24], head[25]) if head.startswith(MAGIC[0]) and len(head) > 25 else (0, 0)
