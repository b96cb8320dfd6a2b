"""The words in which people ask: ``32,128,128``, ``0:10``, ``4GB``, ``iterations=30``."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

__all__ = [
    "as_word",
    "bytes_of",
    "checked",
    "exact",
    "floats",
    "indices",
    "integers",
    "made",
    "pairs",
    "plain",
    "spans",
    "typed",
]

T = TypeVar("T")

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
# How a job file writes what is no plain number or text.
WRITTEN = {
    "tile": "[32, 128, 128]",
    "shape": "[7, 15, 15]",
    "pixel_size": "[0.2, 0.1, 0.1]",
    "kernel_pixel_size": "[0.2, 0.1, 0.1]",
    "channels": '[0, "GFP"]',
    "times": '"0:10"',
    "region": '"0:10,0:512,0:512"',
    "parameters": "{ iterations = 30 }",
    "psf_parameters": "{ sigma = [0.3, 0.1, 0.1] }",
    "kernel": '"kernel.tif"',
}
# Keys of a job that hold a list of tables.
TABLES = {"channel"}
BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def integers(text: str) -> tuple[int, ...]:
    """Read ``z,y,x`` or ``y,x`` in voxels, each 1 or more."""
    return tuple(int(value) for value in _numbers(text, r"\d+", "whole numbers"))


def floats(text: str) -> tuple[float, ...]:
    """Read ``z,y,x`` or ``y,x`` in µm, each above 0."""
    return _numbers(text, r"[\d.]+(e[+-]?\d+)?", "numbers")


def _numbers(text: str, pattern: str, kind: str) -> tuple[float, ...]:
    parts = [part.strip() for part in text.split(",")]
    try:
        if len(parts) not in (2, 3) or not all(re.fullmatch(pattern, p, re.I) for p in parts):
            raise ValueError
        values = tuple(float(part) for part in parts)
        if not all(0 < value < math.inf for value in values):
            raise ValueError
    except ValueError:
        raise ValueError(
            f'"{text}" is not z,y,x or y,x: give three {kind} above 0, or two, with commas between'
        ) from None
    return values


def indices(text: str, size: int, what: str) -> tuple[int, ...]:
    """Read ``0,2,5:8`` as indices below `size`; ``:`` is all of them.

    Raises
    ------
    ValueError
        When it is no list of numbers and ranges, or one lies outside.
    """
    found: list[int] = []
    for part in text.split(","):
        if ":" in part:
            start, stop = _span(part.strip(), size, what)
            found += range(start, stop)
            continue
        if not re.fullmatch(r"\s*\d+\s*", part):
            raise ValueError(f'{what} "{text}" is no list of numbers and ranges: write 0,2 or 0:10')
        if int(part) >= size:
            raise ValueError(f"{what} {int(part)} is outside the stack, which has {size} (from 0)")
        found.append(int(part))
    return tuple(found)


def spans(text: str, sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Read ``z0:z1,y0:y1,x0:x1`` (or without z) within `sizes` of z, y, x."""
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise ValueError(
            f'region "{text}" has {len(parts)} ranges: write z0:z1,y0:y1,x0:x1 or y0:y1,x0:x1'
        )
    parts = [":"] * (3 - len(parts)) + parts
    named = zip("zyx", parts, sizes, strict=True)
    return tuple(_span(part.strip(), size, f"region along {axis}") for axis, part, size in named)


def _span(text: str, size: int, what: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None:
        raise ValueError(f'{what} "{text}" is no range: write start:stop, such as 0:{size}')
    start, stop = int(match[1] or 0), int(match[2] or size)
    if not 0 <= start < stop <= size:
        raise ValueError(f"{what} {start}:{stop} does not lie inside 0:{size}")
    return start, stop


def bytes_of(memory: int | str) -> int:
    """Read ``4GB``, ``512MiB`` or a number of bytes."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]i?)?b?\s*", str(memory).lower())
    try:
        if match is None:
            raise ValueError
        return int(float(match[1]) * (UNITS | BINARY)[match[2] or ""])
    except ValueError:
        raise ValueError(f'memory "{memory}" is no size: write 4GB, 512MiB or bytes') from None


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Read several ``name=value``."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f'"{text}" is not name=value, such as iterations=30')
        found[name.strip().replace("-", "_")] = value.strip()
    return found


def typed(cls: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Give texts the types that the parameters of a dataclass have.

    Raises
    ------
    ValueError
        For a name that is no parameter (the text lists them), or a value of another type.
    """
    from pydantic import TypeAdapter, ValidationError

    hints, values = _hints(cls, texts), {}
    for name, text in texts.items():
        adapter = TypeAdapter(hints[name])
        try:
            values[name] = adapter.validate_strings(text)
        except ValidationError as error:
            try:
                # Not as strings: there, pydantic takes no list. One number is that of all axes.
                parts = [v.strip() for v in text.split(",")]
                alike = get_args(_bare(hints[name])) == (float,) * 3 and len(parts) == 1
                values[name] = adapter.validate_python(parts * 3 if alike else parts)
            except ValidationError:
                raise ValueError(_refusal(cls, name, text)) from error
    return values


def made(cls: type, values: Mapping[str, Any]) -> Any:
    """Make an object of a dataclass from plain values, such as a TOML file has.

    Raises
    ------
    ValueError
        As `typed` does, and for what the class itself refuses.
    """
    return cls(**exact(cls, values))


def exact(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give plain values, such as a TOML file has, the types of a dataclass's parameters.

    Raises
    ------
    ValueError
        As `typed` does.
    """
    import json

    from pydantic import TypeAdapter, ValidationError

    hints, found = _hints(cls, values), {}
    for name, value in values.items():
        try:
            # By way of JSON: strict, but lists become tuples.
            text = json.dumps(value, default=str)
            found[name] = TypeAdapter(hints[name]).validate_json(text, strict=True)
        except ValidationError as error:
            raise ValueError(_refusal(cls, name, value)) from error
    return found


def checked(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Make an object of a dataclass from what a file says; ValueError names what is wrong there."""
    import json

    from pydantic import TypeAdapter, ValidationError

    try:
        text = json.dumps(data, default=str)  # as in `made`
        return TypeAdapter(cls).validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(_sentence(cls, dict(error.errors()[0]), data, where)) from error


def plain(thing: Any) -> dict[str, Any]:
    """Give an object of a dataclass as plain data: all that is not the default."""
    import json

    def told(one: Any) -> dict[str, Any]:
        return {
            f.name: value
            for f in dataclasses.fields(one)
            if (value := getattr(one, f.name))
            != (f.default if f.default_factory is dataclasses.MISSING else f.default_factory())
        }

    data: dict[str, Any] = json.loads(json.dumps(told(thing), default=told))
    return data


def as_word(value: Any) -> str:
    """Write a value as the command line wants it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(cls: Any, error: Mapping[str, Any], data: Mapping[str, Any], where: str) -> str:
    """Say in one sentence what pydantic found."""
    names = [f.name for f in dataclasses.fields(cls)]
    key = str(error["loc"][0]) if error["loc"] else ""
    if len(error["loc"]) > 1 and key in TABLES:
        number = error["loc"][1]
        inner = {**error, "loc": error["loc"][2:]}
        table = get_args(get_type_hints(cls)[key])[0]
        return _sentence(table, inner, data[key][number], f"[[{key}]] {number + 1} of {where}")
    if key and key not in names:
        return f'{where} has the key "{key}", which it can\'t have; there are: {", ".join(names)}'
    if key and key not in data:
        return f'{where} lacks "{key}": say what is to be restored, e.g. {key} = "cells.tif"'
    if "error" in error.get("ctx", {}):
        return f"{where}: {error['ctx']['error']}"
    value = f"{key} is {data[key]!r} in {where}" if key else where
    rule = error["msg"].replace("Input should be a valid array", "it must be a list")
    example = f", such as {key} = {WRITTEN[key]}" if key in WRITTEN else ""
    return f"{value}: {rule[0].lower()}{rule[1:]}{example}"


def _hints(cls: type, names: Mapping[str, Any]) -> dict[str, Any]:
    """Give the types of a dataclass's parameters, if it has all of `names`."""
    parameters = dataclasses.fields(cls)
    for name in names:
        if name not in {parameter.name for parameter in parameters}:
            having = ", ".join(f"{p.name} ({_shown(p.default)})" for p in parameters) or "none"
            raise ValueError(f'{_called(cls)} has no parameter "{name}"; there are: {having}')
    return get_type_hints(cls, include_extras=True)


def _refusal(cls: type, name: str, value: object) -> str:
    hint = get_type_hints(cls)[name]
    default = next(p.default for p in dataclasses.fields(cls) if p.name == name)
    parts = [getattr(part, "__args__", (part,)) for part in getattr(hint, "__args__", (hint,))]
    shape = ", ".join if isinstance(default, tuple) else " or ".join
    kind = shape(_named(part) for group in parts for part in group)
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    example = "" if default == "auto" else f", such as {_shown(default)}"
    return f"{name} of {_called(cls)} is {shown} and must be {kind}{example}"


def _bare(hint: Any) -> Any:
    """Give a type without what is annotated to it."""
    return hint.__origin__ if hasattr(hint, "__metadata__") else hint


def _named(part: object) -> str:
    return part.__name__ if isinstance(part, type) else f'"{part}"'


def _called(cls: type) -> str:
    from napari_deblur.registry import methods, psfs

    for catalogue in (methods, psfs):
        try:
            return catalogue.name_of(cls)
        except KeyError:
            continue
    return cls.__name__


def _shown(value: object) -> str:
    if value is dataclasses.MISSING:
        return "needed"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
