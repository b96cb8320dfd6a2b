"""``napari-deblur estimate`` and ``kernel``: find kernels, and measure them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told
from napari_deblur.places import on_this_machine, place_of

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.protocols import Kernel, KernelField
    from napari_deblur.stack import Stack

__all__ = ["estimate", "kernel_"]

# Of those of a run: a kernel for each tile is found while it is restored.
SCOPES = ("channel", "channel-time", "field")

Finder = Annotated[
    str | None,
    typer.Option(
        help="One that finds kernels: see list. Default: blind.",
        rich_help_panel=o.BLUR,
        metavar="NAME",
    ),
]


@told
def estimate(
    context: typer.Context,
    input: o.Input,
    kernel: Annotated[str, typer.Argument(help="Where the kernel goes: .tif, .npz or .zarr.")],
    from_: o.From = None,
    diameter: o.Diameter = None,
    saturation: o.Saturation = None,
    method: Finder = None,
    set_: o.Parameters = None,
    scope: o.FoundScope = None,
    first: o.FirstKernel = None,
    kernel_pixel_size: o.KernelPixelSize = None,
    shape: o.FoundShape = None,
    axes: o.Axes = None,
    pixel_size: o.PixelSize = None,
    channels: o.Channels = None,
    times: o.Times = None,
    region: o.Regions = None,
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
    """Find the blur kernel of each channel and write it to a file.

    With --scope channel-time there is one for each frame; with --scope field kernels that vary.
    """
    from napari_deblur import describing, measuring, outputs

    beads = o.beads_asked(from_, method, diameter, saturation)
    if beads is not None and (scope or first):
        hint = "--scope" if scope else "--kernel"
        raise typer.BadParameter("beads are averaged, not searched: leave it out", param_hint=hint)
    target = on_this_machine(kernel)
    job = o.job_of({**context.params, "kernel": first})
    if beads is None:
        method_of = _finder(job)
    stack = job.open()
    targets = outputs.kernel_targets(target, stack, overwrite=overwrite)
    for one in targets:
        outputs.refuse_input(one, input)
    if beads is not None:
        found, reports = measuring.from_beads(stack, job.shape, **beads)
        for c, report in enumerate(reports):
            printing.table(describing.of_beads(report, c if len(reports) > 1 else None))
        written = measuring.write(found, targets)
    else:
        measuring.refuse_targets(targets, job.scope, stack.shape[0])
        if job.scope == "field":
            written = measuring.write_fields(_fields(job, stack, method_of), targets)
        else:
            written = measuring.write(_kernels(job, stack, method_of), targets)
    for target in written:
        printing.say(f"wrote {target}")


def _finder(job: Job) -> tuple[str, Any]:
    """Give the method that finds kernels, with its name; ValueError if it finds none."""
    from napari_deblur.checking import check_field, default_method, finds_kernels

    if job.scope not in SCOPES:
        tile = "; in scope tile each finds its own while it is restored, see run"
        raise ValueError(
            f'scope "{job.scope}" is not one of {", ".join(SCOPES)}'
            + (tile if job.scope == "tile" else "")
        )
    name = job.method or default_method(job.scope, known=False)
    method = dataclasses.replace(job, method=name).restorer()
    if not finds_kernels(method):
        raise ValueError(f"{name} restores with a kernel but finds none: take blind")
    if job.scope == "field":
        check_field(method)
    return name, method


def _asked(job: Job, stack: Stack) -> dict[str, Any]:
    from napari_deblur import per_channel

    return {
        "shape": per_channel.triple(job.shape),
        "first": per_channel.kernels_of(job, stack),
        "device": job.device,
        "facts": per_channel.known_of(job, stack),
    }


def _kernels(job: Job, stack: Stack, finder: tuple[str, Any]) -> Kernel:
    """Find the kernels of all channels, and frames if asked for, and say what they are like."""
    from napari_deblur import describing
    from napari_deblur.estimating import estimate_kernel

    name, method = finder
    frames = stack.shape[0] if job.scope == "channel-time" else 1
    what = "the kernel" if frames == 1 else f"the kernels of {frames} frames"
    printing.note(f"finding {what} with {name} …")
    found = estimate_kernel(stack, method, scope=job.scope, **_asked(job, stack))
    printing.table(describing.of_kernel(found))
    printing.table(describing.of_search(found))
    return found


def _fields(job: Job, stack: Stack, finder: tuple[str, Any]) -> dict[int, KernelField]:
    """Find how the kernels of all channels vary, and say so."""
    from napari_deblur import describing
    from napari_deblur.estimating import estimate_field

    name, method = finder
    printing.note(f"finding kernels that vary with {name} …")
    found = estimate_field(stack, method, **_asked(job, stack))
    for c, field in found.items():
        printing.say(describing.of_field(field, c if len(found) > 1 else None))
        printing.table(describing.of_search(field.typical()))
    return found


@told
def kernel_(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help="A kernel: .tif, .npz, .npy or .zarr; or a field: .npz, .zarr.")
    ],
    figure: o.Figure = None,
    against: o.Against = None,
    psf: Annotated[
        str | None,
        typer.Option(help="Write the kernel of this model to FILE first.", metavar="NAME"),
    ] = None,
    psf_set: o.PsfParameters = None,
    shape: o.PsfShape = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(
            "--pixel-size",
            "--kernel-pixel-size",
            help="In µm: of the psf, or if the file does not say.",
            metavar="Z,Y,X",
        ),
    ] = None,
    channel: Annotated[int, typer.Option(help="Which channel's, of several.", min=0)] = 0,
    time: Annotated[int, typer.Option(help="Which frame's, of several.", min=0)] = 0,
    na: o.Na = None,
    wavelength: o.Wavelength = None,
    n_immersion: o.NImmersion = None,
    n_sample: o.NSample = None,
    objective: o.ObjectiveName = None,
    fluorophore: o.FluorophoreName = None,
    overwrite: Annotated[bool, typer.Option(help="Replace FILE, of --psf.")] = False,
    debug: o.Debug = False,
) -> None:
    """Measure a kernel: widths, symmetry, transfer function; and compare it with another.

    With --psf the kernel of an optical model is made first, and written to the file.
    """
    from napari_deblur import describing, measuring, outputs
    from napari_deblur.kernel_figure import check_picture, write_figure
    from napari_deblur.kernel_measures import measured, optics_for
    from napari_deblur.modelled import check_optics

    size = o.kernel_size(pixel_size)
    optics = o.optics_asked(context.params)
    check_optics(optics)
    if figure is not None:
        check_picture(figure)
    if psf is not None:
        model = o.psf_asked(context.params)
        target = on_this_machine(file)
        outputs.refuse_kernel(target, overwrite=overwrite)
        printing.note(f"making the kernel of {psf} …")
        made, notes = measuring.of_model(*model)
        for note in notes:
            printing.note(f"note: {note}")
        measuring.write(made, [target])
        printing.say(f"wrote {file}")
    elif psf_set or shape:
        raise typer.BadParameter("name the psf too: --psf gaussian", param_hint="--psf")
    place = place_of(file)
    nodes = measuring.nodes_of(place, size, channel)
    if nodes is not None:
        printing.table(describing.of_nodes(nodes.kernels, nodes.grid, nodes.maps))
        printing.say()
    one = measuring.opened(place, size, time, channel) if nodes is None else nodes.typical()
    optics = optics_for(one, optics)
    if (optics.na is None) != (optics.wavelength is None):
        printing.note("note: the optical limit is known from --na and --wavelength: give both")
    for said in one.report.get("cleaned", []):
        printing.note(f"note: the kernel was cleaned: {said}")
    rows = [*describing.of_measures(measured(one, optics), one.pixel_size)]
    printing.table([*rows, *describing.of_report(one)])
    if against is not None:
        other = measuring.opened(place_of(against), size, time, channel)
        printing.say()
        printing.table({"against": str(against)} | measuring.compared(one, other))
    if figure is not None:
        write_figure(one, figure, optics, title=place.name)
        printing.say(f"wrote {figure}")
