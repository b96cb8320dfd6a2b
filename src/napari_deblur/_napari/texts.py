"""Numbers that people type, and what is read as what, in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["dotted", "lasting", "number", "read_as", "shown", "triple"]

# A comma between thousands, or before decimals: nobody can tell.
EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


def shown(value: float | None) -> str:
    """Show a number with the digits that matter; nothing for None."""
    return "" if value is None else f"{value:.6g}"


def dotted(text: str, what: str) -> str:
    """Give a number as text with a point where a comma was typed.

    Raises
    ------
    ValueError
        When the comma may as well stand between thousands.
    """
    text = text.strip()
    if EITHER.fullmatch(text):
        thousands, decimals = text.replace(",", ""), text.replace(",", ".")
        raise ValueError(f'{what} is "{text}": write {decimals} or {thousands}, without a comma')
    return text.replace(",", ".")


def number(text: str, what: str, unit: str = "") -> float | None:
    """Read a number above 0; None where nothing, or a question mark, stands.

    Raises
    ------
    ValueError
        When it is none.
    """
    text = dotted(text, what)
    if text in ("", "?"):
        return None
    try:
        value = float(text)
    except ValueError:
        of = f" of {unit}" if unit else ""
        raise ValueError(f'{what} is "{text}": give a number{of}') from None
    if not 0 < value < float("inf"):
        raise ValueError(f"{what} is {value:g}{f' {unit}' if unit else ''} and must be above 0")
    return value


def triple(text: str, what: str, example: str) -> tuple[int, int, int] | None:
    """Read z, y, x, or y, x of one plane; None for auto.

    Raises
    ------
    ValueError
        When it is neither.
    """
    text = text.strip()
    if text.lower() in ("", "auto"):
        return None
    try:
        numbers = [int(part) for part in text.replace("×", ",").replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        numbers = [1, *numbers]
    if len(numbers) != 3 or min(numbers) < 1:
        raise ValueError(f'{what} is "{text}": give z, y, x such as {example}, or auto')
    return numbers[0], numbers[1], numbers[2]


def read_as(stack: Stack, channels: int | None = None) -> str:
    """Say how the data are read: "20 time points × 2 channels of 64 × 2048 × 2048 voxels of …".

    Parameters
    ----------
    stack : Stack
    channels : int, optional
        How many there are, where some are left out.
    """
    frames, count, *sizes = stack.shape
    many = []
    if "t" in stack.axes:
        many.append(f"{frames} time point{'s' if frames > 1 else ''}")
    if "c" in stack.axes and not stack.rgb:
        of = f" of {channels}" if channels is not None and channels != count else ""
        several = (channels or count) > 1
        many.append(f"{count}{of} channel{'s' if several else ''}")
    solid = "z" in stack.axes
    shape = " × ".join(map(str, sizes if solid else sizes[1:]))
    one = f"{shape} {'voxels' if solid else 'pixels'}"
    if stack.rgb:
        one = f"{one} in colour"
    known = (stack.pixel_size or (None, None, None))[0 if solid else 1 :]
    size = "of unknown size"
    if any(v is not None for v in known):
        size = "of " + " × ".join("?" if v is None else f"{v:.4g}" for v in known) + " µm"
    what = f"{' × '.join(many)} of {one}" if many else one
    return f"{what} {size}, {stack.dtype}"


def lasting(seconds: float) -> str:
    """Say how long something takes."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
