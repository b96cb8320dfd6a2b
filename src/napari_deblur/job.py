"""A job: what is asked for, as plain data. TOML, command line and form say the same thing.

How many processes do it, and whether it goes on or starts anew, belongs to a run and not to the
job: the result does not depend on it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import tomllib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from napari_deblur import words
from napari_deblur.registry import methods

if TYPE_CHECKING:
    from napari_deblur.batch import Progress
    from napari_deblur.plans import Plan
    from napari_deblur.protocols import Facts, Kernel
    from napari_deblur.stack import Stack

__all__ = ["Job"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is asked for; the options of ``napari-deblur run``, by the same names.

    Parameters
    ----------
    input : path or URL
    output : path
        None: `suggested_output`.
    method : str
        A name of the catalogue.
    parameters : mapping
        Of the method; what is not there has its default.
    kernel : file, or {channel: file}
        Channels by name or by number.
    times, region : str
        ``0,2,5:8`` and ``z0:z1,y0:y1,x0:x1``; an end that is left out is the stack's.
    channels : names or numbers
    tile, shape, pixel_size, kernel_pixel_size : (z, y, x) or (y, x)
    memory : bytes, or ``4GB``
    gain, offset, read_noise, background : float
        Of the camera, for all channels, in counts (the gain in counts for a photon); what is not
        given is estimated for each channel.

    The rest is as in `planning` and `open_stack`.
    """

    input: str
    output: str | None = None
    method: str = "blind-richardson-lucy"
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scope: str = "channel"
    kernel: str | Mapping[str, str] | None = None
    kernel_pixel_size: tuple[float, ...] | None = None
    shape: tuple[int, ...] | None = None
    axes: str | None = None
    pixel_size: tuple[float, ...] | None = None
    channels: tuple[int | str, ...] | None = None
    times: str | None = None
    region: str | None = None
    level: int = 0
    series: int | None = None
    field: str | None = None
    tile: tuple[int, ...] | None = None
    seam: float = 1e-3
    accept_seam: bool = False
    memory: int | str | None = None
    device: str = "auto"
    dtype: str | None = None
    gamma: str = "linear"
    keep_background: bool = True
    gain: float | None = None
    offset: float | None = None
    read_noise: float | None = None
    background: float | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("tile", "shape", "pixel_size", "kernel_pixel_size"):
            values = getattr(self, name)
            if values is not None and (len(values) not in (2, 3) or not all(v > 0 for v in values)):
                raise ValueError(f"{name} is {tuple(values)}: give z, y, x or y, x, each above 0")
        if self.memory is not None:
            words.bytes_of(self.memory)
        if self._camera():
            from napari_deblur.facts import check_given

            check_given(**self._camera())

    # As data ------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Give plain data: the input, the method, and all else that is not the default."""
        plain = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name in ("input", "method")
            or getattr(self, f.name) != (f.default if f.name != "parameters" else {})
        }
        data: dict[str, Any] = json.loads(json.dumps(plain))
        return data

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
        except ValueError as error:
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
        new = {"input": _absolute(self.input, folder), "output": output, "kernel": kernel}
        return dataclasses.replace(self, **new)

    def command(self) -> str:
        """Give the command line that does the same."""
        line = ["napari-deblur", "run", self.input, *([self.output] if self.output else [])]
        data = self.to_dict()
        for name in ("input", "output", "kernel", "parameters"):
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
        for name, value in self.parameters.items():
            line += ["--set", f"{name}={words.as_word(value)}"]
        return shlex.join(line)

    # As work ------------------------------------------------------------------------------------

    def open(self) -> Stack:
        """Open what is to be restored: the frames, channels and region that were asked for."""
        from napari_deblur.opening import open_stack

        stack = open_stack(
            self.input,
            self.axes,
            self.pixel_size,
            series=self.series,
            level=self.level,
            field=self.field,
        )
        times = None if self.times is None else _times(stack, self.times)
        keys = self.channels
        channels = None if keys is None else [_channel(stack, key) for key in keys]
        region: Any = None if self.region is None else words.spans(self.region, stack.shape[2:])
        if times is None and channels is None and region is None:
            return stack
        return stack.selected(times=times, channels=channels, region=region)

    def restorer(self) -> Any:
        """Make the method, with its parameters."""
        return words.made(methods[self.method], self.parameters)

    def kernels(self, stack: Stack) -> Kernel | dict[int, Kernel] | None:
        """Read the kernels: one for all channels of `stack`, or one for each."""
        from napari_deblur.kernels import load_kernel

        if self.kernel is None:
            return None
        size: Any = self.kernel_pixel_size
        if size is not None and len(size) == 2:
            size = (1.0, *size)  # a kernel of y, x has one plane, however thick
        if not isinstance(self.kernel, Mapping):
            return load_kernel(self.kernel, pixel_size=size)
        named = {channel.name: c for c, channel in enumerate(stack.channels) if channel.name}
        picked = stack.source.channels if stack.source and stack.source.channels else None
        numbered = {str(n): c for c, n in enumerate(picked or range(stack.shape[1]))}
        found = {}
        for key, file in self.kernel.items():
            if key not in named | numbered:
                raise ValueError(
                    f'there is no channel "{key}" for the kernel {file}; there are: '
                    f"{', '.join([*numbered, *named])}"
                )
            found[(numbered | named)[key]] = load_kernel(file, pixel_size=size)
        return found

    def _camera(self) -> dict[str, float]:
        names = ("gain", "offset", "read_noise", "background")
        return {name: v for name in names if (v := getattr(self, name)) is not None}

    def facts(self) -> Facts | None:
        """Give what is said of the camera; None if nothing is."""
        from napari_deblur.protocols import Facts

        return Facts().completed("given", **self._camera()) if self._camera() else None

    def asked(self, stack: Stack) -> dict[str, Any]:
        """Give the arguments of `planning` for this stack."""
        if self.tile is not None and len(self.tile) == 2 and "z" in stack.axes:
            raise ValueError(
                f'tile {self.tile} has 2 values but the stack has axes "{stack.axes}": give z, y, x'
            )
        same = ("scope", "seam", "accept_seam", "device", "dtype", "gamma", "keep_background")
        return {name: getattr(self, name) for name in same} | {
            "facts": self.facts(),
            "kernel": self.kernels(stack),
            "shape": _triple(self.shape),
            "tile": _triple(self.tile),
            "memory": None if self.memory is None else words.bytes_of(self.memory),
        }

    def planning(self, *, resume: bool = True) -> Generator[str, None, Plan]:
        """Decide the plan, saying what comes next; that of a result of the same job is taken."""
        from napari_deblur import outputs
        from napari_deblur import planning as planner

        method, asked = self.restorer(), self.asked(stack := self.open())
        outputs.refuse_input(self.output_path, self.input)
        if resume and (stored := outputs.stored_plan(self, stack, asked["kernel"])) is not None:
            yield f"taking the plan from {self.output_path}, which was made for the same job"
            return stored
        return (yield from planner.planning(stack, method, **asked))

    def plan(self, *, resume: bool = True) -> Plan:
        """Decide the plan."""
        steps = self.planning(resume=resume)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                plan: Plan = done.value
                return plan

    def estimate(self) -> Kernel:
        """Find the kernel of each channel: the kernel part of the plan alone."""
        from napari_deblur import planning as planner

        method, shape, stack = self.restorer(), _triple(self.shape), self.open()
        first = self.kernels(stack)
        return planner.estimate_kernel(
            stack, method, shape, first=first, device=self.device, facts=self.facts()
        )

    def run(
        self,
        plan: Plan | None = None,
        *,
        workers: int = 0,
        scheduler: str | None = None,
        resume: bool = True,
        overwrite: bool = False,
        fail_fast: bool = False,
    ) -> Iterator[Progress]:
        """Do it: `batch.run` of the plan, to the job's output, with the job kept beside it."""
        from napari_deblur import batch, outputs

        if plan is None:
            how: Any = {"workers": workers, "scheduler": scheduler, "overwrite": overwrite}
            outputs.refuse(self.output or self.output_path, **how)
        return batch.run(
            plan or self.plan(resume=resume and not overwrite),
            self.output_path,
            job=self.resolved().to_dict(),
            workers=workers,
            scheduler=scheduler,
            resume=resume,
            overwrite=overwrite,
            fail_fast=fail_fast,
        )

    @property
    def output_path(self) -> Path:
        """Where the result goes."""
        from napari_deblur import outputs

        return Path(self.output or outputs.suggested_output(self.input))


def _absolute(path: str, folder: str | Path) -> str:
    return path if "://" in path else os.path.abspath(Path(folder, Path(path).expanduser()))


def _triple(values: tuple[int, ...] | None) -> Any:
    return values if values is None or len(values) == 3 else (1, *values)


def _times(stack: Stack, text: str) -> tuple[int, ...]:
    try:
        return words.indices(text, stack.shape[0], "time")
    except ValueError as error:
        if "t" in stack.axes:
            raise
        raise ValueError(
            f'{error}: it has no axis t: leave times out, or name the axes, e.g. axes="tyx"'
        ) from error


def _channel(stack: Stack, key: int | str) -> int:
    names = [channel.name for channel in stack.channels]
    if isinstance(key, str) and key in names:
        return names.index(key)
    if str(key).isdecimal() and int(key) < len(names):
        return int(key)
    known = ", ".join(filter(None, names)) or "none has a name"
    raise ValueError(f'there is no channel "{key}": the stack has {len(names)} (from 0; {known})')
