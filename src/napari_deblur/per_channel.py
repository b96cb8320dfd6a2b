"""What a job says of single channels: its ``[[channel]]`` tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from napari_deblur import words
from napari_deblur.kernel_sets import of_each
from napari_deblur.places import place_of
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.registry import methods, psfs

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.protocols import KernelField
    from napari_deblur.stack import Region, Stack

__all__ = [
    "ChannelTable",
    "Given",
    "asked_of",
    "check_psf",
    "facts_of",
    "given_in",
    "kernels_of",
    "known_of",
    "methods_of",
    "psfs_of",
    "tables_of",
    "triple",
]

Given: TypeAlias = "Kernel | KernelField"
# Of a job or a table, what goes into the facts.
FACTS = (
    "gain", "offset", "read_noise", "background", "na", "wavelength", "n_immersion", "n_sample",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ChannelTable:
    """What is asked of one channel; what is not there is as for all channels.

    Parameters
    ----------
    index, name : int, str
        Which channel: one of the two; indices are the file's, from 0.
    method, parameters, kernel, psf, psf_parameters
        As in the job. A method without parameters has its defaults.
    gain, offset, read_noise, background : float
        Of the camera, in counts.
    na, wavelength, n_immersion, n_sample : float
        Of the optics; the wavelength of the emitted light in µm.
    """

    index: int | None = None
    name: str | None = None
    method: str | None = None
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kernel: str | None = None
    psf: str | None = None
    psf_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gain: float | None = None
    offset: float | None = None
    read_noise: float | None = None
    background: float | None = None
    na: float | None = None
    wavelength: float | None = None
    n_immersion: float | None = None
    n_sample: float | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if (self.index is None) == (self.name is None):
            raise ValueError("a table for a channel says which one, by index or by name: index = 0")
        if self.psf is not None and self.kernel is not None:
            raise ValueError(f"channel {self.key} has a psf and a kernel: leave one of them out")
        check_psf(self.psf, self.psf_parameters)
        facts_of(self)

    @property
    def key(self) -> int | str | None:
        """Index or name of the channel."""
        return self.name if self.index is None else self.index


def check_psf(psf: str | None, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of no psf."""
    if parameters and psf is None:
        raise ValueError(
            f"there are parameters of a psf ({', '.join(parameters)}) but no psf: name one of "
            f"{', '.join(psfs)}"
        )


def facts_of(asked: Any) -> Facts | None:
    """Give what a job or table says of camera and optics; None if nothing is."""
    from napari_deblur.facts import check_given

    said = {name: value for name in FACTS if (value := getattr(asked, name)) is not None}
    check_given(**{name: value for name, value in said.items() if name in FACTS[:4]})
    return Facts().completed("given", **said) if said else None


def asked_of(job: Job, stack: Stack) -> dict[str, Any]:
    """Give the arguments of `planning` for this stack."""
    if job.tile is not None and len(job.tile) == 2 and "z" in stack.axes:
        raise ValueError(
            f'tile {job.tile} has 2 values but the stack has axes "{stack.axes}": give z, y, x'
        )
    same = (
        "scope", "seam", "accept_seam", "device", "dtype", "codec", "shards", "gamma",
        "keep_background", "centre_kernel",
    )  # fmt: skip
    kernels = kernels_of(job, stack)
    return {name: getattr(job, name) for name in same} | {
        "method": methods_of(job, stack),
        "facts": known_of(job, stack),
        "psf": psfs_of(job, stack, kernels),
        "kernel": kernels,
        "shape": triple(job.shape),
        "tile": triple(job.tile),
        "memory": None if job.memory is None else words.bytes_of(job.memory),
    }


def triple(values: tuple[int, ...] | None) -> Any:
    """Give z, y, x; z is 1 where only y, x are given."""
    return values if values is None or len(values) == 3 else (1, *values)


def methods_of(job: Job, stack: Stack) -> Any:
    """Give the method that a job asks for: None, one for all, or {channel: method}."""
    one = None if job.method is None and not job.parameters else job.restorer()
    tables = tables_of(job, stack)
    if not any(table.method or table.parameters for table in tables.values()):
        return one
    found = dict.fromkeys(range(stack.shape[1]), one)
    for c, table in tables.items():
        if table.method is not None:
            found[c] = words.made(methods[table.method], table.parameters)
        elif table.parameters:
            # Of the job's method, some with other values here.
            found[c] = words.made(methods[job.method_name], {**job.parameters, **table.parameters})
    return found


def psfs_of(job: Job, stack: Stack, kernels: Given | Mapping[int, Given] | None) -> Any:
    """Give the psf that a job asks for, or {channel: psf} of channels without a kernel."""
    one = _psf(job)
    tables = {c: found for c, table in tables_of(job, stack).items() if (found := _psf(table))}
    if not tables:
        return one
    having = kernels if isinstance(kernels, Mapping) else {}
    rest = [c for c in range(stack.shape[1]) if one and c not in having]
    return dict.fromkeys(rest, one) | tables


def _psf(asked: Any) -> tuple[str, dict[str, Any]] | None:
    if asked.psf is None:
        return None
    return asked.psf, words.exact(psfs[asked.psf], asked.psf_parameters)


def known_of(job: Job, stack: Stack) -> Facts | dict[int, Facts] | None:
    """Give what a job says of camera and optics, for all channels or for each."""
    one, tables = facts_of(job), tables_of(job, stack)
    if not tables:
        return one
    every = dict.fromkeys(range(stack.shape[1]), one or Facts())
    for c, table in tables.items():
        said = {n: getattr(table, n) if getattr(table, n) is not None else getattr(job, n)
                for n in FACTS}  # fmt: skip
        every[c] = Facts().completed("given", **said)
    return every


def tables_of(job: Job, stack: Stack) -> dict[int, ChannelTable]:
    """Give the tables by channel of the stack; those of channels that were not picked are left.

    Raises
    ------
    ValueError
        For a table of no channel, or a second one.
    """
    found: dict[int, ChannelTable] = {}
    for table in job.channel:
        c = _channel_named(stack, table.key, "table")
        if c in found:
            raise ValueError(f'channel "{table.key}" has two tables: put them into one')
        if c >= 0:
            found[c] = table
    return found


def kernels_of(job: Job, stack: Stack) -> Given | dict[int, Given] | None:
    """Read the kernels of a job: one for all channels of `stack`, or one for each that has one.

    One file for all may hold a kernel for each channel, or one that varies over the field. Where a
    job takes a region of a file, the nodes of a field count in voxels of the file.
    """
    tables = tables_of(job, stack)
    where = stack.source.region if job.region is not None and stack.source else None
    read = partial(given_in, size=job.kernel_pixel_size, region=where)
    found: dict[int, Given] = {}
    if isinstance(job.kernel, str):
        whole = read(job.kernel)
        if not tables:
            return whole
        every = range(stack.shape[1])
        found = dict.fromkeys(every, whole)
        if isinstance(whole, Kernel):
            found |= of_each(stack, whole)
    for key, file in job.kernel.items() if isinstance(job.kernel, Mapping) else ():
        c = _channel_named(stack, key, f"kernel {file}")
        found[c] = read(file)
    for c, table in tables.items():
        if table.psf is not None:
            found.pop(c, None)
        if table.kernel is not None:
            found[c] = read(table.kernel)
    return found or None


def given_in(file: str, size: Any = None, region: Region | None = None) -> Given:
    """Read kernels or a field.

    A file may hold a kernel for each frame and channel, but the field of one channel only.

    Parameters
    ----------
    file : str
    size : (z, y, x) or (y, x), optional
        Overrides what the file says of the voxels.
    region : of z, y, x, optional
        Where the stack lies in its file: nodes of a field are moved by it. Those of a result that
        was itself a region's count from there.
    """
    from napari_deblur.kernels import load_kernel
    from napari_deblur.results import is_field, load_field, open_result

    if size is not None and len(size) == 2:
        size = (1.0, *size)  # a kernel of y, x has one plane, however thick
    if is_field(file):
        many = len(open_result(file).plan.fields) if place_of(file).is_dir() else 1
        if many > 1:
            raise ValueError(
                f"{file} has a field for each of {many} channels: save those that are meant with "
                "save_field, and give each as CHANNEL=FILE"
            )
        field = load_field(file)
        if region is not None:
            source = open_result(file).plan.source if place_of(file).is_dir() else None
            own = (source.region if source else None) or ((0, 0),) * 3
            field = field.moved([a - b for (a, _), (b, _) in zip(own, region, strict=True)])
        return field if size is None else dataclasses.replace(field, pixel_size=size)
    return load_kernel(file, pixel_size=size, several=True)


def _channel_named(stack: Stack, key: int | str | None, what: str) -> int:
    """Find a channel by its name or its number in the file.

    Returns
    -------
    int
        -1 for a table of a channel that was not picked.

    Raises
    ------
    ValueError
        When there is none.
    """
    named = {channel.name: c for c, channel in enumerate(stack.channels) if channel.name}
    picked = stack.source.channels if stack.source else None
    numbered = {str(n): c for c, n in enumerate(picked or range(stack.shape[1]))}
    if str(key) in numbered | named:
        return (numbered | named)[str(key)]
    if what == "table" and picked is not None:
        return -1
    raise ValueError(
        f'there is no channel "{key}" for the {what}; there are: {", ".join([*numbered, *named])}'
    )
