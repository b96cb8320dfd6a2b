"""Packages that only some files need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["needed"]


def needed(package: str, address: str, more: str = "") -> Any:
    """Import a package of the extra ``bioio``.

    Raises
    ------
    ValueError
        When it is not installed; `more` is what has to be installed besides the extra.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ValueError(
            f'reading "{address}" needs the package {package}: '
            f"pip install 'napari-deblur[bioio]'{more}"
        ) from error
