"""What each setting of a training may be, and the sentence for what it may not be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["RULES", "is_number", "refused", "shown"]

Rule = tuple[Callable[[Any], bool], str]

# Smaller ones show too little of a blur, or too few pixels beside the margin.
LEAST_KERNEL, LEAST_SIDE = 5, 16


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether it is a finite number within limits."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value) and least <= float(value) <= most


def shown(value: object) -> str:
    """Write a value as a file of settings has it."""
    return json.dumps(value, default=str)


def refused(values: Mapping[str, Any]) -> str:
    """Give the sentence for the first value that breaks its rule; "" if there is none."""
    for name, (allows, words) in RULES.items():
        if not allows(values[name]):
            return f"{name} is {shown(values[name])} and must be {words}"
    return ""


def _whole(value: object, least: int = 0) -> bool:
    return isinstance(value, Integral) and is_number(value, least)


def _above_zero(value: object) -> bool:
    return is_number(value) and value > 0  # type: ignore[operator]


def _tuple(value: object, length: int | None = None) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return length is None or len(value) == length


def _range(value: Any) -> bool:
    return _tuple(value, 2) and all(map(_above_zero, value)) and bool(value[0] <= value[1])


def _size(value: Any) -> bool:
    if not _tuple(value, 2) or not all(_whole(n) for n in value):
        return False
    side, kernel = map(int, value)
    return kernel % 2 == 1 and kernel >= LEAST_KERNEL and side >= max(LEAST_SIDE, 2 * kernel)


def _sizes(value: Any) -> bool:
    return _tuple(value) and len(value) > 0 and all(map(_size, value))


def _families(value: Any) -> bool:
    if not _tuple(value) or not all(_tuple(one, 2) and isinstance(one[0], str) for one in value):
        return False
    shares = [share for _, share in value]
    return all(is_number(share, 0) for share in shares) and (not shares or sum(shares) > 0)


def _texts(value: Any) -> bool:
    return _tuple(value) and all(isinstance(one, str) for one in value)


def _at_least(least: int) -> Rule:
    return (lambda value: _whole(value, least)), f"a whole number, {least} or more"


SHARE: Rule = (lambda value: is_number(value, 0, 1)), "a number from 0 to 1"
ABOVE_ZERO: Rule = _above_zero, "a number above 0"

RULES: dict[str, Rule] = {
    "configuration": (lambda value: isinstance(value, str), 'a name, such as "tiny"'),
    "without": (_texts, 'a list of parts, such as ["attention"]'),
    "kernel_step": (lambda value: isinstance(value, str), 'a word, such as "gradient"'),
    "seed": _at_least(0),
    "iterations": _at_least(1),
    "batch": _at_least(1),
    "sizes": (
        _sizes,
        "a list of [side, kernel] in whole pixels, such as [[96, 31], [80, 21]]: kernels odd and "
        f"{LEAST_KERNEL} or more, sides {LEAST_SIDE} or more and at least twice the kernel",
    ),
    "rate": ABOVE_ZERO,
    "warm_up": _at_least(1),
    "decay": _at_least(0),
    "clip": ABOVE_ZERO,
    "average": (
        lambda value: is_number(value, 0) and value < 1,
        "a number from 0 to less than 1, such as 0.999",
    ),
    "curriculum": _at_least(0),
    "fixed": SHARE,
    "images_first": _at_least(0),
    "made": SHARE,
    "objects": _at_least(1),
    "kernels": _at_least(1),
    "scales": (_range, "[least, most], both above 0, the smaller one first, such as [0.1, 0.4]"),
    "families": (
        _families,
        'a list of [family, share], such as [["lens", 0.7], ["gaussian", 0.3]], not all shares 0',
    ),
    "paired": SHARE,
    "photons": (_range, "[least, most], both above 0, the smaller one first, such as [30, 5000]"),
    "learned": (lambda value: isinstance(value, str), 'a word, such as "dense"'),
    "decibels": (lambda value: isinstance(value, bool), "true or false"),
    "bfloat16": (lambda value: isinstance(value, bool), "true or false"),
    "threads": _at_least(0),
    "log_every": _at_least(1),
    "validate_every": _at_least(1),
    "checkpoint_minutes": (lambda value: is_number(value, 0), "a number, 0 or more"),
}
