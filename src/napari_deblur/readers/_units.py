"""Lengths in µm and times in seconds, out of the units that files are written in."""

from __future__ import annotations

import math

__all__ = ["above_zero", "micrometres", "seconds"]

MICRO_SIGNS = str.maketrans({"\u03bc": "u", "\u00b5": "u", "\u212b": "a", "\u00c5": "a"})
LENGTHS = {
    1e-6: ("pm", "picometer"),
    1e-4: ("a", "angstrom"),
    1e-3: ("nm", "nanometer"),
    1.0: ("um", "micrometer", "micron", "microns"),
    1e3: ("mm", "millimeter"),
    1e4: ("cm", "centimeter"),
    1e5: ("dm", "decimeter"),
    1e6: ("m", "meter"),
    25400.0: ("in", "inch"),
}
TIMES = {
    1e-9: ("ns", "nanosecond"),
    1e-6: ("us", "microsecond"),
    1e-3: ("ms", "msec", "millisecond"),
    1.0: ("s", "sec", "second"),
    60.0: ("min", "minute"),
    3600.0: ("h", "hr", "hour"),
    86400.0: ("d", "day"),
}
MICROMETRES = {name: factor for factor, names in LENGTHS.items() for name in names}
SECONDS = {name: factor for factor, names in TIMES.items() for name in names}


def above_zero(value: object) -> float | None:
    """Give `value` as a number if it is finite and above zero, else None: it is unknown."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _factor(unit: object, known: dict[str, float]) -> float | None:
    plain = str(unit or "").replace("\\u00B5", "u").translate(MICRO_SIGNS).strip().lower()
    for spelling in (plain, plain.replace("metre", "meter"), plain.rstrip("s")):
        for candidate in (spelling, spelling.removesuffix("s")):
            if candidate in known:
                return known[candidate]
    return None


def micrometres(value: object, unit: object) -> float | None:
    """Give a length in µm; None when the value or the unit (pixels, say) tells nothing."""
    number, factor = above_zero(value), _factor(unit, MICROMETRES)
    return None if number is None or factor is None else number * factor


def seconds(value: object, unit: object) -> float | None:
    """Give a time in seconds; None when the value or the unit tells nothing."""
    number, factor = above_zero(value), _factor(unit, SECONDS)
    return None if number is None or factor is None else number * factor
