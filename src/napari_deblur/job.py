"""A job: what is asked for, as plain data. TOML, command line and form say the same thing.

How many processes do it, and whether it goes on or starts anew, belongs to a run and not to the
job: the result does not depend on it.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import tomllib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from napari_deblur import per_channel, words
from napari_deblur.checking import default_method
from napari_deblur.per_channel import ChannelTable
from napari_deblur.places import Place, place_of
from napari_deblur.registry import methods

if TYPE_CHECKING:
    from napari_deblur.batch import Progress
    from napari_deblur.plans import Plan
    from napari_deblur.protocols import Kernel
    from napari_deblur.stack import Stack

__all__ = ["ChannelTable", "Job"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is asked for; the options of ``napari-deblur run``, by the same names.

    What is not listed here is as in `planning` and `open_stack`.

    Parameters
    ----------
    input : path or URL
    output : path
        None: `suggested_output`.
    method : str or None
        A name of the catalogue. None: ``accelerated-richardson-lucy`` with a kernel or psf,
        ``blind`` without.
    parameters : mapping
        Of the method; what is not there has its default.
    kernel : file, or {channel: file}
        Channels by name or by number.
    psf : str
        A name of the catalogue of PSFs, for channels without a kernel of their own.
    psf_parameters : mapping
        What is not there is taken from the optics, or has its default.
    centre_kernel : bool
        Move the kernels to their middle.
    channel : tuple of ChannelTable
        What is asked of single channels: in TOML ``[[channel]]`` tables.
    times, region : str
        ``0,2,5:8`` and ``z0:z1,y0:y1,x0:x1``; an end that is left out is the stack's.
    channels : names or numbers
    tile, shape, pixel_size, kernel_pixel_size : (z, y, x) or (y, x)
    memory : bytes, or ``4GB``
    gain, offset, read_noise, background : float
        Of the camera, for all channels, in counts (the gain in counts for a photon); what is not
        given is estimated for each channel.
    na, wavelength, n_immersion, n_sample : float
        Of the optics, where the metadata do not say or say it wrongly; the wavelength of the
        emitted light in µm.
    """

    input: str
    output: str | None = None
    method: str | None = None
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scope: str = "channel"
    kernel: str | Mapping[str, str] | None = None
    kernel_pixel_size: tuple[float, ...] | None = None
    psf: str | None = None
    psf_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    centre_kernel: bool = False
    shape: tuple[int, ...] | None = None
    axes: str | None = None
    pixel_size: tuple[float, ...] | None = None
    channels: tuple[int | str, ...] | None = None
    times: str | None = None
    region: str | None = None
    level: int = 0
    series: int | None = None
    field: str | None = None
    sparse: bool = False
    tile: tuple[int, ...] | None = None
    seam: float = 1e-3
    accept_seam: bool = False
    memory: int | str | None = None
    device: str = "auto"
    dtype: str | None = None
    codec: str = "zstd"
    shards: int | None = None
    gamma: str = "linear"
    keep_background: bool = True
    gain: float | None = None
    offset: float | None = None
    read_noise: float | None = None
    background: float | None = None
    na: float | None = None
    wavelength: float | None = None
    n_immersion: float | None = None
    n_sample: float | None = None
    channel: tuple[ChannelTable, ...] = ()

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("tile", "shape", "pixel_size", "kernel_pixel_size"):
            values = getattr(self, name)
            if values is not None and (len(values) not in (2, 3) or not all(v > 0 for v in values)):
                raise ValueError(f"{name} is {tuple(values)}: give z, y, x or y, x, each above 0")
        if self.memory is not None:
            words.bytes_of(self.memory)
        if self.psf is not None and isinstance(self.kernel, str):
            raise ValueError("there are a psf and a kernel for all channels: leave one of them out")
        per_channel.check_psf(self.psf, self.psf_parameters)
        per_channel.facts_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Give plain data: the input, the method, and all else that is not the default."""
        plain = words.plain(self)
        first = {"input": self.input, "method": self.method_name}
        # Where channels differ each has its own default.
        if self.method is None and (self.channel or isinstance(self.kernel, Mapping)):
            del first["method"]
        return {**plain, **first}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "the job") -> Self:
        """Make the job that `to_dict` described; ValueError names what is wrong in `where`."""
        return words.checked(cls, data, where)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; relative paths in it are relative to it."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'there is no job "{path}"')
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'"{path}" is no TOML file: {error}') from error
        return cls.from_dict(data, f'"{path.name}"').resolved(path.parent)

    def save(self, path: str | Path) -> None:
        """Write a TOML file, with absolute paths."""
        import tomli_w

        text = tomli_w.dumps(self.resolved().to_dict())
        Path(path).write_text(text, encoding="utf-8", newline="\n")

    def resolved(self, folder: str | Path = ".") -> Self:
        """Make relative paths absolute, taken from `folder`."""
        kernel: Any = self.kernel
        if isinstance(kernel, Mapping):
            kernel = {channel: _absolute(file, folder) for channel, file in kernel.items()}
        elif kernel is not None:
            kernel = _absolute(kernel, folder)
        output = None if self.output is None else _absolute(self.output, folder)
        tables = tuple(
            one
            if one.kernel is None
            else dataclasses.replace(one, kernel=_absolute(one.kernel, folder))
            for one in self.channel
        )
        new = {"input": _absolute(self.input, folder), "output": output, "kernel": kernel}
        return dataclasses.replace(self, channel=tables, **new)

    def command(self) -> str:
        """Give the command line that does the same.

        Raises
        ------
        ValueError
            For a job with tables for channels, which only a file can say.
        """
        if self.channel:
            raise ValueError(
                "no options say what is asked of single channels: save the job and run its file"
            )
        line = ["napari-deblur", "run", self.input, *([self.output] if self.output else [])]
        data = self.to_dict()
        for name in ("input", "output", "kernel", "parameters", "psf_parameters"):
            data.pop(name, None)
        if isinstance(self.kernel, Mapping):
            for channel, file in self.kernel.items():
                line += ["--kernel", f"{channel}={file}"]
        elif self.kernel is not None:
            line += ["--kernel", self.kernel]
        for name, value in data.items():
            if name == "keep_background":
                line.append("--no-background")
            elif value is True:
                line.append(f"--{name.replace('_', '-')}")
            else:
                line += [f"--{name.replace('_', '-')}", words.as_word(value)]
        for option, values in (("--set", self.parameters), ("--psf-set", self.psf_parameters)):
            for name, value in values.items():
                line += [option, f"{name}={words.as_word(value)}"]
        return shlex.join(line)

    def open(self) -> Stack:
        """Open what is to be restored: the frames, channels and region that were asked for."""
        from napari_deblur.selecting import opened

        return opened(self)

    @property
    def method_name(self) -> str:
        """The method, or the one that is taken when none is named."""
        if self.method is not None:
            return self.method
        known = self.kernel is not None or self.psf is not None
        return default_method(self.scope, known=known)

    def restorer(self) -> Any:
        """Make the method, with its parameters."""
        return words.made(methods[self.method_name], self.parameters)

    def planning(
        self, *, resume: bool = True, workers: int = 0, scheduler: str | None = None
    ) -> Generator[str, None, Plan]:
        """Decide the plan, saying what comes next; that of a result of the same job is taken.

        Without `memory` each of the workers gets its share; a `device` that this machine lacks may
        be that of a scheduler's workers.
        """
        from napari_deblur import offers, outputs, wishes
        from napari_deblur import planning as planner

        asked = per_channel.asked_of(self, stack := self.open())
        outputs.refuse_input(self.output_path, self.input)
        stored = outputs.stored_plan(self, stack) if resume else None
        if stored is not None and wishes.same_kernels(stored, stack, asked):
            yield f"taking the plan from {self.output_path}, which was made for the same job"
            return stored
        if resume:
            outputs.refuse_changed(self.output_path, stack.source)
        asked |= yield from offers.offered(self, workers, scheduler)
        return (yield from planner.planning(stack, **asked))

    def plan(self, *, resume: bool = True, workers: int = 0, scheduler: str | None = None) -> Plan:
        """Decide the plan, as `planning` does."""
        from napari_deblur.planning import drained

        return drained(self.planning(resume=resume, workers=workers, scheduler=scheduler))

    def estimate(self) -> Kernel:
        """Find the kernel of each channel: the kernel part of the plan alone."""
        from napari_deblur.estimating import estimate_kernel

        stack = self.open()
        return estimate_kernel(
            stack,
            self.restorer(),
            per_channel.triple(self.shape),
            first=per_channel.kernels_of(self, stack),
            scope=self.scope,
            device=self.device,
            facts=per_channel.known_of(self, stack),
        )

    def run(
        self,
        plan: Plan | None = None,
        *,
        workers: int = 0,
        scheduler: str | None = None,
        part: tuple[int, int] | None = None,
        resume: bool = True,
        overwrite: bool = False,
        fail_fast: bool = False,
        max_failed: int | None = None,
    ) -> Iterator[Progress]:
        """Do it: `batch.run` of the plan, to the job's output, with the job kept beside it.

        A part of it needs the plan of all parts: `joining.planning` makes it, or waits for it.
        """
        from napari_deblur import batch, outputs

        if plan is None and part is not None:
            raise ValueError("a part of a run needs the plan that all parts share: pass it")
        if plan is None:
            who: Any = {"workers": workers, "scheduler": scheduler}
            outputs.refuse(self.output or self.output_path, overwrite=overwrite, **who)
            plan = self.plan(resume=resume and not overwrite, **who)
        return batch.run(
            plan,
            self.output_path,
            job=self.resolved().to_dict(),
            workers=workers,
            scheduler=scheduler,
            part=part,
            resume=resume,
            overwrite=overwrite,
            fail_fast=fail_fast,
            max_failed=max_failed,
        )

    @property
    def output_path(self) -> Place:
        """Where the result goes."""
        from napari_deblur import outputs

        return place_of(self.output or outputs.suggested_output(self.input))


def _absolute(path: str, folder: str | Path) -> str:
    return path if "://" in path else os.path.abspath(Path(folder, Path(path).expanduser()))
