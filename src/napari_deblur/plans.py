"""A plan: all that a run will do, as plain data. `planning.plan` makes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_deblur import kernel_json
from napari_deblur.describing import lines, of_plan
from napari_deblur.kernels import lean
from napari_deblur.protocols import Facts, Kernel, KernelField
from napari_deblur.registry import parameters_of, with_parameters
from napari_deblur.stack import Channel, Optics, Source, Stack
from napari_deblur.tiles import Grid, Index, Shards, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Method

__all__ = ["ChannelPlan", "Layout", "Plan"]

SCOPES = ("channel", "channel-time", "field", "tile")


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
    None when nothing is cut. `memory` is what one task needs, `disk` the output at most, with a
    file of several tiles that is being joined, in bytes; `files` counts what that consists of.

    `chunk` (z, y, x) is what of a core is compressed together, None all of it; `shard` (t, c, z, y,
    x) how many tiles lie in one file; `codec` how chunks are packed, one of `arrays.CODECS`.

    `fingerprint` tells a stack in memory from others; those with a source have it there.

    `fields` holds, for each channel that has one, the kernels that vary; `kernel` then is a typical
    one of that channel. Nothing when no channel's blur varies, and one for all colours.
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
    fields: tuple[KernelField | None, ...] = ()
    chunk: tuple[int, int, int] | None = None
    shard: Index = (1, 1, 1, 1, 1)
    codec: str = "zstd"
    files: int = 0
    fingerprint: str = ""

    def tile(self, index: Index) -> Tile:
        """Give the tile of an index (t, c, z, y, x) of the grid."""
        return self.grid.tile(index)

    def __len__(self) -> int:
        return len(self.grid)

    def summary(self) -> str:
        """Say in a few lines what will be done, with which kernel, and what it costs."""
        notes = (("note", note) for note in self.notes)
        return lines([*of_plan(self), *notes])

    def field(self, c: int) -> KernelField | None:
        """Give the kernels that vary over a channel; None where one kernel holds for all of it."""
        if not self.fields:
            return None
        return self.fields[c if len(self.fields) > 1 else 0]

    @cached_property
    def lean_kernel(self) -> Kernel:
        """The kernel as tiles are given it, where it doesn't vary: without empty margins."""
        if self.fields:
            return self.kernel
        return lean(self.kernel, [channel.method for channel in self.channels])

    @cached_property
    def nodes(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] | None:
        """The nodes (z, y, x) of all fields together; None when no channel's blur varies."""
        known = [one.nodes for one in self.fields if one is not None]
        if not known:
            return None
        z, y, x = (tuple(sorted({v for one in known for v in one[axis]})) for axis in range(3))
        return z, y, x

    @property
    def kernel_counts(self) -> tuple[int, int]:
        """Frames and channels that have kernels of their own."""
        frames, channels = self.kernel.array.shape[:2]
        return frames, max(channels, len(self.fields))

    def kernels_at(self, t: int, c: int) -> NDArray[np.float32]:
        """Give the kernels of a frame and channel as they are stored, shape (z, y, x).

        One kernel, or a mosaic of those at `nodes`: node (i, j, k) is block (i, j, k).
        """
        one = self.kernel.at(t, c)
        if self.nodes is None:
            return one
        grid = tuple(len(line) for line in self.nodes)
        field = self.field(c)
        if field is None:
            return np.tile(one, grid)
        blocks = np.zeros((*grid, *one.shape), np.float32)
        z, y, x = (
            slice(want // 2 - have // 2, want // 2 - have // 2 + have)
            for have, want in zip(field.shape, one.shape, strict=True)
        )
        blocks[..., z, y, x] = field.on(self.nodes).kernels()
        mosaic: NDArray[np.float32] = blocks.transpose(0, 3, 1, 4, 2, 5).reshape(
            [n * k for n, k in zip(grid, one.shape, strict=True)]
        )
        return mosaic

    @property
    def stored_kernels(self) -> NDArray[np.float32]:
        """All kernels as they are stored, axes t, c, z, y, x."""
        if self.nodes is None:
            return self.kernel.array
        frames, channels = self.kernel_counts
        return np.stack([
            np.stack([self.kernels_at(t, c) for c in range(channels)]) for t in range(frames)
        ])  # fmt: skip

    @property
    def shards(self) -> Shards:
        """The files of the image, and the tiles in each."""
        return Shards(self.grid.counts, self.shard)

    @property
    def finds_kernels(self) -> bool:
        """Whether each tile finds a kernel of its own."""
        return self.scope == "tile"

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that decides the result, in hexadecimal."""
        data = self.to_dict()
        for name in ("memory", "disk", "files", "notes", "expected_seam"):
            del data[name]
        for channel in data["channels"]:
            del channel["halo_curves"], channel["decided"]
        for one in [data["kernel"], *filter(None, data.get("fields", ()))]:
            del one["report"]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, kernels as base64 of little-endian float32."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["layout"] = asdict(self.layout)
        data["source"] = self.source.to_dict() if self.source else None
        data["grid"] = asdict(self.grid)
        if self.grid.multiple_of == (1, 1, 1):  # as above: such plans keep the key they always had
            del data["grid"]["multiple_of"]
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
        data["kernel"] = kernel_json.plain(self.kernel)
        data["notes"] = list(self.notes)
        data["fields"] = [None if one is None else kernel_json.plain(one) for one in self.fields]
        if not self.fields:  # plans of one kernel for all keep the key they always had
            del data["fields"]
        usual = {"chunk": None, "shard": (1, 1, 1, 1, 1), "codec": "zstd", "fingerprint": ""}
        for name in [name for name, value in usual.items() if data[name] == value]:
            del data[name]
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
        values["kernel"] = kernel_json.kernel_of(data["kernel"])
        values["notes"] = tuple(data["notes"])
        for name in ("chunk", "shard"):
            if name in values:
                values[name] = tuple(values[name])
        fields = data.get("fields", ())
        values["fields"] = tuple(
            None if one is None else kernel_json.field_of(one) for one in fields
        )
        return cls(**values)
