"""Real stacks to try things on. Sources, authors and licences: README.md beside this file."""

from importlib.resources import files
from pathlib import Path

__all__ = ["sample_path"]


def sample_path(name: str = "arabidopsis_embryo") -> Path:
    """Give the path of a bundled stack.

    Parameters
    ----------
    name : "arabidopsis_embryo" or "chromosomes"
        A confocal Arabidopsis embryo (80, 112, 109), hardly blurred at its voxel size; or noisy
        chromosomes (40, 152, 126), finely sampled. Both uint8.

    Examples
    --------
    >>> sample_path().name
    'arabidopsis_embryo.tif'
    """
    return Path(str(files(__name__) / f"{name}.tif"))
