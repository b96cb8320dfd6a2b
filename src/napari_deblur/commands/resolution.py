"""``napari-deblur resolution``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told

if TYPE_CHECKING:
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["resolution"]


@told
def resolution(
    context: typer.Context,
    input: Annotated[str, typer.Argument(help="A result, or a stack to plan for.")],
    figure: o.Figure = None,
    csv: Annotated[Path | None, typer.Option(help="Write both curves, too.")] = None,
    uncertainty: Annotated[
        Path | None, typer.Option(help="Write a map of the noise that is left, a TIFF.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Images that the map is made of.", min=2)] = 4,
    channel: Annotated[int, typer.Option(help="Which, from 0.", min=0)] = 0,
    time: Annotated[int, typer.Option(help="Which frame, from 0.", min=0)] = 0,
    region: o.Regions = None,
    method: o.MethodName = None,
    set_: o.Parameters = None,
    kernel: o.KernelFile = None,
    psf: o.Psf = None,
    psf_set: o.PsfParameters = None,
    shape: o.Shape = None,
    axes: o.Axes = None,
    pixel_size: o.PixelSize = None,
    level: o.Level = None,
    series: o.Series = None,
    field: o.Field = None,
    gain: o.Gain = None,
    offset: o.Offset = None,
    read_noise: o.ReadNoise = None,
    background: o.Background = None,
    na: o.Na = None,
    wavelength: o.Wavelength = None,
    n_immersion: o.NImmersion = None,
    n_sample: o.NSample = None,
    objective: o.ObjectiveName = None,
    fluorophore: o.FluorophoreName = None,
    device: o.Device = None,
    overwrite: o.Overwrite = False,
    debug: o.Debug = False,
) -> None:
    """Measure down to which detail two halves of the light agree, before and after deblurring."""
    from napari_deblur import outputs, resolution_figure, resolving, words
    from napari_deblur.kernel_figure import check_picture

    if figure is not None:
        check_picture(figure)
    made = [path for path in (figure, csv, uncertainty) if path is not None]
    for path in made:
        outputs.refuse_input(path, input)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: choose another name, or use --overwrite")
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f'there is no folder "{path.absolute().parent}": make it first')
    own = {"figure", "csv", "uncertainty", "seeds", "channel", "time", "region", "overwrite"}
    plan, stack = _measured(input, {k: v for k, v in context.params.items() if k not in own})
    spans = None if region is None else words.spans(region, plan.layout.shape[2:])
    found = resolving.resolution(plan, stack, spans, time=time, channel=channel)
    printing.table(found.rows())
    if csv is not None:
        resolving.write_curves(found, csv)
    if figure is not None:
        resolution_figure.write_resolution_figure(found, figure, title=Path(input).name)
    if uncertainty is not None:
        spread = resolving.uncertainty(
            plan, stack, found.region, seeds=seeds, time=time, channel=channel
        )
        resolving.write_map(spread, uncertainty, plan)
    for path in made:
        printing.say(f"wrote {path}")


def _measured(input: str, options: Mapping[str, Any]) -> tuple[Plan, Stack]:
    """Take the plan and the stack of a result, or plan for a stack."""
    from napari_deblur.opening import reopen
    from napari_deblur.results import open_result

    try:
        result = open_result(input)
    except (ValueError, OSError):  # an image, not a result of ours
        job = o.job_of(options)
        return printing.decided(job.planning(resume=False)), job.open()
    if extra := sorted(set(o.asked(options)) - {"input"}):
        raise typer.BadParameter(
            f"the plan of {input} is fixed and takes no {extra[0]}: leave it out, or name the stack"
        )
    if result.plan.source is None:
        raise ValueError(f"{input} was made of a stack in memory: use Python, with stack=")
    return result.plan, reopen(result.plan.source)
