import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from by_hand import five_axes, numbers, plan_of, small, stack_of
from napari_deblur.batch import RunStopped, run
from napari_deblur.export import is_ours, kernels_path
from napari_deblur.kernels import load_kernel
from napari_deblur.opening import open_stack
from napari_deblur.stack import Channel, Optics


def test_a_tiff_holds_image_kernels_sizes_axes_and_channels(tmp_path):
    plan, stack = five_axes()
    output = tmp_path / "cells.ome.tif"
    phases = [p.phase for p in run(plan, output, stack)]
    assert phases[-2:] == ["export", "complete"]
    assert {p.name for p in tmp_path.iterdir()} == {"cells.ome.tif", "cells.kernels.tif"}
    with tifffile.TiffFile(output) as file:
        assert file.is_ome
        assert file.series[0].axes == "TCZYX"
        image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert file.asarray().dtype == np.float32
        assert np.array_equal(file.asarray(), stack.data.compute())
    sizes = [image[f"PhysicalSize{a}"] for a in "ZYX"]
    assert sizes == [0.5, 0.1, 0.1]
    assert image["TimeIncrement"] == 1.5
    assert [c["Name"] for c in image["Channel"]] == ["DAPI", "GFP"]
    with tifffile.TiffFile(tmp_path / "cells.kernels.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert [pixels[f"PhysicalSize{a}"] for a in "ZYX"] == [0.2, 0.1, 0.1]
        assert np.array_equal(file.asarray().squeeze(), plan.kernel.array[0, 0])


@pytest.mark.parametrize("accident", ["a chunk", "all of it", "another plan"])
def test_nothing_is_exported_that_another_run_took_away(tmp_path, accident):
    plan, stack = small()
    output = tmp_path / "a.tif"
    progress = run(plan, output, stack)
    while next(progress).phase != "export":
        pass
    hidden = tmp_path / ".a.tif.deblur.zarr"
    if accident == "a chunk":  # zarr would take it for one full of the fill value
        (hidden / "0/c/0/1/2").unlink()
    else:
        shutil.rmtree(hidden)
    if accident == "another plan":
        list(run(replace(plan, keep_background=False), hidden, stack))
    lost = 1 if accident == "a chunk" else 24
    with pytest.raises(RunStopped, match=f"^{lost} of 24 tiles in .* were lost since") as caught:
        list(progress)
    assert "\n" not in str(caught.value)
    assert not output.exists()
    if accident == "another plan":
        shutil.rmtree(hidden)
    *_, last = run(plan, output, stack)
    assert last.phase == "complete"
    assert np.array_equal(tifffile.imread(output), stack.data.compute())


@pytest.mark.parametrize(("axes", "shape"), [("yx", (70, 90)), ("zyx", (10, 14, 25))])
def test_fewer_axes_stay_fewer(tmp_path, axes, shape):
    stack = stack_of(numbers(shape), axes)
    plan = plan_of(stack, kernel=np.ones((1, 3, 3)))
    list(run(plan, tmp_path / "a.tif", stack))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == axes.upper()
        assert np.array_equal(file.asarray(), stack.data.compute())


def test_a_colour_picture_stays_one(tmp_path):
    channels = tuple(Channel(name) for name in ("red", "green", "blue"))
    array = numbers((3, 40, 50)).astype(np.uint8)
    stack = stack_of(array, "cyx", channels=channels, rgb=True)
    plan = replace(plan_of(stack, kernel=np.ones((3, 3))), dtype="uint8")
    list(run(plan, tmp_path / "a.tif", stack))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
        assert np.array_equal(file.asarray(), np.moveaxis(array, 0, -1))


def test_scaled_integers_become_counts(tmp_path):
    plan, stack = small()
    plan = replace(plan, dtype="uint16", scale=0.25, offset=-5.0)
    list(run(plan, tmp_path / "a.tif", stack))
    image = tifffile.imread(tmp_path / "a.tif")
    assert image.dtype == np.float32
    assert np.array_equal(image, stack.data.compute())


def test_more_than_4_gb_is_refused_with_advice(tmp_path):
    stack = stack_of(np.broadcast_to(np.uint8(0), (1100, 1000, 1000)))
    plan = plan_of(stack, core=(64, 500, 500))
    with pytest.raises(ValueError, match=r"4\.4 GB and a TIFF holds 4 GB.*\.deblur\.zarr"):
        run(plan, tmp_path / "a.tif", stack)


def test_a_cancelled_run_leaves_no_tiff_and_goes_on(tmp_path):
    plan, stack = small()
    progress = run(plan, tmp_path / "a.tif", stack)
    while next(progress).done < 5:
        pass
    progress.close()
    assert [p.name for p in tmp_path.iterdir()] == [".a.tif.deblur.zarr"]
    first, *_ = run(plan, tmp_path / "a.tif", stack)
    assert first.done == 5
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), stack.data.compute())
    assert not (tmp_path / ".a.tif.deblur.zarr").exists()


def test_only_tiffs_of_this_package_are_overwritten(tmp_path):
    plan, stack = small()
    mine = tmp_path / "mine.tif"
    tifffile.imwrite(mine, np.zeros((4, 4), np.uint8))
    before = mine.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"mine\.tif exists: choose another"):
            list(run(plan, mine, stack, overwrite=overwrite))
    assert mine.read_bytes() == before
    list(run(plan, tmp_path / "a.tif", stack))
    assert is_ours(tmp_path / "a.tif")
    with pytest.raises(FileExistsError, match="exists"):
        list(run(plan, tmp_path / "a.tif", stack))
    list(run(plan, tmp_path / "a.tif", stack, overwrite=True))


def test_kernels_lie_beside_the_image(tmp_path):
    assert kernels_path(tmp_path / "a.ome.tif").name == "a.kernels.tif"
    assert kernels_path(tmp_path / "b.tiff").name == "b.kernels.tiff"


@pytest.mark.parametrize(
    "optics",
    [Optics(1.2, 1.33, 1.36, 60.0), Optics(0.75), Optics(n_sample=1.4), Optics(n_immersion=1.515)],
)
def test_the_objective_is_kept(tmp_path, optics):
    stack = stack_of(numbers((10, 14, 25)), "zyx", optics=optics)
    plan = plan_of(stack, kernel=np.ones((1, 3, 3)))
    list(run(plan, tmp_path / "a.tif", stack))
    again = open_stack(tmp_path / "a.tif")
    assert again.optics == optics
    assert np.array_equal(again.data.compute(), stack.data.compute())


def test_the_objective_of_a_colour_picture_is_kept(tmp_path):
    channels = tuple(Channel(name) for name in ("red", "green", "blue"))
    array = numbers((3, 40, 50)).astype(np.uint8)
    optics = Optics(0.5, 1.0, magnification=20.0)
    stack = stack_of(array, "cyx", channels=channels, rgb=True, optics=optics)
    plan = replace(plan_of(stack, kernel=np.ones((3, 3))), dtype="uint8")
    list(run(plan, tmp_path / "a.tif", stack))
    assert open_stack(tmp_path / "a.tif").optics == optics
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert np.array_equal(file.asarray(), np.moveaxis(array, 0, -1))


def test_one_kernel_in_a_tiff_can_be_read_again(tmp_path):
    stack = stack_of(numbers((10, 14, 25)), "zyx")
    plan = plan_of(stack, kernel=np.ones((1, 3, 3)))
    list(run(plan, tmp_path / "a.tif", stack))
    assert load_kernel(tmp_path / "a.kernels.tif").at() == pytest.approx(plan.kernel.at())


def test_what_was_killed_while_it_removed_its_store_is_not_in_the_way(tmp_path, monkeypatch):
    class Stopped(BaseException):
        pass

    def half(folder, **_):
        if not Path(folder).exists():
            return
        (left,) = Path(folder).iterdir()
        (left / "zarr.json").unlink()
        raise Stopped

    plan, stack = small()
    monkeypatch.setattr(shutil, "rmtree", half)
    with pytest.raises(Stopped):
        list(run(plan, tmp_path / "a.tif", stack))
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 3  # with kernels, and what is left
    with pytest.raises(FileExistsError, match="choose another output, or use --overwrite"):
        run(plan, tmp_path / "a.tif", stack)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.kernels.tif"}
    *_, last = run(plan, tmp_path / "a.tif", stack, overwrite=True)
    assert last.phase == "complete"


def test_what_was_killed_while_it_wrote_the_tiff_leaves_nothing_behind(tmp_path):
    plan, stack = small()
    for name in ("a.tif", "a.kernels.tif"):
        (tmp_path / f".{name}.{'0' * 32}.partial").write_bytes(b"half")
        (tmp_path / f".b{name}.{'0' * 32}.partial").write_bytes(b"another's")
    *_, last = run(plan, tmp_path / "a.tif", stack)
    assert last.phase == "complete"
    kept = {f".ba.tif.{'0' * 32}.partial", f".ba.kernels.tif.{'0' * 32}.partial"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.kernels.tif"} | kept
