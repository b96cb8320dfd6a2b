"""How the options of the command line become a job, and what else commands ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_deblur import optics, words
from napari_deblur.parts import Part

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.protocols import Facts

__all__ = [
    "asked",
    "beads_asked",
    "job_of",
    "kernel_size",
    "optics_asked",
    "part_of",
    "psf_asked",
]

READ: dict[str, Callable[[str], Any]] = {
    "kernel_pixel_size": words.floats,
    "memory": words.bytes_of,
    "pixel_size": words.floats,
    "shape": words.integers,
    "tile": words.integers,
}


def asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a job for those options that were used.

    Raises
    ------
    typer.BadParameter
        When an option cannot be read.
    """
    from napari_deblur.job import Job

    names = {field.name for field in dataclasses.fields(Job)}
    used = {
        name: value
        for name, value in {**options, **_looked_up(options)}.items()
        if name in names and value is not None and value is not False and value not in ([], ())
    }
    for name, read in READ.items():
        if name in used:
            value = _usage(name, read, used[name])
            used[name] = used[name] if name == "memory" else value
    if "channels" in used:
        parts = [part.strip() for part in used["channels"].split(",")]
        used["channels"] = tuple(int(p) if p.isdecimal() else p for p in parts)
    if "kernel" in used:
        used["kernel"] = _kernels(used["kernel"])
    if options.get("no_background"):
        used["keep_background"] = False
    for option, name in (("set_", "parameters"), ("psf_set", "psf_parameters")):
        if options.get(option):
            used[name] = _usage(option.strip("_"), words.pairs, options[option])
    return used


def _looked_up(options: Mapping[str, Any]) -> dict[str, float]:
    """Give the optics of the objective and fluorophore that were named, less what was given."""
    found: dict[str, float] = {}
    for option, names in (
        ("objective", {"na": "na", "n_immersion": "n_immersion"}),
        ("fluorophore", {"emission": "wavelength"}),
    ):
        if options.get(option) is None:
            continue
        try:
            thing = getattr(optics, option)(options[option])
        except KeyError as error:
            raise typer.BadParameter(error.args[0], param_hint=f"--{option}") from error
        found |= {to: getattr(thing, of) for of, to in names.items() if options.get(to) is None}
    return found


def job_of(options: Mapping[str, Any]) -> Job:
    """Make a job of the options, or of a job file and the options that go before it."""
    from napari_deblur.job import Job
    from napari_deblur.registry import methods, psfs

    given = asked(options)
    parameters, of_psf = given.pop("parameters", {}), given.pop("psf_parameters", {})
    address = given.pop("input")
    job = Job.load(address) if address.endswith(".toml") else Job(address)
    _refuse_tables(job, given | {"parameters": parameters, "psf_parameters": of_psf})
    # Those of another method or psf don't fit.
    kept = job.parameters if given.get("method", job.method_name) == job.method_name else {}
    kept_of_psf = job.psf_parameters if given.get("psf", job.psf) == job.psf else {}
    if "psf" in given and isinstance(job.kernel, str):
        given.setdefault("kernel", None)
    if isinstance(given.get("kernel"), str):
        given.setdefault("psf", None)
    job = dataclasses.replace(job, **given, psf_parameters={}, parameters=kept)
    if of_psf and job.psf is None:
        raise typer.BadParameter("name the psf too: --psf gaussian", param_hint="--psf-set")
    typed = words.typed(methods[job.method_name], parameters) if parameters else {}
    typed_of_psf = words.typed(psfs[job.psf], of_psf) if job.psf and of_psf else {}
    return dataclasses.replace(
        job,
        parameters={**kept, **typed},
        psf_parameters={**kept_of_psf, **typed_of_psf} if job.psf else {},
    )


def _refuse_tables(job: Job, given: Mapping[str, Any]) -> None:
    """Refuse options that tables for single channels, in a job file, would go before in silence."""
    from napari_deblur.per_channel import FACTS

    for table in job.channel:
        for name in ("method", "parameters", "kernel", "psf", "psf_parameters", *FACTS):
            if given.get(name) not in (None, {}) and getattr(table, name) not in (None, {}):
                option = {"parameters": "set", "psf_parameters": "psf-set"}.get(name, name)
                raise typer.BadParameter(
                    f"the job file has one for channel {table.key}: change it there",
                    param_hint=f"--{option.replace('_', '-')}",
                )


def optics_asked(options: Mapping[str, Any]) -> Facts:
    """Give the optics that were asked for, by number or by name."""
    from napari_deblur.protocols import Facts

    used = {**options, **_looked_up(options)}
    names = ("na", "wavelength", "n_immersion", "n_sample")
    return Facts(**{name: used[name] for name in names if used.get(name) is not None})


def psf_asked(options: Mapping[str, Any]) -> tuple[str, dict[str, Any], Facts, Any, Any]:
    """Give the model that is to be sampled: name, parameters, optics, voxel size, shape or None.

    Raises
    ------
    typer.BadParameter
        When an option cannot be read, or there is no voxel size.
    """
    from napari_deblur.registry import psfs

    name, size, shape = options["psf"], options["pixel_size"], options["shape"]
    if size is None:
        raise typer.BadParameter(
            "a psf is in µm: give the voxels' size, z,y,x, or y,x for one plane",
            param_hint="--pixel-size",
        )
    given = _usage("psf_set", words.pairs, options["psf_set"] or [])
    values = words.typed(psfs[name], given) if given else {}
    wanted = None if shape is None else _usage("shape", words.integers, shape)
    return name, values, optics_asked(options), _usage("pixel_size", words.floats, size), wanted


def beads_asked(
    from_: str | None, method: str | None, diameter: float | None, saturation: float | None
) -> dict[str, Any] | None:
    """Give what was asked about beads; None where the kernel is not to come from beads.

    Raises
    ------
    typer.BadParameter
        When the options exclude each other.
    """
    if from_ is not None and from_ != "beads":
        raise typer.BadParameter(f'"{from_}" is not known: use beads', param_hint="--from")
    if from_ is None:
        for name, value in (("diameter", diameter), ("saturation", saturation)):
            if value is not None:
                raise typer.BadParameter("this is for --from beads", param_hint=f"--{name}")
        return None
    if method is not None:
        raise typer.BadParameter(
            "beads are averaged, without a method: leave it out", param_hint="--method"
        )
    return {"diameter": diameter, "saturation": saturation}


def part_of(text: str | None) -> tuple[int, int] | None:
    """Read which part is to be done, from --part, as (k, n)."""
    if text is None:
        return None
    part = _usage("part", Part.read, text)
    return part.number, part.of


def kernel_size(text: str | None) -> tuple[float, float, float] | None:
    """Read a kernel's voxel size z,y,x or y,x in µm, from --pixel-size."""
    if text is None:
        return None
    size = _usage("pixel_size", words.floats, text)
    if len(size) not in (2, 3) or not all(v > 0 for v in size):
        raise typer.BadParameter("give z,y,x or y,x in µm", param_hint="--pixel-size")
    z, y, x = (1.0,) * (3 - len(size)) + tuple(size)
    return z, y, x


def _usage(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{name.replace('_', '-')}") from error


def _kernels(texts: list[str]) -> str | dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        channel, equals, file = text.partition("=")
        if not equals or Path(text).exists():  # a file may have "=" in its name
            channel, file = "", text
        found[channel] = file
    if "" in found and len(texts) > 1:
        raise typer.BadParameter(
            f"{len(texts)} kernels were given: write CHANNEL=FILE for each", param_hint="--kernel"
        )
    return found.get("", found)
