"""``napari-deblur simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told

__all__ = ["simulate"]


@told
def simulate(
    context: typer.Context,
    sharp: Annotated[str, typer.Argument(help="Any sharp stack or picture; path or URL.")],
    out: Annotated[Path, typer.Argument(help="A folder, or a name that ends in .tif.")],
    psf: o.Psf = None,
    psf_set: o.PsfParameters = None,
    shape: o.PsfShape = None,
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
    from napari_deblur import describing, outputs, simulations, writing
    from napari_deblur.protocols import KernelField

    if psf is None:
        raise typer.BadParameter("name what blurs: --psf disc (see list)", param_hint="--psf")
    kept = ("psf", "psf_set", "shape", "axes", "pixel_size", "channels", "times", "region",
            "level", "series", "na", "wavelength", "n_immersion", "n_sample", "objective",
            "fluorophore")  # fmt: skip
    job = o.job_of({"input": sharp, **{name: context.params[name] for name in kept}})
    outputs.refuse_input(out, sharp)
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
