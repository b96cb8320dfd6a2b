"""What the user set under Preferences; defaults where napari has no page for plugins."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Preferences", "preferences"]

_FOLDER = Path(tempfile.gettempdir()) / "napari-deblur"


@dataclass(frozen=True)
class Preferences:
    """Device, the share of free memory that one task may use, and where results go."""

    device: str = "auto"
    memory_fraction: float = 0.5
    scratch: str = ""

    @property
    def folder(self) -> Path:
        """Where results and copies go if the user chooses no other place."""
        if self.scratch.strip():
            return Path(self.scratch.strip()).expanduser().absolute()
        return _FOLDER


def preferences() -> Preferences:
    """Read the page of Preferences; napari has it from 0.9 on."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return Preferences()
    try:
        runs = get_plugin_settings("napari-deblur").runs
    except (KeyError, AttributeError):  # the widget of a package that is not installed
        return Preferences()
    return Preferences(str(runs.device), float(runs.memory_fraction), str(runs.scratch))
