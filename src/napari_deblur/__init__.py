"""Deconvolution of stacks of any size, with the blur kernel known or found.

>>> import napari_deblur as nd
>>> "richardson-lucy" in nd.methods
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Imported here and now (they are empty), so that importing a file of theirs later doesn't
# replace the catalogues below on this package.
import napari_deblur.methods
import napari_deblur.psfs
import napari_deblur.readers  # noqa: F401
from napari_deblur.registry import methods, psfs, readers

if TYPE_CHECKING:
    from napari_deblur.batch import run
    from napari_deblur.estimating import estimate_kernel
    from napari_deblur.job import Job
    from napari_deblur.lazy import deconvolve
    from napari_deblur.opening import open_stack
    from napari_deblur.planning import plan
    from napari_deblur.plans import Plan
    from napari_deblur.protocols import Estimate, Kernel
    from napari_deblur.stack import Stack

__version__ = "0.1.0"
__all__ = [
    "Estimate",
    "Job",
    "Kernel",
    "Plan",
    "Stack",
    "deconvolve",
    "estimate_kernel",
    "methods",
    "open_stack",
    "plan",
    "psfs",
    "readers",
    "run",
]

_HOMES = {
    "Estimate": "protocols",
    "Job": "job",
    "Kernel": "protocols",
    "Plan": "plans",
    "Stack": "stack",
    "deconvolve": "lazy",
    "estimate_kernel": "estimating",
    "open_stack": "opening",
    "plan": "planning",
    "run": "batch",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(f"napari_deblur.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'napari_deblur' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
