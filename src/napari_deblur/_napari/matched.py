"""What a PSF model takes of the optics, and what one that is matched to them comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from inspect import Parameter, signature
from typing import Any

__all__ = ["OPTICS", "is_matched", "matched", "needed", "taken"]

OPTICS = ("na", "wavelength", "n_immersion", "n_sample")
# As the form calls them.
NAMES = {"na": "NA", "wavelength": "λ", "n_immersion": "immersion n", "n_sample": "sample n"}


def taken(cls: Any) -> set[str]:
    """Give what a model takes of the optics; a disc, for one, takes nothing."""
    return set(OPTICS) & ({f.name for f in fields(cls)} | set(_wanted(cls)))


def needed(cls: Any) -> set[str]:
    """Give what of it a model cannot do without."""
    own = {f.name for f in fields(cls) if f.default is MISSING}
    return set(OPTICS) & (own | {n for n, p in _wanted(cls).items() if p.default is p.empty})


def is_matched(cls: Any) -> bool:
    """Tell whether a model knows no optics, but can be made from them."""
    return bool(_wanted(cls))


def matched(cls: Any, known: Mapping[str, float], lights: Sequence[float | None] = ()) -> str:
    """Say which numbers a model gets that is matched to the optics, or what it lacks for that.

    Parameters
    ----------
    cls : type
        Of the model.
    known : Mapping
        What is known of the optics, by name.
    lights : sequence of float or None
        Wavelengths of the channels, where there are several; they go before the one in `known`.
    """
    wanted = _wanted(cls)
    found = []
    for light in lights or [None]:
        values = dict(known) if light is None else {**known, "wavelength": light}
        lacking = [NAMES[n] for n in OPTICS if n in needed(cls) and n not in values]
        if lacking:
            return f"auto needs {' and '.join(lacking)}; or type numbers, with commas between them"
        model = cls.from_optics(**{n: v for n, v in values.items() if n in wanted})
        found.append(_numbers(model) + (f" for λ {light:g}" if len(lights) > 1 else ""))
    return f"auto, from the optics: {'; '.join(dict.fromkeys(found))}"


def _wanted(cls: Any) -> Mapping[str, Parameter]:
    own = {f.name for f in fields(cls)} & set(OPTICS)
    return signature(cls.from_optics).parameters if hasattr(cls, "from_optics") and not own else {}


def _numbers(model: Any) -> str:
    """Give a model's numbers with the digits that matter."""
    said = []
    for field in fields(model):
        value = getattr(model, field.name)
        many = value if isinstance(value, tuple) else (value,)
        said.append(f"{field.name} {', '.join(f'{v:.4g}' for v in many)} µm")
    return ", ".join(said)
