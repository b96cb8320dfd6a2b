"""Errors as sentences that say the way out. No windows here."""

from __future__ import annotations

__all__ = ["words"]

REPORT = "https://github.com/napari-deblur/napari-deblur/issues"


def words(error: BaseException) -> str:
    """Say an error as a sentence; of what nobody foresaw, say so and where to report it."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory: close other programs, or do less at a time, such as a "
            "smaller tile under Advanced"
        )
    if isinstance(error, RuntimeError) and "out of memory" in text:  # as torch says it
        return (
            "the graphics card has not enough memory: do less at a time, such as a smaller tile "
            'under Advanced, or choose the device "cpu" under Preferences'
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, ValueError | TypeError | OSError) and str(error):
        return str(error)
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    return f"something went wrong that nobody foresaw ({said}): please report it at {REPORT}"
