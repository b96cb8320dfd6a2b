"""A real stack to try things on. Source, authors and licence: README.md beside this file."""

from importlib.resources import files
from pathlib import Path

__all__ = ["sample_path"]


def sample_path() -> Path:
    """Give the path of the bundled stack, a confocal Arabidopsis embryo (80, 112, 109), uint8.

    Examples
    --------
    >>> sample_path().name
    'arabidopsis_embryo.tif'
    """
    return Path(str(files(__name__) / "arabidopsis_embryo.tif"))
