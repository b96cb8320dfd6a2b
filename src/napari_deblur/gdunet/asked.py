"""What a file of settings asks for: read, and checked before anything is made."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from napari_deblur.gdunet.ranges import is_number, shown

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["asked", "of_optics", "typed"]

# How a part of the file is headed, and what it can have; what it must have.
HEADS = {"images": "[[images]]", "pairs": "[[pairs]]", "optics": "[optics]"}
KEYS = {
    "images": ("folder", "patterns", "share"),
    "pairs": ("blurred", "sharp"),
    "optics": ("na", "wavelength", "pixel_size"),
}
NEEDED = {"images": ("folder",), "pairs": KEYS["pairs"], "optics": KEYS["optics"]}
# What a lens does, where it is known: how often kernels are of each family.
LENS = (("lens", 0.7), ("layers", 0.1), ("gaussian", 0.1), ("point", 0.1))
# How well aperture, wavelength and pixel size are known.
WITHIN = 0.1
# NA × pixel size / wavelength of any microscope; else a length isn't in µm.
SCALES = (0.01, 3.0)


def asked(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises
    ------
    ValueError
        When it is no TOML, has what nobody reads, lacks what is needed, or a value is of another
        kind.
    """
    try:
        words = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no TOML file: {error}") from error
    name = path.name
    if unknown := sorted(set(words) - set(KEYS) - {"training", "start"}):
        raise ValueError(
            f"{name} has parts {', '.join(unknown)}: known are start, training, {', '.join(KEYS)}"
        )
    if not isinstance(words.get("start", ""), str):
        raise ValueError(
            f"start of {name} is {shown(words['start'])} and must be the name or path of weights, "
            'such as "tiny"'
        )
    if not isinstance(words.get("training", {}), dict):
        raise ValueError(f"training of {name} must be a part of its own, headed [training]")
    for kind in KEYS:
        _check(kind, words.get(kind, {} if kind == "optics" else []), name)
    return words


def of_optics(optics: Mapping[str, float] | None) -> dict[str, Any]:
    """Turn numerical aperture, wavelength and pixel size (µm) into settings."""
    if not optics:
        return {}
    scale = optics["na"] * optics["pixel_size"] / optics["wavelength"]
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ValueError(
            f"optics are {shown(optics)}: na × pixel_size / wavelength is {scale:.3g} and must lie "
            f"from {SCALES[0]:g} to {SCALES[1]:g}; give wavelength and pixel_size in µm"
        )
    return {"scales": [scale * (1 - WITHIN), scale * (1 + WITHIN)], "families": LENS}


def typed(texts: Mapping[str, str]) -> dict[str, Any]:
    """Read settings of a training as the command line has them: as TOML, or nearly so.

    Lists need no outer brackets, and may have round ones; words need no quotes. What can't be read
    stays text, which `Settings` refuses.
    """
    from napari_deblur.gdunet.schedule import Settings

    return {name: _typed(text, getattr(Settings, name, None)) for name, text in texts.items()}


def _typed(text: str, default: object) -> Any:
    if isinstance(default, str):
        return text.strip("\"'")
    written = text.replace("(", "[").replace(")", "]")
    if isinstance(default, bool):
        written = text.lower()
    ways = [written]
    if isinstance(default, tuple):
        ways = [written, f"[{written}]"] if written.startswith("[") else [f"[{written}]"]
    for way in ways:
        try:
            return tomllib.loads(f"value = {way}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    if isinstance(default, tuple):
        return [part.strip(" \"'") for part in text.split(",")]
    return text


def _check(kind: str, found: Any, name: str) -> None:
    """Raise where a part of a file isn't what it must be."""
    several = kind != "optics"
    parts = found if several else [found]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError(
            f"{kind} of {name} must be headed {HEADS[kind]}, with a line for each of: "
            f"{', '.join(KEYS[kind])}"
        )
    for i, part in enumerate(parts):
        if not part and not several:
            continue
        where = f"{kind} {i + 1} of {name}"
        if unknown := sorted(set(part) - set(KEYS[kind])):
            raise ValueError(
                f"{where} have {', '.join(unknown)}: known are {', '.join(KEYS[kind])}"
            )
        if missing := [key for key in NEEDED[kind] if key not in part]:
            raise ValueError(f"{where} lack {', '.join(missing)}")
        for key, value in part.items():
            allows, words = RULES[key]
            if not allows(value):
                raise ValueError(f"{key} of {where} is {shown(value)} and must be {words}")


def _folder(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _patterns(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_folder, value))


def _above_zero(value: Any) -> bool:
    return is_number(value) and value > 0


Rule = tuple[Callable[[Any], bool], str]
FOLDER: Rule = _folder, "the path of a folder"
RULES: dict[str, Rule] = {
    "folder": FOLDER,
    "blurred": FOLDER,
    "sharp": FOLDER,
    "patterns": (_patterns, 'a list of names, such as ["*.tif"]'),
    "share": (_above_zero, "a number above 0"),
    "na": (_above_zero, "a number above 0"),
    "wavelength": (_above_zero, "a number above 0, in µm"),
    "pixel_size": (_above_zero, "a number above 0, in µm"),
}
