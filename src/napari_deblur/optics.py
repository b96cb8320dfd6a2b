"""Objectives and fluorophores by name, and whether pixels are small enough for a lens."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from math import sqrt
from typing import Any, Literal, TypeVar, get_args

__all__ = [
    "Fluorophore",
    "Kind",
    "Objective",
    "fluorophore",
    "fluorophores",
    "objective",
    "objectives",
    "sampling_advice",
    "sampling_limits",
]

Kind = Literal["widefield", "light-sheet", "confocal", "two-photon"]
Thing = TypeVar("Thing")

# A twentieth is nobody's fault: cameras and lenses come in steps.
TOLERANCE = 1.05
# So many times finer than needed, pixels cost light and time for nothing.
MUCH_FINER = 4


@dataclass(frozen=True)
class Objective:
    """An objective; lengths in µm. `coverslip` is 0 for one that dips into the sample."""

    name: str
    magnification: float
    na: float
    immersion: str
    n_immersion: float
    working_distance: float
    coverslip: float = 170.0


@dataclass(frozen=True)
class Fluorophore:
    """A dye or protein: wavelengths of its maxima in µm."""

    name: str
    excitation: float
    emission: float


@lru_cache(maxsize=1)
def objectives() -> Mapping[str, Objective]:
    """Give the common objectives by name, such as "60x/1.40 oil"."""
    table = _table("objectives.toml")
    return {
        name: Objective(name=name, n_immersion=table["immersions"][values["immersion"]], **values)
        for name, values in table["objectives"].items()
    }


@lru_cache(maxsize=1)
def fluorophores() -> Mapping[str, Fluorophore]:
    """Give the common fluorophores by name."""
    table = _table("fluorophores.toml")["fluorophores"]
    return {name: Fluorophore(name, *values) for name, values in table.items()}


def objective(name: str) -> Objective:
    """Look an objective up; case, spaces and how the numbers are separated don't matter.

    The beginning of a name will do where one alone begins so, such as "60x/1.40".

    Raises
    ------
    KeyError
        With the names that come near.

    Examples
    --------
    >>> objective("60X 1.4 Oil").na
    1.4
    """
    return _named(name, objectives(), "objective", _lens)


def fluorophore(name: str) -> Fluorophore:
    """Look a fluorophore up; case, spaces and dashes don't matter.

    Raises
    ------
    KeyError
        With the names that come near.

    Examples
    --------
    >>> fluorophore("alexa-fluor 488").emission
    0.525
    """
    return _named(name, fluorophores(), "fluorophore", _plain)


def sampling_limits(
    na: float,
    wavelength: float,
    n_immersion: float,
    kind: Kind = "widefield",
    excitation: float | None = None,
) -> tuple[float, float]:
    """Give the largest distance of planes and of pixels, (z, yx) in µm, that loses nothing.

    Half of the finest period that passes the lens (Nyquist): λ / 4 NA across and
    λ / 2 (n - √(n² - NA²)) along the axis. Frequencies of excitation and emission add in a
    confocal, those of two photons in a two-photon microscope.

    Parameters
    ----------
    na, n_immersion : float
    wavelength : float
        Of the emission, in µm.
    excitation : float, optional
        In µm; the emission's where it is not known. A two-photon microscope needs it.
    """
    if kind not in get_args(Kind):
        raise ValueError(f'kind is "{kind}"; there are: {", ".join(get_args(Kind))}')
    if not 0 < na < n_immersion:
        raise ValueError(
            f"na is {na:g} and n_immersion {n_immersion:g}: na must be above 0 and below the "
            "immersion's refractive index; check the objective"
        )
    if kind == "two-photon":
        if excitation is None:
            raise ValueError("a two-photon microscope's detail depends on its excitation: give it")
        across = 4 / excitation
    elif kind == "confocal":
        across = 2 / wavelength + 2 / (excitation or wavelength)
    else:
        across = 2 / wavelength
    along = across / 2 * (n_immersion - sqrt(n_immersion**2 - na**2))
    return 1 / (2 * along), 1 / (2 * across * na)


def sampling_advice(
    na: float,
    wavelength: float,
    n_immersion: float,
    pixel_size: tuple[float | None, float | None, float | None],
    kind: Kind = "widefield",
    excitation: float | None = None,
) -> list[str]:
    """Say in plain sentences where pixels are too coarse, or far finer than needed.

    Parameters
    ----------
    pixel_size : (z, y, x) in µm
        None for z of one plane, or where it is not known.

    Returns
    -------
    list of str
        Empty where all is well.

    Examples
    --------
    >>> sampling_advice(1.2, 0.52, 1.33, (None, 0.1, 0.1))
    []
    >>> print(*sampling_advice(1.2, 0.52, 1.33, (None, 0.25, 0.25)))
    pixels of 0.25 µm are 2.3 times too coarse for NA 1.2 at 0.52 µm: detail between 0.217 and \
0.5 µm is lost or appears as false structure; take 0.108 µm or less (higher magnification, no \
binning)
    """
    along, across = sampling_limits(na, wavelength, n_immersion, kind, excitation)
    light = excitation if kind == "two-photon" else wavelength
    lens = f"NA {na:g} at {light:g} µm"
    z, *sides = pixel_size
    side = max((s for s in sides if s), default=None)
    said = []
    if side and side > TOLERANCE * across:
        said.append(
            f"pixels of {side:.3g} µm are {side / across:.2g} times too coarse for {lens}: detail "
            f"between {2 * across:.3g} and {2 * side:.3g} µm is lost or appears as false "
            f"structure; take {across:.3g} µm or less ({_remedy(kind)})"
        )
    if side and side * MUCH_FINER < across:
        said.append(
            f"pixels of {side:.3g} µm are {across / side:.2g} times finer than {lens} needs: "
            f"pixels of {across:.3g} µm hold as much, with more light in each; bin them"
        )
    if z and z > TOLERANCE * along:
        said.append(
            f"planes {z:.3g} µm apart are {z / along:.2g} times too far apart for {lens} with "
            f"n_immersion {n_immersion:g}: light from between them can't be told from theirs; "
            f"take {along:.3g} µm or less"
        )
    if said and kind == "confocal" and "coarse" in said[0]:
        said.append(
            "a pinhole of one Airy unit lets little of the finest detail through: up to 1.5 times "
            "these limits little is lost"
        )
    return said


def _remedy(kind: Kind) -> str:
    scanned = kind in ("confocal", "two-photon")
    return "more zoom" if scanned else "higher magnification, no binning"


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((files("napari_deblur") / "data" / name).read_text(encoding="utf-8"))


def _named(name: str, table: Mapping[str, Thing], kind: str, plain: Callable[[str], str]) -> Thing:
    known = {plain(there): thing for there, thing in table.items()}
    if plain(name) in known:
        return known[plain(name)]
    # Whole words of a lens: 60x/1.4 is not the beginning of 60x/1.49.
    begin = [there for there in known if there.startswith(plain(name) + " ")]
    if len(begin) == 1:
        return known[begin[0]]
    near = get_close_matches(plain(name), known, n=4, cutoff=0.5)
    names = [there for there in table if plain(there) in near] or list(table)
    raise KeyError(f'no {kind} "{name}"; there are: {", ".join(names)}')


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _lens(name: str) -> str:
    """Write a lens as its numbers and words: "60x/1.40 oil" as "60 1.4 oil"."""
    words = name.lower().replace("/", " ").replace("×", "x").split()
    return " ".join(_number(word.removesuffix("x")) for word in words)


def _number(word: str) -> str:
    try:
        return f"{float(word):g}"
    except ValueError:
        return word
