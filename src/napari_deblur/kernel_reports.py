"""What a kernel's file says of it: its report as JSON, small, and not to be trusted when read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["read", "written"]

# Characters: a header that no reader stumbles over.
LARGEST = 1 << 16
# Of the file that was read, not of the kernel: it gets them anew.
OWN = {"file", "cleaned"}
# What others read of a report, and of what type it is then.
KNOWN: dict[str, type | tuple[type, ...]] = {
    "channels": list,
    "family": str,
    "judged": dict,
    "left_out": (int, float),
    "parameters": dict,
    "psf": str,
    "samples": list,
    "verdict": str,
    "why": str,
}
# A verdict is told together with these.
VERDICT = {"verdict", "why", "family", "parameters"}


def written(report: Mapping[str, Any]) -> str:
    """Write a report as JSON of at most 64 kB; what is longest is left out until it fits.

    What is no plain data is left out too. Numbers that are not finite become null.
    """
    parts = {}
    for name, value in report.items():
        if name in OWN:
            continue
        try:
            parts[str(name)] = json.dumps(_plain(value), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            continue

    def text() -> str:
        return "{" + ", ".join(f"{json.dumps(n)}: {v}" for n, v in parts.items()) + "}"

    while len(text()) > LARGEST:
        del parts[max(parts, key=lambda name: len(parts[name]))]
    return text()


def read(text: object) -> dict[str, Any]:
    """Read a report that `written` wrote; what is no such thing is left out, without an error."""
    if not isinstance(text, str) or len(text) > LARGEST:
        return {}
    try:
        data = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return {}
    return _fit(data) if isinstance(data, dict) else {}


def _fit(data: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {
        name: value
        for name, value in data.items()
        if name not in OWN and isinstance(value, KNOWN.get(name, object))
    }
    if "channels" in kept:
        kept["channels"] = [_fit(one) if isinstance(one, dict) else {} for one in kept["channels"]]
    numbers = kept.get("parameters", {}).values()
    if not kept.keys() >= VERDICT or not all(isinstance(v, int | float) for v in numbers):
        kept = {name: value for name, value in kept.items() if name not in ("verdict", "why")}
    judged = kept.get("judged", {})
    if judged and not all(isinstance(judged.get(name), str) for name in ("verdict", "why")):
        del kept["judged"]
    if not all(_is_region(one) for one in kept.get("samples", [])):
        del kept["samples"]
    return kept


def _is_region(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair)
        for pair in value
    )


def _plain(value: Any) -> Any:
    """Give what JSON can say: lists for tuples, numbers of Python for those of numpy."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
