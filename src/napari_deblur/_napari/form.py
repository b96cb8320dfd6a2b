"""A frozen dataclass as a form, and back.

The form is made of the fields: their types, their `Annotated` options (magicgui's own), and
the text of the docstring as tooltips. A field that may be "auto" is a line with "auto" in it, one
of several words, or of several numbers, a line with commas between them, since boxes side by side
would be wider than a dock. What has no default is an empty line; what is not for people (the option
`visible` is False) has no row.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import MISSING, fields
from inspect import cleandoc
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from magicgui.widgets import Container

__all__ = ["fill", "form_of", "summary_of", "value_of", "values_of"]


def form_of(cls: type, without: Collection[str] = ()) -> Container:
    """Make a form of a dataclass with its defaults in it, but for some fields."""
    from magicgui.widgets import Container

    hints = get_type_hints(cls, include_extras=True)
    tips = _tips(cls)
    rows = []
    for field in fields(cls):
        shown = field.init and _split(hints[field.name])[1].get("visible") is not False
        if not shown or field.name in without:
            continue
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        rows.append(_row(field.name, hints[field.name], default, tips.get(field.name, "")))
    return Container(widgets=rows, labels=False, name=cls.__name__)


def values_of(form: Container, cls: type) -> dict[str, Any]:
    """Give the values that stand in the form.

    Raises
    ------
    ValueError
        When a text is no number.
    """
    hints = get_type_hints(cls, include_extras=True)
    return {row.name: _value(row, hints[row.name]) for row in form}


def value_of(form: Container, cls: type, **others: Any) -> Any:
    """Make the object that the form describes; `others` are values that it does not show.

    Raises
    ------
    ValueError
        When a text is no number, or the dataclass refuses a value; in its own words.
    """
    return cls(**values_of(form, cls), **others)


def fill(form: Container, thing: object) -> None:
    """Put an object's values into the form of its class."""
    for row in form:
        value = getattr(thing, row.name)
        row.value = _text(value) if _is_text(row) else value


def summary_of(cls: type) -> str:
    """Give the first sentence of a docstring."""
    first = cleandoc(cls.__doc__ or "").split("\n\n")[0]
    return " ".join(first.split())


def _row(name: str, hint: Any, default: Any, tip: str) -> Any:
    from magicgui.widgets import LineEdit, create_widget

    bare, options = _split(hint)
    label = options.get("label", name.replace("_", " "))
    if default is MISSING:
        return LineEdit(name=name, label=label, value="", tooltip=tip)
    if _accepts_auto(bare) or _is_words(bare) or _is_numbers(bare):
        return LineEdit(name=name, label=label, value=_text(default), tooltip=tip)
    given: dict[str, Any] = {"tooltip": tip}
    if bare is float:
        from napari_deblur._napari.number_box import FloatRow

        given["widget_type"] = FloatRow
    try:
        row = create_widget(value=default, annotation=hint, name=name, label=label, options=given)
        if isinstance(default, bool):
            row.text = ""  # the label says it
        if row.value == default:  # a box would round 2 / 3
            return row
    except (ValueError, TypeError):  # a type that magicgui has no widget for
        pass
    return LineEdit(name=name, label=label, value=_text(default), tooltip=tip)


def _value(row: Any, hint: Any) -> Any:
    bare, _ = _split(hint)
    if not _is_text(row) or bare is str:
        return row.value
    text = str(row.value).strip()
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    if _is_words(bare):
        return tuple(parts)
    if _is_numbers(bare):
        return _as_many(tuple(_number(part, row.label) for part in parts), bare, row.label)
    if not text and not _accepts_auto(bare):
        raise ValueError(f"{row.label} is empty: give a number")
    if _accepts_auto(bare) and text.lower() in ("", "auto"):
        return "auto"
    allowed = [v for a in _members(bare) if get_origin(a) is Literal for v in get_args(a)]
    if text in allowed:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        others = f" or {', '.join(map(str, allowed))}" if allowed else ""
        raise ValueError(f'{row.label} is "{text}": give a number{others}') from None
    wants_number = any(kind in _members(bare) for kind in (float, int))
    if wants_number and not isinstance(value, float | int):  # "1,5" is a tuple
        raise ValueError(f'{row.label} is "{text}": give one number, with a point as in 1.5')
    if float in _members(bare) and isinstance(value, int):
        return float(value)
    return value


def _split(hint: Any) -> tuple[Any, dict[str, Any]]:
    if get_origin(hint) is not Annotated:
        return hint, {}
    bare, *extras = get_args(hint)
    return bare, {k: v for extra in extras if isinstance(extra, dict) for k, v in extra.items()}


def _members(bare: Any) -> tuple[Any, ...]:
    from types import UnionType

    return get_args(bare) if get_origin(bare) in (Union, UnionType) else (bare,)


def _accepts_auto(bare: Any) -> bool:
    members = _members(bare)
    return len(members) > 1 and any(
        get_origin(m) is Literal and "auto" in get_args(m) for m in members
    )


def _is_words(bare: Any) -> bool:
    return get_origin(bare) is tuple and get_args(bare) == (str, ...)


def _is_numbers(bare: Any) -> bool:
    """Tell whether it is several numbers: a fixed count, or any."""
    kinds = get_args(bare)
    return get_origin(bare) is tuple and kinds[:1] == (float,) and set(kinds) <= {float, ...}


def _as_many(values: tuple[float, ...], bare: Any, label: str) -> tuple[float, ...]:
    """Hold to a fixed count; one number is that of all."""
    kinds = get_args(bare)
    if ... in kinds or len(values) == len(kinds):
        return values
    if len(values) == 1:
        return values * len(kinds)
    raise ValueError(
        f"{label} has {len(values)} numbers: give {len(kinds)} with commas between them, or one "
        "for all"
    )


def _number(text: str, label: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'{label} has "{text}": give numbers with commas between them') from None


def _is_text(row: Any) -> bool:
    return type(row).__name__ == "LineEdit"


def _text(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(word, str | float) for word in value):
        return ", ".join(f"{word:g}" if isinstance(word, float) else word for word in value)
    return value if isinstance(value, str) else repr(value)


def _tips(cls: type) -> dict[str, str]:
    """Take the section Parameters of a numpydoc docstring apart."""
    doc = cleandoc(cls.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", doc, re.S | re.M)
    tips = {}
    for names, text in re.findall(
        r"^([\w, ]+?) *(?::[^\n]*)?\n((?:[ \t]+[^\n]*\n?|\n)+)", section[1] if section else "", re.M
    ):
        for name in names.split(","):
            tips[name.strip()] = " ".join(text.split())
    return tips
