"""The options of the command line, each once, and how commands say their errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, cast

import typer

from napari_deblur import json_lines
from napari_deblur.job_options import (
    asked,
    beads_asked,
    job_of,
    kernel_size,
    optics_asked,
    part_of,
    psf_asked,
)

__all__ = [
    "AcceptSeam", "Against", "Axes", "Background", "Border", "CameraGain", "CameraNoise",
    "CameraOffset", "CentreKernel", "Channels", "Codec", "Debug", "Device", "Diameter", "Dtype",
    "FailFast", "Field", "Figure", "FirstKernel", "FluorophoreName", "FoundScope", "FoundShape",
    "From", "Gain", "Gamma", "Haze", "Input", "KernelFile", "KernelPixelSize", "Level",
    "Memory", "MethodName", "NImmersion", "NSample", "Na", "NoBackground", "ObjectiveName",
    "Offset", "Overwrite", "Parameters", "PartOf", "Photons", "PixelSize", "PlanOnly", "Psf",
    "PsfParameters", "PsfShape", "ReadNoise", "Regions", "Replay", "Resume", "Said",
    "Saturation", "Scheduler", "Scope", "Seam", "Seed", "Series", "Shape", "Threads",
    "TileShape", "TilesInFile", "Times", "Vary", "Wait", "Wavelength", "Workers", "asked",
    "beads_asked", "job_of", "kernel_size", "optics_asked", "part_of", "psf_asked", "told",
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
Threads = Annotated[
    int | None,
    _option("--threads", "Cores to use, of all processes; default: all.", RUN, "N", least=1),
]
Wait = Annotated[
    float,
    _option("--wait", "If another run writes there, wait so long for it.", RUN, "SECONDS", least=0),
]
Said = Annotated[
    str,
    typer.Option(
        "--progress",
        help="json: a line of JSON for each event, on stderr.",
        rich_help_panel=RUN,
        metavar="WORD",
        callback=lambda word: said_as(word),
    ),
]
FailFast = Annotated[Yes, _option("--fail-fast", "Stop at the first tile that fails.", RUN)]
MaxFailed = Annotated[
    int | None,
    _option("--max-failed", "Stop when more tiles fail; default: when all do.", RUN, "N", least=0),
]
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

P = ParamSpec("P")


def said_as(word: str) -> str:
    """Read how progress is to be said, from --progress."""
    if word not in ("auto", "json"):
        raise typer.BadParameter(f'"{word}" is not known: use auto or json')
    return word


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command say its errors in one sentence and end with status 1; ``debug`` shows all."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        with json_lines.asked(cast("str | None", kwargs.get("progress"))):
            _told(command, *args, **kwargs)

    return wrapper


def _told(command: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    from napari_deblur import printing

    try:
        command(*args, **kwargs)
    except KeyboardInterrupt:
        # What was going on in other threads is dropped at exit, which it writes there.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        printing.error("stopped; run the same command again to go on")
        raise typer.Exit(1) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        if kwargs.get("debug"):
            raise
        printing.error(printing.sentence(error))
        raise typer.Exit(1) from error
