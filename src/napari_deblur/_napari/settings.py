"""What the user set under Preferences; defaults where napari has no page for plugins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Preferences", "preferences"]

# Of the manifest: categories and what is in them.
PAGE = {"runs": ("device", "memory_fraction", "scratch"), "preview": ("live", "side")}
# Not among temporary files, which are cleared away, or lie in memory: what took hours stays.
_FOLDER = Path.home() / "napari-deblur" / "results"
_TRAINED = Path.home() / "napari-deblur" / "trained"


@dataclass(frozen=True)
class Preferences:
    """What can be set under Preferences.

    Parameters
    ----------
    device : str
        Where to compute.
    memory_fraction : float
        Share of the free memory that one task may use.
    scratch : str
        Where results go if the user chooses no other place; "" for the usual one.
    live : bool
        Whether the preview follows every change.
    side : int
        Pixels of a new preview region along y and x.
    """

    device: str = "auto"
    memory_fraction: float = 0.5
    scratch: str = ""
    live: bool = True
    side: int = 256

    @property
    def folder(self) -> Path:
        """Where results and copies go if the user chooses no other place."""
        if self.scratch.strip():
            return Path(self.scratch.strip()).expanduser().absolute()
        return _FOLDER

    @property
    def trained(self) -> Path:
        """Where the folders of trainings are; each holds its weights."""
        return _TRAINED


def preferences() -> Preferences:
    """Read the page of Preferences; napari has it from 0.9 on."""
    try:
        from napari.settings import get_plugin_settings

        page = get_plugin_settings("napari-deblur")
    except (ImportError, KeyError, AttributeError):  # an older napari, or not installed
        return Preferences()
    default, found = Preferences(), {}
    for category, names in PAGE.items():
        part = getattr(page, category, None)
        for name in names:
            usual = getattr(default, name)
            found[name] = type(usual)(getattr(part, name, usual))
    return Preferences(**found)
