"""The options of the command line, each once, and how they become a job."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from napari_deblur import optics, words
from napari_deblur.parts import Part

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.protocols import Facts

__all__ = [
    "AcceptSeam", "Against", "Axes", "Background", "Border", "CameraGain", "CameraNoise",
    "CameraOffset", "CentreKernel", "Channels", "Codec", "Debug", "Device", "Diameter", "Dtype",
    "FailFast", "Field", "Figure", "FirstKernel", "FluorophoreName", "FoundScope", "FoundShape",
    "From", "Gain", "Gamma", "Haze", "Input", "KernelFile", "KernelPixelSize", "Level", "Memory",
    "MethodName", "NImmersion", "NSample", "Na", "NoBackground", "ObjectiveName", "Offset",
    "Overwrite", "Parameters", "PartOf", "Photons", "PixelSize", "PlanOnly", "Psf", "PsfParameters",
    "PsfShape", "ReadNoise", "Regions", "Replay", "Resume", "Saturation", "Scheduler", "Scope",
    "Seam", "Seed", "Series", "Shape", "TileShape", "TilesInFile", "Times", "Vary", "Wavelength",
    "Workers", "asked", "beads_asked", "job_of", "kernel_size", "optics_asked", "part_of",
    "psf_asked", "told",
]  # fmt: skip

BLUR, IMAGE, TILES, RUN = "Method and kernel", "What of the input", "Tiles and output", "Running"
CAMERA = "Camera, estimated where it is not given"
OPTICS = "Optics, where the file does not say"
BEADS = "An image of beads"
LIGHT = "Light and camera"


def _option(
    names: str, text: str, panel: str, metavar: str | None = None, least: int | None = None
) -> Any:
    return typer.Option(
        *names.split(), help=text, rich_help_panel=panel, metavar=metavar, min=least
    )


Text = str | None
Texts = list[str] | None
Yes = bool

Input = Annotated[str, typer.Argument(help="OME-Zarr, zarr, TIFF or a picture; path or URL.")]
MethodName = Annotated[
    Text,
    _option(
        "--method",
        "Default: accelerated-richardson-lucy with a kernel or psf, else blind.",
        BLUR,
        "NAME",
    ),
]
Parameters = Annotated[
    Texts, _option("--set", "A parameter of the method; repeatable.", BLUR, "NAME=VALUE")
]
Scope = Annotated[
    Text,
    _option("--scope", "One kernel for each: channel, channel-time, field, tile.", BLUR, "WORD"),
]
KernelFile = Annotated[
    Texts,
    _option("--kernel", "The kernel, or one for each channel.", BLUR, "[CHANNEL=]FILE"),
]
KernelPixelSize = Annotated[
    Text, _option("--kernel-pixel-size", "In µm, if the file does not say.", BLUR, "Z,Y,X")
]
Psf = Annotated[Text, _option("--psf", "A model that makes the kernel: see list.", BLUR, "NAME")]
PsfParameters = Annotated[
    Texts, _option("--psf-set", "A parameter of the psf; repeatable.", BLUR, "NAME=VALUE")
]
CentreKernel = Annotated[Yes, _option("--centre-kernel", "Move the kernel to its middle.", BLUR)]
From = Annotated[Text, _option("--from", "beads: average the beads of the image.", BEADS, "WORD")]
Diameter = Annotated[
    float | None,
    _option("--diameter", "Of the beads in µm, to correct the kernel for it.", BEADS, "0.1"),
]
Saturation = Annotated[
    float | None,
    _option("--saturation", "Counts from which on the camera is full.", BEADS, "COUNTS"),
]
Figure = Annotated[Path | None, _option("--figure", "Draw it, too.", BLUR, "PNG")]
Against = Annotated[str | None, _option("--against", "Another kernel.", BLUR, "FILE")]
Shape = Annotated[
    Text, _option("--shape", "Of the kernel to be found, or of the psf.", BLUR, "Z,Y,X")
]
FoundShape = Annotated[Text, _option("--shape", "Of the kernel to be found.", BLUR, "Z,Y,X")]
PsfShape = Annotated[Text, _option("--shape", "Of the psf.", BLUR, "Z,Y,X")]
FoundScope = Annotated[
    Text,
    _option("--scope", "One kernel for each: channel, channel-time; or field.", BLUR, "WORD"),
]
FirstKernel = Annotated[
    Texts,
    _option("--kernel", "Where the search starts, or one for each channel.", BLUR,
            "[CHANNEL=]FILE"),
]  # fmt: skip
Na = Annotated[float | None, _option("--na", "Numerical aperture.", OPTICS, "NUMBER")]
Wavelength = Annotated[
    float | None, _option("--wavelength", "Of the emitted light, in µm.", OPTICS, "0.52")
]
NImmersion = Annotated[
    float | None, _option("--n-immersion", "Refractive index of the immersion.", OPTICS, "NUMBER")
]
ObjectiveName = Annotated[
    Text,
    _option("--objective", "Gives na and n-immersion, such as 60x/1.40 oil.", OPTICS, "NAME"),
]
FluorophoreName = Annotated[
    Text, _option("--fluorophore", "Gives the wavelength, such as EGFP or DAPI.", OPTICS, "NAME")
]
NSample = Annotated[
    float | None, _option("--n-sample", "Refractive index of the sample.", OPTICS, "NUMBER")
]
Axes = Annotated[Text, _option("--axes", "Such as zyx, if the file does not say.", IMAGE, "AXES")]
PixelSize = Annotated[
    Text, _option("--pixel-size", "In µm, if the file does not say.", IMAGE, "Z,Y,X")
]
Channels = Annotated[Text, _option("--channels", "Names or numbers: 0,DAPI.", IMAGE, "LIST")]
Times = Annotated[Text, _option("--times", "Frames: 0,2 or 0:10.", IMAGE, "LIST")]
Regions = Annotated[Text, _option("--region", "Voxels: z0:z1,y0:y1,x0:x1.", IMAGE, "RANGES")]
Level = Annotated[int | None, _option("--level", "Resolution of a pyramid.", IMAGE, "N")]
Series = Annotated[int | None, _option("--series", "Image of a file with several.", IMAGE, "N")]
Field = Annotated[Text, _option("--field", "Image of a plate, such as A/1/0.", IMAGE, "PATH")]
Sparse = Annotated[Yes, _option("--sparse", "Chunks that are not stored are empty.", IMAGE)]
Gamma = Annotated[Text, _option("--gamma", "srgb for photographs, or linear.", IMAGE, "WORD")]
Gain = Annotated[float | None, _option("--gain", "Counts for a photon.", CAMERA, "COUNTS")]
Offset = Annotated[
    float | None, _option("--offset", "Counts of a pixel in the dark.", CAMERA, "COUNTS")
]
ReadNoise = Annotated[
    float | None,
    _option("--read-noise", "Standard deviation of a pixel in the dark.", CAMERA, "COUNTS"),
]
Background = Annotated[
    float | None,
    _option("--background", "Counts where the image shows nothing.", CAMERA, "COUNTS"),
]
TileShape = Annotated[Text, _option("--tile", "What one task restores.", TILES, "Z,Y,X")]
Seam = Annotated[
    float | None,
    _option("--seam", "Largest difference to an untiled result, of the peak.", TILES, "1e-3"),
]
AcceptSeam = Annotated[Yes, _option("--accept-seam", "Go on with a larger seam.", TILES)]
Memory = Annotated[Text, _option("--memory", "For one task.", TILES, "4GB")]
Dtype = Annotated[Text, _option("--dtype", "float32, uint16 or uint8.", TILES, "TYPE")]
Codec = Annotated[
    Text, _option("--codec", "How the output is packed: zstd, blosc or none.", TILES, "NAME")
]
TilesInFile = Annotated[
    int | None,
    _option("--shards", "Most tiles in one file; default: 1 up to 100,000 files.", TILES, "N", 1),
]
NoBackground = Annotated[
    Yes, _option("--no-background", "Leave the background out of the output.", TILES)
]
Device = Annotated[Text, _option("--device", "auto, cpu, cuda or mps.", RUN, "NAME")]
Workers = Annotated[int, _option("--workers", "Processes on this machine.", RUN, "N", least=0)]
Scheduler = Annotated[Text, _option("--scheduler", "Of dask: tcp://host:8786.", RUN, "ADDRESS")]
PartOf = Annotated[
    Text, _option("--part", "Do the k-th of n parts of the tiles, as one of many.", RUN, "K/N")
]
PlanOnly = Annotated[Yes, _option("--plan", "Print what would be done, and stop.", RUN)]
Replay = Annotated[Text, _option("--replay", "Run the plan of a result again.", RUN, "STORE")]
Resume = Annotated[
    Yes, _option("--resume/--no-resume", "Go on with what an earlier run left.", RUN)
]
Overwrite = Annotated[Yes, _option("--overwrite", "Remove an earlier result first.", RUN)]
FailFast = Annotated[Yes, _option("--fail-fast", "Stop at the first tile that fails.", RUN)]
Debug = Annotated[Yes, _option("--debug", "Show where an error comes from.", RUN)]

# Of simulations, in which a camera is made and not estimated.
Photons = Annotated[
    float,
    _option(
        "--photons", "In the brightest 0.1 % of the pixels; 0 for no photon noise.", LIGHT, "N"
    ),
]
CameraGain = Annotated[float, _option("--gain", "Counts for a photon.", LIGHT, "COUNTS")]
CameraOffset = Annotated[
    float, _option("--offset", "Counts of a pixel in the dark.", LIGHT, "COUNTS")
]
CameraNoise = Annotated[
    float, _option("--read-noise", "Standard deviation in the dark.", LIGHT, "COUNTS")
]
Haze = Annotated[
    float, _option("--background", "Photons in every pixel besides the image's.", LIGHT, "N")
]
Seed = Annotated[int, _option("--seed", "The same one gives the same image.", LIGHT, "N")]
Border = Annotated[str, _option("--border", "Beyond it: mirror, crop or dark.", BLUR, "WORD")]
Vary = Annotated[
    Text,
    _option(
        "--field",
        "The blur varies: tilt=0.5,axis=x or radial=0.8 or depth=1.0; parameter=NAME.",
        BLUR,
        "RULE",
    ),
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
    # Those of another method or psf don't fit.
    kept = {} if "method" in given else job.parameters
    kept_of_psf = {} if "psf" in given or given.get("kernel") else job.psf_parameters
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


P = ParamSpec("P")


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command say its errors in one sentence and end with status 1; ``debug`` shows all."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        from napari_deblur import printing

        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            printing.error("stopped; run the same command again to go on")
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:  # whoever reads our output, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            printing.error(printing.sentence(error))
            raise typer.Exit(1) from error

    return wrapper
