"""What ``napari-deblur demo`` does: deblur a real stack blindly, and draw a report."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from napari_deblur.job import Job

__all__ = ["job", "must_have_napari", "story", "view"]

# Wide enough for the blur of the sample, and no wider: the search takes half a minute.
SHAPE = (13, 23, 23)


def job(out: Path) -> Job:
    """Give the job of the demonstration, whose results go into the folder `out`."""
    from napari_deblur.data import sample_path

    out.mkdir(parents=True, exist_ok=True)
    source = sample_path("chromosomes")
    return Job(str(source), str(out / f"{source.stem}.deblur.zarr"), shape=SHAPE)


def story(job: Job) -> Iterator[str]:
    """Write the report and the kernel beside the result, and say where everything lies."""
    from napari_deblur.kernels import save_kernel
    from napari_deblur.report import write_report
    from napari_deblur.results import open_result

    store = Path(str(job.output_path))
    picture = store.with_name("report.png")
    kernel = store.with_name("kernel.tif")
    write_report(store, picture)
    save_kernel(open_result(store).plan.kernel, kernel)
    yield f"  input   {job.input}"
    yield f"  result  {store}"
    yield f"  kernel  {kernel}"
    yield f"  report  {picture}"


def must_have_napari() -> None:
    """Raise RuntimeError, with the way out, if there is no napari."""
    if find_spec("napari") is None:
        raise RuntimeError(
            'napari is not installed, and --view needs it: pip install "napari-deblur[all]"'
        )


def view(job: Job) -> None:
    """Show input, result and kernel in napari, until its window is closed."""
    import napari

    stack = job.open()
    viewer = napari.Viewer(title="napari-deblur demo")
    restored = viewer.open(str(job.output_path), plugin="napari-deblur")[0]
    # In the result's own units: napari overlays no layers of which the units differ.
    viewer.add_image(
        stack.data,
        name=stack.name,
        visible=False,
        scale=restored.scale,
        units=restored.units,
        axis_labels=restored.axis_labels,
    )
    viewer.layers.move(len(viewer.layers) - 1, 0)
    napari.run()
