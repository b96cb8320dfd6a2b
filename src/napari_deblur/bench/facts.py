"""Numbers over rounds, and what they were measured on."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from napari_deblur.system import cores, cpu_kind

__all__ = ["machine", "ratios", "spread", "versions"]

PACKAGES = ("napari-deblur", "numpy", "scipy", "torch")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Give the median and the quartiles."""
    low, median, high = np.percentile(np.asarray(values, np.float64), (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def ratios(these: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Give the spread of the ratios, round by round: what slows one round slows both."""
    return spread([a / max(b, 1e-12) for a, b in zip(these, reference, strict=True)])


def machine(threads: int, device: str) -> dict[str, Any]:
    """Say what was measured on; nothing of it names a machine or a user."""
    from napari_deblur.ops import transforms

    facts = {
        "processor": cpu_kind(),
        "cores": cores(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "transforms": transforms.engine(),
    }
    if device.startswith("cuda"):
        import torch

        facts["device"] = torch.cuda.get_device_name(device)
    return facts


def versions(packages: Iterable[str | None]) -> dict[str, str]:
    """Give the versions of the packages that are installed."""
    found = {}
    for name in (*PACKAGES, *(p for p in packages if p)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
