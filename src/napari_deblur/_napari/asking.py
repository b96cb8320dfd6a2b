"""What the form asks for: a job whose input is a layer until its pixels have an address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_deblur import kernel_json
from napari_deblur.job import Job

if TYPE_CHECKING:
    from napari_deblur.per_channel import Given
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Source, Stack

__all__ = [
    "OF_LAYERS",
    "Ask",
    "changed_from_defaults",
    "deciding",
    "free_path",
    "locate",
    "paths_after",
    "saved_kernel",
]


# How files of kernels end that were saved because they were layers.
OF_LAYERS = ".kernel.npz"


@dataclass(frozen=True, eq=False)
class Ask:
    """A job for the pixels of a layer.

    Parameters
    ----------
    job : Job
        Its input is empty, and its channels and tables count the layer's channels, until `locate`
        gives both.
    kernel : Kernel or KernelField, optional
        One that is in memory, in place of the job's.
    stamp : str
        Tells a file of a kernel from another one of the same name.
    """

    job: Job
    kernel: Given | None = None
    stamp: str = ""

    @classmethod
    def of(cls, method: Any, kernel: Given | None = None, **asked: Any) -> Self:
        """Ask for a method of the catalogue; the rest goes into the job."""
        from napari_deblur.registry import methods

        name, values = methods.name_of(method), changed_from_defaults(method)
        return cls(Job("", method=name, parameters=values, **asked), kernel)

    @cached_property
    def method(self) -> Any:
        """The method for channels that have no table of their own."""
        return self.job.restorer()

    @property
    def scope(self) -> str:
        """How many kernels are found."""
        return self.job.scope

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of the kernel that is found."""
        return self.job.shape

    @property
    def device(self) -> str:
        """Where to compute."""
        return self.job.device

    @cached_property
    def key(self) -> str:
        """Tell two askings apart; where the result goes is no part of them."""
        kernel = None if self.kernel is None else kernel_json.plain(self.kernel)
        asked = {**self.job.to_dict(), "output": None}
        text = json.dumps([asked, kernel, self.stamp], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def arguments(self, stack: Stack) -> dict[str, Any]:
        """Give the arguments of `planning` for the stack of the layer."""
        from napari_deblur.per_channel import asked_of
        from napari_deblur.stack import Source

        if stack.source is None:  # tables count the channels of the layer
            picked = stack.pixels.channels
            unnamed = Source("", "", channels=None if picked is None else tuple(picked))
            stack = replace(stack, source=unnamed)
        if self.kernel is None:
            return asked_of(self.job, stack)
        return asked_of(replace(self.job, kernel=None), stack) | {"kernel": self.kernel}


def changed_from_defaults(thing: Any) -> dict[str, Any]:
    """Give those parameters of a dataclass's object that are not the defaults."""
    found = {}
    for one in fields(thing):
        default = one.default
        if default is MISSING and one.default_factory is not MISSING:
            default = one.default_factory()
        if one.init and getattr(thing, one.name) != default:
            found[one.name] = getattr(thing, one.name)
    return found


def deciding(ask: Ask, stack: Stack, **changes: Any) -> Generator[str, None, Plan]:
    """Make the plan, saying what comes next; `changes` go before what is asked."""
    from napari_deblur.planning import planning

    return (yield from planning(stack, **(ask.arguments(stack) | changes)))


def saved_kernel(kernel: Given, folder: Path, name: str) -> Path:
    """Save a kernel of a layer, so that a job can name it; the same one has the same file."""
    from napari_deblur.kernel_files import save_kernel
    from napari_deblur.protocols import Kernel
    from napari_deblur.results import save_field

    plain = kernel_json.plain(kernel)
    plain.pop("report")
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
    bare = "".join(c if c.isalnum() else "-" for c in name) or "kernel"
    path = folder / f"{bare}-{digest}{OF_LAYERS}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name.removesuffix('.npz')}.partial.npz")
        if isinstance(kernel, Kernel):
            save_kernel(kernel, partial)
        else:
            save_field(kernel, partial)
        partial.replace(path)
    return path


def locate(job: Job, source: Source, stack: Stack, output: str) -> Job:
    """Give the job of a layer with an address, so that it can be done anywhere.

    Parameters
    ----------
    job : Job
        Its channels and tables count the channels of the layer.
    source : Source
        Where the pixels of the whole layer lie; perhaps some channels of a file.
    stack : Stack
        The layer.
    output : str
    """
    picked, count = source.channels, stack.shape[1]
    numbers = picked if picked is not None else tuple(range(count))
    channels: tuple[int, ...] | None = picked
    if job.channels is not None:
        channels = tuple(numbers[int(c)] for c in job.channels)
    tables = tuple(
        replace(one, index=numbers[one.index]) for one in job.channel if one.index is not None
    )
    # Of the axes there are; with one size missing none can be said.
    known = (stack.pixel_size or (None, None, None))[0 if "z" in stack.axes else 1 :]
    size = tuple(v for v in known if v is not None)
    return replace(
        job,
        input=source.address,
        output=output,
        axes=source.axes,
        pixel_size=size if len(size) == len(known) else None,
        series=source.series,
        level=source.level,
        field=source.field,
        channels=channels,
        channel=tables,
        times=None if source.times is None else ",".join(map(str, source.times)),
        region=None
        if source.region is None
        else ",".join(f"{start}:{stop}" for start, stop in source.region),
    )


def paths_after(path: str | Path) -> Iterator[Path]:
    """Give the path, and then the same with a number."""
    wanted, number = Path(path), 1
    bare = wanted.name.removesuffix(".deblur.zarr").removesuffix(".zarr")
    while True:
        yield wanted if number == 1 else wanted.with_name(f"{bare}-{number}.deblur.zarr")
        number += 1


def free_path(path: str | Path, key: str) -> Path:
    """Give `path` if nothing is there, or this plan's result; else the first free number.

    An earlier result is never overwritten; an unfinished one of the same plan is continued.
    """
    from napari_deblur.results import open_result

    for candidate in paths_after(path):
        if not candidate.exists():
            return candidate
        try:
            if open_result(candidate).key == key:
                return candidate
        except (ValueError, OSError):
            pass
    raise AssertionError  # there is always another number
