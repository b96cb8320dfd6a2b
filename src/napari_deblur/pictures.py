"""Drawing: arrays, curves and words on a dark page, with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DIM",
    "FIXED",
    "GLOW",
    "GREY",
    "PAGE",
    "SIGNED",
    "TEXT",
    "Box",
    "Page",
    "Picture",
    "wrapped",
]

PAGE, PANEL, TEXT, DIM, ACCENT = "#0e1014", "#171a20", "#f2f4f7", "#98a1ad", "#ffc857"
CURVES = ("#ffc857", "#5fb3f9", "#7bd88f")
# Colours at equal distances, from the lowest value to the highest.
GREY = ("#000000", "#ffffff")
GLOW = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")
SIGNED = ("#8fd3ff", "#2f7fd6", "#14161b", "#d6602f", "#ffd08f")
# Pillow's own font is Latin without µ and ×; one of these is on nearly every system.
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc")
FIXED = "\N{NO-BREAK SPACE}"
PLAIN = str.maketrans({"µ": "u", "×": "x", "–": "-", "√": "sqrt ", "±": "+-", "−": "-", FIXED: " "})


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Picture:
    """An image (y, x) or (y, x, 3) with what is needed to draw it truly.

    Parameters
    ----------
    limits : values that are drawn darkest and brightest
    pixel : (y, x), sizes of a pixel, for the aspect
    unit : str
        Of these sizes; a scale bar is drawn if there is one.
    mark : (y0, y1, x0, x1) in pixels, or None
        A frame to draw.
    power : float
        Of the values between the limits; 0.5 shows what is faint.
    """

    values: NDArray[Any]
    limits: tuple[float, float]
    pixel: tuple[float, float] = (1.0, 1.0)
    unit: str = ""
    colours: Sequence[str] = GREY
    mark: tuple[int, int, int, int] | None = None
    power: float = 1.0

    @property
    def aspect(self) -> float:
        """Height over width, as drawn."""
        height, width = self.values.shape[:2]
        return float(height * self.pixel[0] / (width * self.pixel[1]))

    def rendered(self) -> Image.Image:
        """Give 8-bit colours, one for each pixel."""
        low, high = self.limits
        share = np.nan_to_num((self.values - low) / max(high - low, 1e-30))
        share = np.clip(share, 0, 1) ** self.power
        if share.ndim == 3:
            return Image.fromarray((255 * share).round().astype(np.uint8))
        stops = np.linspace(0, 1, len(self.colours))
        table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colours])
        bands = [np.interp(share, stops, table[:, band]) for band in range(3)]
        return Image.fromarray(np.stack(bands, axis=-1).round().astype(np.uint8))


class Page:
    """A dark page to draw on."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAGE)
        self.draw = ImageDraw.Draw(self.image)

    def words(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: int = 17,
        fill: str = TEXT,
        at: str = "la",
    ) -> None:
        """Write a line; `at` is Pillow's anchor."""
        font, shown = _shown(text, size)
        self.draw.text((left, top), shown, font=font, fill=fill, anchor=at)

    def heading(self, box: Box, title: str, aside: str = "") -> None:
        """Write a title above a box, and something in grey at its right."""
        self.words(box.left, box.top - 9, title, at="ls")
        self.words(box.left + box.width, box.top - 9, aside, size=14, fill=DIM, at="rs")

    def picture(self, box: Box, picture: Picture) -> None:
        """Draw an image as large as it fits, in its true aspect."""
        width = min(box.width, round(box.height / picture.aspect))
        height = min(box.height, round(width * picture.aspect))
        rendered = picture.rendered()
        pixels = rendered.width
        # Pixels that are seen as pixels stay so; what is shrunk is averaged.
        how = Image.Resampling.BICUBIC if width < 4 * pixels else Image.Resampling.NEAREST
        how = Image.Resampling.BOX if width < pixels else how
        left, top = box.left + (box.width - width) // 2, box.top + (box.height - height) // 2
        self.image.paste(rendered.resize((max(width, 1), max(height, 1)), how), (left, top))
        if picture.mark is not None:
            y0, y1, x0, x1 = picture.mark
            sy, sx = height / rendered.height, width / rendered.width
            frame = (left + x0 * sx, top + y0 * sy, left + x1 * sx - 1, top + y1 * sy - 1)
            self.draw.rectangle(frame, outline=ACCENT, width=2)
        if picture.unit:
            self._scale_bar(Box(left, top, width, height), picture.pixel[1] * pixels, picture.unit)

    def _scale_bar(self, box: Box, length: float, unit: str) -> None:
        bar = _round(length / 4)
        long = round(box.width * bar / length)
        right, bottom = box.left + box.width - 14, box.top + box.height - 14
        if long < 8 or min(box.width, box.height) < 110:
            return
        for grow, colour in ((1, "#000000"), (0, TEXT)):
            corners = (right - long - grow, bottom - 4 - grow, right + grow, bottom + grow)
            self.draw.rectangle(corners, fill=colour)
        for dx, dy, colour in ((1, 1, "#000000"), (-1, -1, "#000000"), (0, 0, TEXT)):
            x, y = right - long / 2 + dx, bottom - 9 + dy
            self.words(x, y, f"{bar:g} {unit}", size=14, fill=colour, at="ms")

    def curves(self, box: Box, curves: Mapping[str, NDArray[np.float64]]) -> None:
        """Draw curves over 1, 2, 3, …, each scaled to its own first value."""
        self.draw.rectangle((box.left, box.top, *_end(box)), fill=PANEL)
        inner = Box(box.left + 62, box.top + 16, box.width - 84, box.height - 50)
        shares = {k: v / max(float(v[0]), 1e-30) for k, v in curves.items()}
        low = min(float(np.nanmin(v)) for v in shares.values())
        high = max(float(np.nanmax(v)) for v in shares.values())
        low, high = max(low, 1e-6), max(high, low * 1.01)
        longest = max(v.size for v in shares.values())

        def place(step: float, share: float) -> tuple[float, float]:
            x = inner.left + inner.width * (step - 1) / max(longest - 1, 1)
            up = math.log(max(share, low) / low) / math.log(high / low)
            return x, inner.top + inner.height * (1 - up)

        for share in (low, math.sqrt(low * high), high):
            y = place(1, share)[1]
            self.draw.line((inner.left, y, inner.left + inner.width, y), fill="#2a2f38")
            self.words(inner.left - 8, y, f"{100 * share:.3g} %", size=13, fill=DIM, at="rm")
        for step in (1, longest):
            x = place(step, low)[0]
            self.words(x, inner.top + inner.height + 8, str(step), size=13, fill=DIM, at="ma")
        for n, (name, values) in enumerate(shares.items()):
            points = [place(i + 1, v) for i, v in enumerate(values) if np.isfinite(v)]
            self.draw.line(points, fill=CURVES[n % 3], width=3, joint="curve")
            end = inner.left + inner.width
            self.words(end, inner.top + 6 + 22 * n, name, size=14, fill=CURVES[n % 3], at="ra")


def wrapped(text: str, width: float, *, size: int = 17) -> list[str]:
    """Break a text at spaces into lines that are no wider than `width`, single words left whole."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        font, shown = _shown(longer, size)
        if lines and font.getlength(shown) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _shown(text: str, size: int) -> tuple[Any, str]:
    """Give a font, and the text in its letters."""
    font, whole = _font(size)
    return font, text if whole else text.translate(PLAIN).encode("ascii", "replace").decode()


def _end(box: Box) -> tuple[int, int]:
    return box.left + box.width - 1, box.top + box.height - 1


def _round(length: float) -> float:
    """Give the largest of 1, 2, 5 × 10ⁿ up to `length`."""
    power = float(10.0 ** math.floor(math.log10(length)))
    return power * max(m for m in (1, 2, 5) if m * power <= length * 1.0001)


@lru_cache(maxsize=16)
def _font(size: int) -> tuple[Any, bool]:
    """Give a font, and whether it has more than ASCII."""
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size), True
        except OSError:
            continue
    return ImageFont.load_default(size=size), False
