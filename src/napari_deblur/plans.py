"""A plan: all that a run will do, as plain data. `planning.plan` makes it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_deblur.describing import lines, of_plan
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.registry import parameters_of, with_parameters
from napari_deblur.stack import Channel, Optics, Source, Stack
from napari_deblur.tiles import Grid, Index, Tile

if TYPE_CHECKING:
    from napari_deblur.protocols import Method

__all__ = ["ChannelPlan", "Layout", "Plan"]

SCOPES = ("channel", "channel-time", "tile")


@dataclass(frozen=True)
class Layout:
    """What the stack looks like: enough to write the result without opening the stack."""

    axes: str
    shape: tuple[int, int, int, int, int]
    dtype: str
    pixel_size: tuple[float | None, float | None, float | None] | None
    channels: tuple[Channel, ...]
    optics: Optics
    time_step: float | None
    rgb: bool
    name: str

    @classmethod
    def of(cls, stack: Stack) -> Self:
        """Describe a stack."""
        return cls(
            stack.axes,
            stack.shape,
            stack.dtype.name,
            stack.pixel_size,
            stack.channels,
            stack.optics,
            stack.time_step,
            stack.rgb,
            stack.name,
        )

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is opacity, which is copied and never deblurred."""
        return self.rgb and self.shape[1] == 4


@dataclass(frozen=True)
class ChannelPlan:
    """What is known and decided of one channel.

    `method` has all its numbers. `gains` holds one brightness factor for each frame, or nothing.
    `halo_curves` holds for each axis that is cut (distance from the cut, difference ÷ peak) pairs.
    `decided` names the method's numbers that were "auto".
    """

    facts: Facts
    method: Method
    gains: tuple[float, ...] = ()
    halo_curves: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    decided: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """All numbers of a run, fixed. Plain data: `to_dict` goes into JSON, `key` names it.

    `kernel` is what the tiles are restored with; in scope ``tile`` it is the kernel that each
    tile starts from. `scale` and `offset` turn stored integers into counts. `expected_seam` is
    the largest difference to an untiled result over the channel's peak, from the halo curves;
    None when nothing is cut. `memory` is what one task needs, `disk` the output, in bytes;
    `transforms` counts real FFTs of one tile's size.
    """

    layout: Layout
    source: Source | None
    scope: str
    grid: Grid
    channels: tuple[ChannelPlan, ...]
    kernel: Kernel
    seam: float = 1e-3
    expected_seam: float | None = None
    device: str = "cpu"
    dtype: str = "float32"
    scale: float = 1.0
    offset: float = 0.0
    gamma: str = "linear"
    keep_background: bool = True
    memory: int = 0
    disk: int = 0
    notes: tuple[str, ...] = ()

    def tile(self, index: Index) -> Tile:
        """Give the tile of an index (t, c, z, y, x) of the grid."""
        return self.grid.tile(index)

    def __len__(self) -> int:
        return len(self.grid)

    def summary(self) -> str:
        """Say in a few lines what will be done, with which kernel, and what it costs."""
        return lines([*of_plan(self), *(("note", note) for note in self.notes)])

    @property
    def finds_kernels(self) -> bool:
        """Whether each tile finds a kernel of its own."""
        return self.scope == "tile"

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that decides the result, in hexadecimal."""
        data = self.to_dict()
        for name in ("memory", "disk", "notes", "expected_seam"):
            del data[name]
        for channel in data["channels"]:
            del channel["halo_curves"], channel["decided"]
        del data["kernel"]["report"]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, kernels as base64 of little-endian float32."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["layout"] = asdict(self.layout)
        data["source"] = self.source.to_dict() if self.source else None
        data["grid"] = asdict(self.grid)
        data["channels"] = [
            {
                "facts": asdict(channel.facts),
                "method": parameters_of(channel.method),
                "gains": list(channel.gains),
                "halo_curves": {k: [list(p) for p in v] for k, v in channel.halo_curves.items()},
                "decided": list(channel.decided),
            }
            for channel in self.channels
        ]
        raw = self.kernel.array.astype("<f4").tobytes()
        data["kernel"] = {
            "shape": list(self.kernel.array.shape),
            "pixel_size": self.kernel.pixel_size,
            "report": dict(self.kernel.report),
            "float32": base64.b64encode(raw).decode(),
        }
        data["notes"] = list(self.notes)
        # Tuples become lists here, once and for all.
        plain: dict[str, Any] = json.loads(json.dumps(data))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make the plan that `to_dict` described, kernels to the last bit."""
        values = dict(data)
        layout = dict(data["layout"])
        layout["channels"] = tuple(Channel(**c) for c in layout["channels"])
        layout["optics"] = Optics(**layout["optics"])
        layout["shape"] = tuple(layout["shape"])
        layout["pixel_size"] = tuple(layout["pixel_size"]) if layout["pixel_size"] else None
        values["layout"] = Layout(**layout)
        values["source"] = Source.from_dict(data["source"]) if data["source"] else None
        values["grid"] = Grid(**{k: tuple(v) for k, v in data["grid"].items()})
        values["channels"] = tuple(
            ChannelPlan(
                Facts(**channel["facts"]),
                with_parameters(channel["method"]),
                tuple(channel["gains"]),
                {k: tuple((d, v) for d, v in c) for k, c in channel["halo_curves"].items()},
                tuple(channel.get("decided", ())),
            )
            for channel in data["channels"]
        )
        values["kernel"] = _kernel(data["kernel"])
        values["notes"] = tuple(data["notes"])
        return cls(**values)


def _kernel(data: Mapping[str, Any]) -> Kernel:
    array = np.frombuffer(base64.b64decode(data["float32"]), "<f4").reshape(data["shape"])
    size = tuple(data["pixel_size"]) if data["pixel_size"] else None
    kernel = Kernel(array, size, data["report"])
    # Dividing by the sum again would move the last bit.
    exact = array.astype(np.float32)
    exact.flags.writeable = False
    object.__setattr__(kernel, "array", exact)
    return kernel
