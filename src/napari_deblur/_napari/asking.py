"""What the form asks for, as data that a preview's thread and a run's process understand alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from napari_deblur import kernel_json
from napari_deblur.registry import parameters_of, with_parameters

if TYPE_CHECKING:
    from napari_deblur.per_channel import Given
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Ask", "deciding", "finds_kernels", "free_path"]

# What finds the kernel for a method that needs one and is given none.
FINDER = "blind"


def finds_kernels(method: object) -> bool:
    """Whether a method, or its class, can find kernels."""
    return hasattr(method, "estimate")


@dataclass(frozen=True, eq=False)
class Ask:
    """A method, the kernel or None to find it, its shape or None to choose one, and the scope.

    `memory_fraction` is the share of the free memory that one task may use.
    """

    method: Any
    kernel: Given | None = None
    shape: tuple[int, int, int] | None = None
    scope: str = "channel"
    device: str = "auto"
    memory_fraction: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, for JSON."""
        return {
            "method": parameters_of(self.method),
            "kernel": None if self.kernel is None else kernel_json.plain(self.kernel),
            "shape": self.shape,
            "scope": self.scope,
            "device": self.device,
            "memory_fraction": self.memory_fraction,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make what `to_dict` described."""
        values = dict(data)
        values["method"] = with_parameters(data["method"])
        values["shape"] = tuple(data["shape"]) if data["shape"] else None
        kernel = data["kernel"]
        if kernel is not None:
            read = kernel_json.field_of if "nodes" in kernel else kernel_json.kernel_of
            values["kernel"] = read(kernel)
        return cls(**values)

    @property
    def key(self) -> str:
        """Tell two askings apart."""
        text = json.dumps(self.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def deciding(ask: Ask, stack: Stack) -> Generator[str, None, Plan]:
    """Make the plan, saying what comes next; the kernel is found first where none is given."""
    from napari_deblur.estimating import estimate_kernel
    from napari_deblur.gridding import allowed_memory, chosen_device
    from napari_deblur.planning import planning

    device = chosen_device(ask.device)
    memory = None
    if ask.memory_fraction != 0.5:  # the planner's own share
        memory = max(2**20, int(allowed_memory(None, device) * 2 * ask.memory_fraction))
    kernel, finds = ask.kernel, finds_kernels(ask.method)
    if kernel is None and not finds and getattr(ask.method, "needs_kernel", True):
        yield f"finding the kernel with {FINDER}"
        kernel = estimate_kernel(stack, FINDER, ask.shape, device=device)
    plan = yield from planning(
        stack,
        ask.method,
        kernel=kernel,
        shape=ask.shape if finds else None,
        scope=ask.scope if finds else "channel",
        device=device,
        memory=memory,
    )
    return plan


def free_path(path: Any, key: str) -> Any:
    """Give `path` if nothing is there, or this plan's result; else the first free number.

    An earlier result is never overwritten; an unfinished one of the same plan is continued.
    """
    from pathlib import Path

    from napari_deblur.results import open_result

    wanted = Path(path)
    bare = wanted.name.removesuffix(".deblur.zarr").removesuffix(".zarr")
    number = 1
    while True:
        name = wanted.name if number == 1 else f"{bare}-{number}.deblur.zarr"
        candidate = wanted.with_name(name)
        if not candidate.exists():
            return candidate
        try:
            if open_result(candidate).key == key:
                return candidate
        except (ValueError, OSError):
            pass
        number += 1
