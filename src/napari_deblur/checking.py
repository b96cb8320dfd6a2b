"""What is asked of a plan, checked before anything is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_deblur import registry
from napari_deblur.plans import SCOPES
from napari_deblur.protocols import Estimator, Method

if TYPE_CHECKING:
    from napari_deblur.protocols import Kernel
    from napari_deblur.stack import Stack

__all__ = [
    "check_asked",
    "check_field",
    "check_shape",
    "check_wish",
    "default_method",
    "finds_kernels",
    "the_method",
    "three",
]

# The methods for those who name none: with a kernel, and without.
RESTORES, FINDS, FINDS_PER_TILE = (
    "accelerated-richardson-lucy",
    "blind",
    "blind-richardson-lucy",
)


def the_method(method: object) -> Any:
    """Give the method of that name or class, or the object itself if it is one."""
    if isinstance(method, str):
        return registry.methods[method]()
    if isinstance(method, type):
        return method()
    if not isinstance(method, Method | Estimator):
        raise TypeError(
            f"{type(method).__name__} is no method: pass a name or an object of nd.methods, "
            f"which has {', '.join(registry.methods)}"
        )
    return method


def finds_kernels(method: object) -> bool:
    """Tell an estimator from a method that only restores."""
    return hasattr(method, "estimate") and getattr(method, "kernel", "found") != "given"


def check_shape(stack: Stack, shape: tuple[int, int, int]) -> None:
    """Refuse to look for a kernel that is larger than the image: nothing could tell its rim."""
    for axis, wanted, there in zip("zyx", shape, stack.shape[2:], strict=True):
        if wanted > there:
            raise ValueError(
                f"a kernel of {shape} (z, y, x) can't be found in an image that has {there} along "
                f"{axis}: ask for {there} or less there"
            )


def three(values: Sequence[int] | None, name: str, depth: int) -> tuple[int, int, int] | None:
    """Give z, y, x of lengths that the user may have given as y, x; `depth` is z then.

    Raises
    ------
    ValueError
        For another number of values, or one below 1.
    """
    if values is None:
        return None
    given = tuple(values)
    if len(given) not in (2, 3) or not all(int(v) == v and v >= 1 for v in given):
        raise ValueError(
            f"{name} {given} must be z, y, x or y, x, each a whole number of 1 or more"
        )
    z, y, x = (int(v) for v in ((depth, *given) if len(given) == 2 else given))
    return z, y, x


def default_method(scope: str, *, known: bool) -> str:
    """Give the method that is taken when none is named; `known` says that there is a kernel."""
    if known and scope == "channel":
        return RESTORES
    return FINDS_PER_TILE if scope == "tile" else FINDS


def check_asked(scope: str, seam: float, gamma: str) -> None:
    """Refuse what can't be done before anything is looked at; the text says what to change."""
    if scope not in SCOPES:
        raise ValueError(f'scope "{scope}" is not one of {", ".join(SCOPES)}')
    if not 0 < seam < 1:
        raise ValueError(f"seam is {seam} and must lie between 0 and 1: it is a share of the peak")
    if gamma not in ("linear", "srgb"):
        raise ValueError(f'gamma "{gamma}" is not one of linear, srgb')


def check_field(method: object) -> None:
    """Refuse a method that finds no kernels that vary."""
    if not hasattr(method, "estimate_field"):
        able = [name for name, cls in registry.methods.items() if hasattr(cls, "estimate_field")]
        name = registry.methods.name_of(method)
        raise ValueError(
            f'{name} finds no kernels that vary over the field: take scope "channel"'
            + (f", or {' or '.join(able)}" if able else "")
        )


def check_wish(stack: Stack, method: object, kernel: Kernel | None, scope: str, c: int) -> None:
    """Refuse what a channel's method can't do with what it is given."""
    name = registry.methods.name_of(method)
    finds = finds_kernels(method)
    if kernel is None and not finds and getattr(method, "needs_kernel", True):
        of = f", and there is no kernel for channel {c}" if stack.shape[1] > 1 else ""
        raise ValueError(
            f"{name} needs a kernel{of}: give one or a psf, or take a method that finds it, such "
            "as blind"
        )
    if scope == "tile" and not (finds and callable(method)):
        raise ValueError(f'{name} can\'t find a kernel in each tile: take scope "channel"')
    if scope == "field" and finds:
        check_field(method)
    used = finds or getattr(method, "needs_kernel", True)
    if used and kernel is not None and kernel.shape[0] > 1 and stack.shape[2] == 1:
        raise ValueError(
            f"the kernel has {kernel.shape[0]} planes but the image has one: give a kernel of one "
            "plane, such as the middle one"
        )
