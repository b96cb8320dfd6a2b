"""``napari-deblur run``: plan and restore, go on, replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deblur import options as o
from napari_deblur import printing, system
from napari_deblur.commands import run_many
from napari_deblur.options import told
from napari_deblur.places import place_of

if TYPE_CHECKING:
    from napari_deblur.batch import Progress
    from napari_deblur.job import Job
    from napari_deblur.places import Place
    from napari_deblur.plans import Plan

__all__ = ["restored", "run"]


@told
def run(
    context: typer.Context,
    input: Annotated[
        str | None,
        typer.Argument(help="A stack, a job.toml, or several: a folder, 'in/*.tif', A B C OUT."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Argument(help=".deblur.zarr or .tif (default: NAME.deblur.zarr), or a folder."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
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
    sparse: o.Sparse = False,
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
    codec: o.Codec = None,
    shards: o.TilesInFile = None,
    no_background: o.NoBackground = False,
    device: o.Device = None,
    workers: o.Workers = 0,
    scheduler: o.Scheduler = None,
    part: o.PartOf = None,
    plan: o.PlanOnly = False,
    replay: o.Replay = None,
    resume: o.Resume = True,
    overwrite: o.Overwrite = False,
    fail_fast: o.FailFast = False,
    max_failed: o.MaxFailed = None,
    threads: o.Threads = None,
    wait: o.Wait = 0.0,
    progress: o.Said = "auto",
    debug: o.Debug = False,
) -> None:
    """Deblur a stack: find the kernel, or take the one that is given, and restore.

    A job.toml holds the same options; those given here go before it.
    """
    how: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "part": o.part_of(part)}
    how |= {"fail_fast": fail_fast, "resume": resume, "overwrite": overwrite, "wait": wait}
    if max_failed is not None:
        how["max_failed"] = max_failed
    _refuse_contradictions(context.params)
    with system.at_most_cores(threads), system.stopping_on_signals():
        _run(context.params, [input, output, *(more or ())], how, plan_only=plan, replay=replay)


def _refuse_contradictions(given: Mapping[str, Any]) -> None:
    """Refuse options of which one would go before the other in silence."""
    wrong = {
        "--threads": given["threads"] is not None
        and given["scheduler"] is not None
        and "workers of a scheduler take the cores that they were started with (--nthreads)",
        "--max-failed": given["max_failed"] is not None
        and given["fail_fast"]
        and "--fail-fast stops at the first tile that fails: leave one of them out",
        "--no-resume": given["part"] is not None
        and not given["resume"]
        and "parts go on with what others began: leave it out",
    }
    for name, said in wrong.items():
        if said:
            raise typer.BadParameter(said, param_hint=name)


def _run(
    options: Mapping[str, Any],
    given: Sequence[str | None],
    how: Mapping[str, Any],
    *,
    plan_only: bool,
    replay: str | None,
) -> None:
    """Do what the options ask for; exit status 3 if tiles failed."""
    if replay is not None:
        last = _replay(replay, given[0], o.asked(options), how, plan_only=plan_only)
    elif given[0] is None:
        raise typer.BadParameter(
            "say what to deblur: a stack, a job.toml, or --replay STORE", param_hint="INPUT"
        )
    else:
        job = o.job_of(options)
        paths = [path for path in (job.input, job.output, *given[2:]) if path is not None]
        if run_many.is_for_many(paths):
            run_many.restored_all(job, paths, how, plan_only=plan_only)
            return
        last = restored(job, how, plan_only=plan_only)
    if last is not None and last.failed:
        raise typer.Exit(3)


def restored(job: Job, how: Mapping[str, Any], *, plan_only: bool = False) -> Progress | None:
    """Plan a job and do it; give the last progress, or None for a plan alone."""
    from napari_deblur import batch, joining, outputs, plates

    begun, fresh, part = monotonic(), how.get("overwrite", False), how.get("part")
    if job.series is None and job.field is None and (said := plates.others_in(job.input)):
        printing.note(said)
    if plan_only:
        outputs.refuse_workers(**_who(how))
        steps = job.planning(resume=not fresh, **_who(how))
        _say(printing.decided(steps), job.output_path, how)
        printing.table({"output": str(job.output_path)})
        return None
    outputs.refuse_input(job.output_path, job.input)
    _admitted(job.output or job.output_path, how)
    who = _who(how)
    steps = joining.planning(job, **who) if part else job.planning(resume=not fresh, **who)
    plan, asked = printing.decided(steps), job.resolved().to_dict()
    return _done(batch.run(plan, job.output_path, job=asked, **how), job.output_path, begun)


def _replay(
    store: str, to: str | None, asked: Mapping[str, Any], how: Mapping[str, Any], *, plan_only: bool
) -> Progress | None:
    """Run a stored plan again, to another place."""
    from napari_deblur import batch, outputs
    from napari_deblur.results import open_result

    if extra := sorted(set(asked) - {"input"}):
        raise typer.BadParameter(
            f"the plan of {store} is fixed and takes no {extra[0]}: leave it out, or run anew",
            param_hint="--replay",
        )
    begun, plan = monotonic(), batch.replay(store)
    output = place_of(to) if to else outputs.suggested_output(store, "replay")
    if plan_only:
        _say(plan, output, how)
        return None
    _admitted(output, how)
    return _done(batch.run(plan, output, job=open_result(store).job, **how), output, begun)


def _say(plan: Plan, output: Place, how: Mapping[str, Any]) -> None:
    """Print a plan, and what it costs: the time where its input can be read."""
    from napari_deblur import costing, describing, devices, fitting, places
    from napari_deblur.arrays import room_for
    from napari_deblur.tasks import AT_ONCE

    rows, workers = list(describing.of_plan(plan)), how.get("workers", 0)
    if how.get("scheduler") is None:
        rows += fitting.of_memory(plan, workers)
    if plan.source is not None and devices.is_here(plan.device):
        rows += _time(plan, how)
    joins = max(1, AT_ONCE * workers)
    rows += costing.of_disk(room_for(plan, joins=joins), places.free_space(output))
    printing.table(rows)


def _time(plan: Plan, how: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how long a plan takes; if the tile that is timed can't be restored a run says so."""
    from napari_deblur import costing

    part, workers = how.get("part"), how.get("workers", 0)
    try:
        with printing.doing("timing a tile of each method"):
            each = costing.seconds(plan, workers)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        return [("time", f"not known: {printing.sentence(error)}")]
    return list(costing.of_time(plan, each, part[1] if part else 1, workers))


def _done(run: Iterator[Progress], output: Place, begun: float) -> Progress:
    """Follow a run, and say where its result is."""
    from napari_deblur import export

    with system.stopping_on_signals():
        last = printing.followed(run)
    if last.clipped:
        printing.note(f"{last.clipped} voxels were brighter than the output's type can say")
    if last.emptied:
        printing.note(
            f"{last.emptied} voxels that had data have none now: with this kernel no voxel of the "
            "input tells enough of them"
        )
    what = "incomplete" if last.failed else "part done" if last.phase == "part" else "done"
    printing.say(f"{what} in {printing.lasting(monotonic() - begun)}: {output}")
    if isinstance(output, Path) and output.suffix != ".zarr":
        printing.say(f"kernels: {export.kernels_path(output)}")
    return last


def _admitted(output: str | Place, how: Mapping[str, Any]) -> None:
    """Refuse an output that can't be, after waiting for another run if that was asked."""
    from napari_deblur import claims, fitting, outputs

    fitting.refuse_many(how.get("workers", 0))
    refused = partial(outputs.refuse, output, **_place(how))
    try:
        refused()
    except claims.Claimed as other:
        if not how.get("wait"):
            raise
        printing.note(f"waiting for up to {printing.lasting(how['wait'])}: {other}")
        claims.patiently(refused, how["wait"])


def _who(how: Mapping[str, Any]) -> dict[str, Any]:
    """Give who does it, of the options of a run."""
    return {name: how[name] for name in ("workers", "scheduler") if name in how}


def _place(how: Mapping[str, Any]) -> dict[str, Any]:
    from napari_deblur.parts import Part

    names = ("workers", "scheduler", "overwrite")
    part = Part(*how["part"]) if how.get("part") else None
    return {name: how[name] for name in names if name in how} | {"part": part}
