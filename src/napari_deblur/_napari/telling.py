"""How far a run is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_deblur._napari.texts import lasting

__all__ = ["said", "sentence"]


def said(progress: Mapping[str, Any]) -> str:
    """Say in one line how far a run is."""
    what = {"tiles": "tile", "pyramid": "lower resolutions, chunk"}.get(progress["phase"])
    if what is None:
        return sentence(progress["note"] or progress["phase"])
    text = f"{what} {progress['done']} of {progress['total']}"
    if progress["eta"] is not None and progress["done"] < progress["total"]:
        text += f", about {lasting(progress['eta'])} left"
    if progress["failed"]:
        text += f", {progress['failed']} failed"
    return sentence(text + (f": {progress['note']}" if progress["note"] else ""))


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]
