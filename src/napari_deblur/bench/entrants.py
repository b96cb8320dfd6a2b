"""Our methods as they enter the benchmark, by short names."""

from __future__ import annotations

from typing import Any

from napari_deblur.registry import methods

__all__ = ["AUTOMATIC", "ITERATIVE", "Missing", "entrant", "restoring"]

ACCELERATED = "accelerated-richardson-lucy"

# A short name for each way of iterating: the method and what is set.
ITERATIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "richardson-lucy": ("richardson-lucy", {}),
    "accelerated": (ACCELERATED, {}),
    "biggs-andrews": (
        ACCELERATED,
        {"acceleration": "biggs-andrews", "back_projector": "matched"},
    ),
    "heavy-ball": (ACCELERATED, {"acceleration": "heavy-ball", "back_projector": "matched"}),
    "wiener-butterworth": (ACCELERATED, {"back_projector": "wiener-butterworth"}),
    "richardson-lucy-tv": ("richardson-lucy-tv", {}),
}
# Those whose number of iterations is decided by held-out photons.
AUTOMATIC = ("richardson-lucy", "accelerated-richardson-lucy", "richardson-lucy-tv")


class Missing(Exception):
    """Says why somebody can't take part."""


def entrant(name: str, **settings: Any) -> Any:
    """Make a method of the catalogue.

    Raises
    ------
    Missing
        If there is no such method, or it has no such setting yet.
    """
    if name not in methods:
        raise Missing("not in the catalogue")
    try:
        return methods[name](**settings)
    except (TypeError, ValueError) as error:
        said = ", ".join(f"{k}={v}" for k, v in settings.items())
        raise Missing(f"not in the catalogue with {said}: {error}") from error


def restoring() -> list[str]:
    """Name the methods that restore with a kernel that is known."""
    return [
        name
        for name in methods
        if name != "identity"
        and callable(methods[name]())
        and not hasattr(methods[name], "estimate")
    ]
