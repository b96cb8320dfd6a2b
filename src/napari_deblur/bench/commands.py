"""``napari-deblur bench speed | quality | memory | blind | gdunet | overhead``."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer

from napari_deblur import printing
from napari_deblur.bench.asked import Asked
from napari_deblur.options import Debug, told

__all__ = ["app"]

app = typer.Typer(
    help="Measure speed, quality and memory, against other packages and against known answers. "
    "Each writes NAME.json, NAME.md and NAME.png. "
    'Needs: pip install "napari-deblur\\[bench]".',
    no_args_is_help=True,
)
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Quick = Annotated[bool, typer.Option("--quick", help="Tiny sizes: to see that it works.")]
Only = Annotated[
    list[str] | None, typer.Option(help="A row, or a part; repeatable, or with commas.")
]
Rounds = Annotated[int, typer.Option(min=1, help="How often each rival has its turn.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of each process; default: all cores.")]
Device = Annotated[str, typer.Option(help="Of what runs on torch: cpu or cuda.")]
Measure = Callable[[Asked], Generator[str, None, dict[str, Any]]]
HERE = Path("bench-results")


@app.command()
@told
def speed(
    out: Out = HERE,
    quick: Quick = False,
    only: Only = None,
    rounds: Rounds = 7,
    threads: Threads = None,
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Time one iteration of Richardson-Lucy: ours, others', and the transforms alone.

    Each rival has a process of its own; they take turns. What isn't installed is listed as such.
    """
    from napari_deblur.bench.speed import measured

    asked = Asked(out, quick, _split(only), rounds, _threads(threads), device)
    _written(measured, "speed", asked)


@app.command()
@told
def quality(
    out: Out = HERE,
    quick: Quick = False,
    only: Only = None,
    rounds: Rounds = 5,
    threads: Threads = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs, for the parts that need them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with the stacks bars_epfl_25pct and grid_confocal."),
    ] = None,
    camera: Annotated[
        str, typer.Option(help="known, or estimated as for a stack without metadata.")
    ] = "known",
    debug: Debug = False,
) -> None:
    """Compare with a known truth: time to quality, automatic numbers, all methods, photographs.

    Parts for --only: time, stopping, methods, wiener, photographs, stacks. Those without their
    folder are left out.
    """
    from napari_deblur.bench.quality import measured

    if camera not in ("known", "estimated"):
        raise typer.BadParameter(
            f'"{camera}" is neither known nor estimated', param_hint="--camera"
        )
    asked = Asked(out, quick, _split(only), rounds, _threads(threads), camera=camera)
    asked = _with_folders(asked, photos, data)
    _written(measured, "quality", asked)


@app.command()
@told
def memory(
    out: Out = HERE,
    quick: Quick = False,
    only: Only = None,
    rounds: Rounds = 3,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Measure the peak memory of a call, each in a fresh process, and whole runs.

    For --only, besides the rivals: large-stack (memory of runs, up to 20 GB), factors (memory of
    each method's), chunked-run (a run over the same work in memory; takes 17 GB), throughput.
    """
    from napari_deblur.bench.memory import measured

    _written(measured, "memory", Asked(out, quick, _split(only), rounds, _threads(threads)))


@app.command()
@told
def blind(
    out: Out = HERE,
    quick: Quick = False,
    only: Only = None,
    threads: Threads = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder with levin09, set12 or dublid_bsds_linear.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with the stacks grid_confocal and dapi_widefield_deconwolf."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare kernels that are found with true ones, and what restoring with them gains.

    Parts for --only: planes, volumes, confocal, widefield, varying, motion, trust. Parts that were
    measured before into the same folder stay in the table. No picture is drawn.
    """
    from napari_deblur.bench.blind import measured

    asked = Asked(out, quick, _split(only), 1, _threads(threads))
    _written(measured, "blind", _with_folders(asked, photos, data), picture=False)


@app.command()
@told
def gdunet(
    out: Out = HERE,
    quick: Quick = False,
    only: Only = None,
    rounds: Rounds = 5,
    threads: Threads = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of sharp images not trained on; without, objects are made up."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder of networks' weights that are to be compared.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare the network with classical methods, on kernels of families not trained on.

    Parts for --only: methods, sharp, noise, speed, networks. Parts that were measured before into
    the same folder stay in the table. No picture is drawn.
    """
    from napari_deblur.bench.gdunet import measured

    asked = Asked(out, quick, _split(only), rounds, _threads(threads))
    _written(measured, "gdunet", _with_folders(asked, None, data, weights), picture=False)


@app.command()
@told
def overhead(
    out: Out = HERE, quick: Quick = False, only: Only = None, debug: Debug = False
) -> None:
    """Measure what a tile costs besides its restoring: scheduler, client, network, ledger.

    Parts for --only: scheduler, begin, one process. Workers answer without restoring anything. No
    picture is drawn.
    """
    from napari_deblur.bench.overhead import measured

    _written(measured, "overhead", Asked(out, quick, _split(only), 1, 1), picture=False)


def _written(measure: Measure, name: str, asked: Asked, *, picture: bool = True) -> None:
    """Measure, say what is being done, and write the files."""
    if find_spec("matplotlib") is None:
        raise RuntimeError(
            'matplotlib is not installed, and bench needs it: pip install "napari-deblur[bench]"'
        )
    from napari_deblur.bench.markdown import markdown
    from napari_deblur.bench.plots import drawn

    begun, steps = monotonic(), measure(asked)
    while True:
        try:
            printing.note(next(steps))
        except StopIteration as done:
            result = done.value
            break
    asked.out.mkdir(parents=True, exist_ok=True)
    text = markdown(result)
    (asked.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (asked.out / f"{name}.md").write_text(text, "utf-8")
    if picture:
        drawn(result, asked.out / f"{name}.png")
    printing.say(text)
    printing.note(f"measured in {printing.lasting(monotonic() - begun)}: {asked.out / name}.*")


def _with_folders(
    asked: Asked, photos: Path | None, data: Path | None, weights: Path | None = None
) -> Asked:
    from dataclasses import replace

    for folder in (photos, data, weights):
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder")
    return replace(asked, photos=photos, data=data, weights=weights)


def _split(only: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in only or () for name in text.split(",") if name.strip())


def _threads(threads: int | None) -> int:
    from napari_deblur.system import cores

    return threads or cores()
