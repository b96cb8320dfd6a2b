"""``napari-deblur``: everything from the command line.

Exit status: 0 all is well; 1 wrong input, or stopped and to be continued; 2 wrong usage;
3 not complete: some tiles failed, or a run is to be continued.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.bench.commands import app as bench
from napari_deblur.options import told

if TYPE_CHECKING:
    from napari_deblur.batch import Progress
    from napari_deblur.job import Job
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["app", "main"]

app = typer.Typer(
    help="Deconvolution of microscope stacks of any size, with the blur kernel known or found.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Input = Annotated[str, typer.Argument(help="OME-Zarr, zarr, TIFF or a picture; path or URL.")]


def main() -> None:
    """Run the command line."""
    app()


@app.command()
@told
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("napari-deblur-demo"),
    view: Annotated[bool, typer.Option("--view", help="Show the result in napari.")] = False,
    debug: o.Debug = False,
) -> None:
    """Deblur a real stack that comes with the package, and draw a report."""
    from napari_deblur import demonstration

    if view:
        demonstration.must_have_napari()
    job = demonstration.job(out)
    printing.say(f"$ {job.command()}")
    last = _run(job, {"overwrite": True})
    assert last is not None
    for line in demonstration.story(job):
        printing.say(line)
    if view:
        demonstration.view(job)


@app.command()
@told
def info(
    input: Input,
    axes: o.Axes = None,
    pixel_size: o.PixelSize = None,
    level: o.Level = None,
    series: o.Series = None,
    field: o.Field = None,
    debug: o.Debug = False,
) -> None:
    """Say what is in a file or store, or how a result was made."""
    from napari_deblur import describing
    from napari_deblur.results import open_result

    given = {"axes": axes, "pixel_size": pixel_size, "level": level, "series": series}
    printing.table(describing.of_stack(o.job_of({**given, "field": field, "input": input}).open()))
    try:
        result = open_result(input)
    except (ValueError, OSError):
        return  # an image, not a result of ours
    printing.say()
    printing.table(describing.of_result(result))


@app.command("list")
@told
def list_(debug: o.Debug = False) -> None:
    """List the methods, optical models and readers, one line each."""
    from napari_deblur import describing
    from napari_deblur.registry import methods, psfs, readers

    for n, catalogue in enumerate((methods, psfs, readers)):
        printing.say(("\n" if n else "") + typer.style(catalogue.folder, bold=True))
        printing.table((f"  {name}", text) for name, text in describing.of_catalogue(catalogue))


@app.command()
@told
def estimate(
    context: typer.Context,
    input: Input,
    kernel: Annotated[Path, typer.Argument(help="Where the kernel goes: .tif, .npz or .zarr.")],
    from_: o.From = None,
    diameter: o.Diameter = None,
    saturation: o.Saturation = None,
    method: o.MethodName = None,
    set_: o.Parameters = None,
    shape: o.Shape = None,
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
    """Find the blur kernel of each channel and write it to a file."""
    from napari_deblur import describing, measuring, outputs

    beads = o.beads_asked(from_, method, diameter, saturation)
    job = o.job_of({**context.params, "kernel": None})
    stack = job.open()
    targets = outputs.kernel_targets(kernel, stack, overwrite=overwrite)
    if beads is not None:
        found, reports = measuring.from_beads(stack, job.shape, **beads)
        for c, report in enumerate(reports):
            printing.table(describing.of_beads(report, c if len(reports) > 1 else None))
    else:
        printing.note(f"finding the kernel with {job.method_name} …")
        found = job.estimate()
        printing.table(describing.of_kernel(found))
        printing.table(describing.of_search(found))
    for target in measuring.write(found, targets):
        printing.say(f"wrote {target}")


@app.command("kernel")
@told
def kernel_(
    file: Annotated[Path, typer.Argument(help="A kernel: .tif, .npz, .npy or .zarr.")],
    figure: o.Figure = None,
    against: o.Against = None,
    pixel_size: o.KernelPixelSize = None,
    channel: Annotated[int, typer.Option(help="Which channel's, of several.", min=0)] = 0,
    time: Annotated[int, typer.Option(help="Which frame's, of several.", min=0)] = 0,
    na: o.Na = None,
    wavelength: o.Wavelength = None,
    n_immersion: o.NImmersion = None,
    debug: o.Debug = False,
) -> None:
    """Measure a kernel: widths, symmetry, transfer function; and compare it with another."""
    from napari_deblur import describing, measuring
    from napari_deblur.kernel_figure import write_figure
    from napari_deblur.kernel_measures import measured
    from napari_deblur.protocols import Facts

    size = o.kernel_size(pixel_size)
    one = measuring.opened(file, size, time, channel)
    optics = Facts(na=na, wavelength=wavelength, n_immersion=n_immersion)
    printing.table(describing.of_measures(measured(one, optics), one.pixel_size))
    if against is not None:
        other = measuring.opened(against, size, time, channel)
        printing.say()
        printing.table({"against": str(against)} | measuring.compared(one, other))
    if figure is not None:
        write_figure(one, figure, optics, title=file.name)
        printing.say(f"wrote {figure}")


@app.command()
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


@app.command()
@told
def run(
    context: typer.Context,
    input: Annotated[str | None, typer.Argument(help="A stack, or a job.toml.")] = None,
    output: Annotated[
        str | None, typer.Argument(help=".deblur.zarr or .tif; default: NAME.deblur.zarr.")
    ] = None,
    method: o.MethodName = None,
    set_: o.Parameters = None,
    scope: o.Scope = None,
    kernel: o.KernelFile = None,
    kernel_pixel_size: o.KernelPixelSize = None,
    psf: o.Psf = None,
    psf_set: o.PsfParameters = None,
    centre_kernel: o.CentreKernel = False,
    shape: o.Shape = None,
    axes: o.Axes = None,
    pixel_size: o.PixelSize = None,
    channels: o.Channels = None,
    times: o.Times = None,
    region: o.Regions = None,
    level: o.Level = None,
    series: o.Series = None,
    field: o.Field = None,
    gamma: o.Gamma = None,
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
    tile: o.TileShape = None,
    seam: o.Seam = None,
    accept_seam: o.AcceptSeam = False,
    memory: o.Memory = None,
    dtype: o.Dtype = None,
    no_background: o.NoBackground = False,
    device: o.Device = None,
    workers: o.Workers = 0,
    scheduler: o.Scheduler = None,
    plan: o.PlanOnly = False,
    replay: o.Replay = None,
    resume: o.Resume = True,
    overwrite: o.Overwrite = False,
    fail_fast: o.FailFast = False,
    debug: o.Debug = False,
) -> None:
    """Deblur a stack: find the kernel, or take the one that is given, and restore.

    A job.toml holds the same options; those given here go before it.
    """
    how = {"workers": workers, "scheduler": scheduler, "fail_fast": fail_fast}
    how |= {"resume": resume, "overwrite": overwrite}
    if replay is not None:
        last = _replay(replay, input, o.asked(context.params), how, plan_only=plan)
    elif input is None:
        raise typer.BadParameter(
            "say what to deblur: a stack, a job.toml, or --replay STORE", param_hint="INPUT"
        )
    else:
        last = _run(o.job_of(context.params), how, plan_only=plan)
    if last is not None and last.failed:
        raise typer.Exit(3)


@app.command()
@told
def simulate(
    context: typer.Context,
    sharp: Annotated[str, typer.Argument(help="Any sharp stack or picture; path or URL.")],
    out: Annotated[Path, typer.Argument(help="A folder, or a name that ends in .tif.")],
    psf: o.Psf = None,
    psf_set: o.PsfParameters = None,
    shape: o.Shape = None,
    vary: o.Vary = None,
    border: o.Border = "mirror",
    photons: o.Photons = 1000.0,
    background: o.Haze = 0.0,
    read_noise: o.CameraNoise = 0.0,
    gain: o.CameraGain = 1.0,
    offset: o.CameraOffset = 0.0,
    seed: o.Seed = 0,
    axes: o.Axes = None,
    pixel_size: o.PixelSize = None,
    channels: o.Channels = None,
    times: o.Times = None,
    region: o.Regions = None,
    level: o.Level = None,
    series: o.Series = None,
    na: o.Na = None,
    wavelength: o.Wavelength = None,
    n_immersion: o.NImmersion = None,
    n_sample: o.NSample = None,
    objective: o.ObjectiveName = None,
    fluorophore: o.FluorophoreName = None,
    overwrite: o.Overwrite = False,
    debug: o.Debug = False,
) -> None:
    """Blur a sharp image, let a camera see it, and write it beside its truth and kernels."""
    from napari_deblur import describing, simulations, writing
    from napari_deblur.protocols import KernelField

    if psf is None:
        raise typer.BadParameter("name what blurs: --psf disc (see list)", param_hint="--psf")
    kept = ("psf", "psf_set", "shape", "axes", "pixel_size", "channels", "times", "region",
            "level", "series", "na", "wavelength", "n_immersion", "n_sample", "objective",
            "fluorophore")  # fmt: skip
    job = o.job_of({"input": sharp, **{name: context.params[name] for name in kept}})
    writing.refuse_pictures(out, simulations.PICTURES, overwrite=overwrite)
    stack = job.open()
    done = simulations.simulate_job(
        job, stack, field=vary, border=border, photons=photons, background=background,
        read_noise=read_noise, gain=gain, offset=offset, seed=seed,
    )  # fmt: skip
    for note in simulations.notes_of(stack, done):
        printing.note(f"note: {note}")
    record = simulations.record_of(stack, done)
    fields = [one.kernel for one in done if isinstance(one.kernel, KernelField)]
    written = writing.write_pictures(out, simulations.pictures_of(stack, done), record, fields)
    printing.table(describing.of_kernel(done[0].typical))
    for path in written:
        printing.say(f"wrote {path}")


@app.command()
@told
def verify(
    store: Annotated[Path, typer.Argument(help="A result, finished or not.")],
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete damaged chunks, for a run to restore.")
    ] = False,
    debug: o.Debug = False,
) -> None:
    """Read a result again, every byte, and compare it with what was written."""
    from napari_deblur import verifying

    findings = list(verifying.verify(store))
    for finding in findings:
        printing.say(str(finding))
    damaged = [finding for finding in findings if finding.is_damage]
    if discard and damaged:
        count = verifying.discard(store, damaged)
        printing.say(f"{count} damaged chunks were deleted: run the same again to restore them")
    if damaged:
        raise typer.Exit(1)
    printing.say(f"{store} is sound" + (", but not complete" if findings else " and complete"))
    if findings:
        raise typer.Exit(3)


def _run(job: Job, how: Mapping[str, Any], *, plan_only: bool = False) -> Progress | None:
    """Plan a job and do it; give the last progress, or None for a plan alone."""
    from napari_deblur import describing, outputs

    begun, fresh = monotonic(), how.get("overwrite", False)
    if not plan_only:
        outputs.refuse_input(job.output_path, job.input)
        outputs.refuse(job.output or job.output_path, **_place(how))
    plan = printing.decided(job.planning(resume=not fresh))
    if plan_only:
        printing.table(describing.of_plan(plan))
        printing.table({"output": str(job.output_path)})
        return None
    return _done(job.run(plan, **how), job.output_path, begun)


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


def _place(how: Mapping[str, Any]) -> dict[str, Any]:
    return {name: how[name] for name in ("workers", "scheduler", "overwrite") if name in how}


def _replay(
    store: str, to: str | None, asked: Mapping[str, Any], how: Mapping[str, Any], *, plan_only: bool
) -> Progress | None:
    """Run a stored plan again, to another place."""
    from napari_deblur import batch, describing, outputs
    from napari_deblur.results import open_result

    if extra := sorted(set(asked) - {"input"}):
        raise typer.BadParameter(
            f"the plan of {store} is fixed and takes no {extra[0]}: leave it out, or run anew",
            param_hint="--replay",
        )
    begun, plan = monotonic(), batch.replay(store)
    output = Path(to) if to else outputs.suggested_output(store, "replay")
    if plan_only:
        printing.table(describing.of_plan(plan))
        return None
    outputs.refuse(output, **_place(how))
    return _done(batch.run(plan, output, job=open_result(store).job, **how), output, begun)


def _done(run: Iterator[Progress], output: Path, begun: float) -> Progress:
    """Follow a run, and say where its result is."""
    from napari_deblur import export, system

    with system.stopping_on_signals():
        last = printing.followed(run)
    if last.clipped:
        printing.note(f"{last.clipped} voxels were brighter than the output's type can say")
    what = "incomplete" if last.failed else "done"
    printing.say(f"{what} in {printing.lasting(monotonic() - begun)}: {output}")
    if output.suffix != ".zarr":
        printing.say(f"kernels: {export.kernels_path(output)}")
    return last


app.add_typer(bench, name="bench")

if __name__ == "__main__":
    main()
