import json
import warnings
import zlib
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from by_hand import five_axes, numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import arrays, creating, cuts, places, system
from napari_deblur.arrays import specs_of
from napari_deblur.batch import run
from napari_deblur.finishing import finish
from napari_deblur.ledger import Entry, Head, Ledger, damaged_lines, entries, heads
from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.protocols import Kernel
from napari_deblur.pyramid import below, levels_of, shrunk
from napari_deblur.restoring import Restored
from napari_deblur.results import LEDGER, mask_of
from napari_deblur.store import Store, open_result
from napari_deblur.stored import as_stored
from napari_deblur.verifying import verify


def finished(plan, stack, path):
    *_, last = run(plan, path, stack)
    assert last.phase == "complete"
    return open_result(path)


def test_independent_readers_accept_the_store_and_agree(tmp_path):
    import tensorstore
    import yaozarrs
    from ome_zarr_models.v05 import Image

    plan, stack = five_axes()
    path = tmp_path / "out.deblur.zarr"
    result = finished(plan, stack, path)
    assert np.array_equal(result.levels[0][:], stack.data.compute())
    assert len(result.levels) == 3
    for group in (path, path / "kernels"):
        yaozarrs.validate_zarr_store(group)
        Image.from_zarr(zarr.open_group(group, mode="r"))
    for name in ("0", "1", "2", "kernels/0"):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / name)}}
        other = tensorstore.open(spec).result().read().result()
        assert np.array_equal(other, zarr.open_array(path / name, mode="r")[:], equal_nan=True)


def test_all_of_zarr_lists_the_store_without_a_warning(tmp_path):
    plan, stack = small()
    finished(plan, stack, tmp_path / "a.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = {name for name, _ in zarr.open_group(tmp_path / "a.zarr").members(max_depth=None)}
    assert names == {"0", "kernels", "kernels/0", "residuals", "ledger"}


def test_metadata_say_axes_units_sizes_channels_and_contrast(tmp_path):
    plan, stack = five_axes()
    result = finished(plan, stack, tmp_path / "a.zarr")
    image = result.ome["multiscales"][0]
    assert [a.get("unit") for a in image["axes"]] == ["second", None, *["micrometer"] * 3]
    scales = [d["coordinateTransformations"][0]["scale"] for d in image["datasets"]]
    assert scales == [[1.5, 1, 0.5, 0.1, 0.1], [1.5, 1, 0.5, 0.2, 0.2], [1.5, 1, 0.5, 0.4, 0.4]]
    shift = image["datasets"][1]["coordinateTransformations"][1]["translation"]
    assert shift == [0, 0, 0, 0.05, 0.05]
    first = result.ome["omero"]["channels"][0]
    assert (first["label"], first["color"]) == ("DAPI", "0000FF")
    assert (first["window"]["start"], first["window"]["end"]) == (10, 800)
    kernels = json.loads((tmp_path / "a.zarr/kernels/zarr.json").read_text())["attributes"]
    transform = kernels["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert transform["scale"] == [1.5, 1, 0.2, 0.1, 0.1]


def test_unknown_voxel_sizes_have_no_unit(tmp_path):
    stack = stack_of(numbers((20, 30)), "yx")
    plan = plan_of(stack, kernel=Kernel(np.ones((3, 3))))
    result = finished(plan, stack, tmp_path / "a.zarr")
    image = result.ome["multiscales"][0]
    assert image["axes"] == [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0]
    assert (result.axes, result.pixel_size, result.kernel_pixel_size) == ("yx", None, None)
    assert np.array_equal(result.levels[0][:], stack.data.compute())


def test_plan_and_kernels_come_back_to_the_last_bit(tmp_path):
    plan, stack = small()
    *_, _last = run(plan, tmp_path / "a.zarr", stack, job={"source": "cells.tif"})
    result = open_result(tmp_path / "a.zarr")
    assert result.plan.key == plan.key == result.key
    assert np.array_equal(result.plan.kernel.array, plan.kernel.array)
    assert np.array_equal(result.kernels[:], plan.kernel.array)
    assert result.job == {"source": "cells.tif"}
    assert result.complete
    assert result.failed == ()


def test_kernels_and_residuals_of_tiles_lie_in_a_mosaic(tmp_path, third_party):  # noqa: F811
    _, stack = small()
    plan = plan_of(stack, scope="tile", method=third_party.Finder())
    result = finished(plan, stack, tmp_path / "a.zarr")
    assert result.kernels.shape == (1, 1, 3 * 3, 2 * 5, 4 * 5)
    tile = plan.tile((0, 0, 2, 1, 3))
    mean = stack.data.compute()[tuple(slice(*s) for s in tile.read)].astype(np.float32).mean()
    kernel = np.asarray(result.kernels[0, 0, 6:9, 5:10, 15:20])
    np.testing.assert_allclose(kernel[0, 0, 0] / kernel[0, 0, 1], 1 + mean, rtol=1e-5)
    assert result.kernel_geometry["cores"]["x"] == [[0, 8], [8, 16], [16, 24], [24, 25]]
    assert result.kernel_geometry["nodes"]["y"] == [3.5, 10.5]
    residuals = result.residuals[0, 0, 2, 1, 3]
    assert np.array_equal(residuals, [1, np.nan, np.nan], equal_nan=True)


def test_integers_keep_scale_and_offset_and_count_what_is_clipped():
    plan, _ = small()
    plan = replace(plan, dtype="uint8", scale=0.5, offset=-10.0)
    counts = np.array([[[-11, -10.1, -10, 0, 117.5, 117.6, 117.8, np.nan, np.inf]]], np.float32)
    stored, clipped = as_stored(counts, plan)
    assert stored.ravel().tolist() == [0, 0, 0, 20, 255, 255, 255, 0, 255]
    assert clipped == 3  # -11, 117.8 and infinity; the others round into the range


def test_integers_are_the_same_in_pieces(monkeypatch):
    plan, _ = small()
    plan = replace(plan, dtype="uint16", scale=0.01, offset=-10.0)
    counts = np.random.default_rng(0).uniform(-20, 700, (3, 7, 11)).astype(np.float32)
    counts[1, 2, 3] = np.nan
    whole = as_stored(counts, plan)
    monkeypatch.setattr("napari_deblur.stored.PIECE", 10)
    cut = as_stored(counts[:, ::-1, ::-1][:, ::-1, ::-1], plan)
    assert np.array_equal(whole[0], cut[0])
    assert whole[1] == cut[1] > 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_is_written_takes_no_more_memory_than_planned(tmp_path, dtype):
    shape = (32, 256, 512)
    plan = replace(plan_of(stack_of(np.zeros(shape, np.uint16)), core=shape), dtype=dtype)
    noise = np.random.default_rng(0).uniform(0, 250, shape).astype(np.float32)
    restored = Restored(noise, None, np.zeros(0, np.float32))
    with closing(creating.create(tmp_path / "a.zarr", plan)) as store:
        store.write_tile((0, 0, 0, 0, 0), restored)  # what is loaded once is not counted
        system.give_memory_back()
        before = memory_of_this_process("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        store.write_tile((0, 0, 0, 0, 0), restored)
        peak = memory_of_this_process("VmHWM")
    assert (peak - before) / noise.size + noise.itemsize <= cuts.WRITTEN


def memory_of_this_process(name):
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def test_integers_come_back_as_counts(tmp_path):
    plan, stack = small()
    plan = replace(plan, dtype="uint16", scale=0.25, offset=-5.0)
    result = finished(plan, stack, tmp_path / "a.zarr")
    assert result.levels[0].dtype == np.uint16
    assert np.array_equal(result.counts(result.levels[0][:]), stack.data.compute())
    last = list(run(plan, tmp_path / "a.zarr", stack))[-1]
    assert (last.clipped, last.note) == (0, "it was complete already")


def test_pyramid_is_the_mean_of_known_voxels_at_odd_sizes_too(tmp_path):
    image = numbers((5, 523, 771)).astype(np.float32)
    image[0, :2, :2] = np.nan
    stack = stack_of(image, pixel_size=(0.1, 0.1, 0.1))
    plan = plan_of(stack, core=(3, 101, 128))
    result = finished(plan, stack, tmp_path / "a.zarr")
    assert [level.shape for level in result.levels] == [
        (5, 523, 771), (3, 262, 386), (2, 131, 193),
    ]  # fmt: skip
    below = image
    for level in result.levels[1:]:
        padded = np.pad(below, [(0, n % 2) for n in below.shape], constant_values=np.nan)
        z, y, x = (n // 2 for n in padded.shape)
        boxes = padded.reshape(z, 2, y, 2, x, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # boxes that are all NaN
            expected = np.nanmean(boxes, axis=(1, 3, 5))
        np.testing.assert_allclose(level[:], expected, rtol=1e-6)
        below = level[:]


@pytest.mark.parametrize("shard", [(1, 1, 1, 1, 1), (1, 1, 1, 2, 2)])
def test_what_has_no_data_has_no_say_in_a_pyramid_of_integers(tmp_path, shard):
    image = np.full((1, 601, 523), 1000, np.float32)
    image[:, 101:, 101:] = np.nan
    image[:, ::2, :40] = np.nan
    image[:, 300:, 64] = 0
    stack = stack_of(image)
    plan = replace(plan_of(stack, core=(1, 150, 131)), shard=shard)
    known = finished(plan, stack, tmp_path / "floats.zarr").levels
    path = tmp_path / "integers.zarr"
    plan = replace(plan, dtype="uint16")
    levels = finished(plan, stack, path).levels
    assert len(levels) == 3
    for number, (level, floats) in enumerate(zip(levels, known, strict=True)):
        mask = zarr.open_array(path / mask_of(number), mode="r")
        np.testing.assert_array_equal(mask[:], np.isnan(floats[:]))
        assert np.abs(level[:] - np.nan_to_num(floats[:])).max() <= number / 2  # rounded each time


def test_levels_of_integers_that_did_not_know_the_mask_are_made_again(tmp_path):
    stack = stack_of(numbers((1, 300, 280)))
    plan = replace(plan_of(stack, core=(1, 150, 140)), dtype="uint16")
    path = tmp_path / "a.zarr"
    finished(plan, stack, path)
    (file,) = (path / LEDGER).glob("*.jsonl")
    found = [Entry.from_line(line) for line in file.read_text().splitlines()]
    file.unlink()
    book = Ledger(path / LEDGER)
    for entry in found:
        files = {name: one for name, one in entry.files.items() if not name.startswith("mask_")}
        book.append(replace(entry, files=files))
    *_, last = run(plan, path, stack)
    assert (last.phase, last.note) == ("complete", "")
    assert list(verify(path)) == []


@pytest.mark.parametrize(
    ("size", "planes", "steps"),
    [
        ((0.1, 0.1, 0.1), 64, [2, 2]),  # isotropic: z with y and x
        ((0.4, 0.1, 0.1), 64, [1, 1]),  # flat voxels: z waits
        ((0.2, 0.1, 0.1), 64, [1, 2]),
        (None, 64, [1, 1]),
        (None, 128, [2, 1]),
    ],
)
def test_z_is_halved_where_voxels_become_isotropic(size, planes, steps):
    stack = stack_of(np.broadcast_to(np.uint8(0), (planes, 1000, 400)), pixel_size=size)
    plan = plan_of(stack, core=(16, 64, 64))
    levels = levels_of(plan.layout, plan.grid)
    assert [level.step[0] for level in levels[1:]] == steps
    upper, lower = levels[1], levels[0]
    made_of = [set(below(upper, lower, index)) for index in upper.grid]
    assert set.union(*made_of) == set(lower.grid)


def test_integer_levels_are_rounded_and_keep_their_type():
    block = np.array([[[1, 2], [2, 2]]], np.uint8)
    assert shrunk(block, (1, 2, 2)).tolist() == [[[2]]]
    assert shrunk(block, (1, 2, 2)).dtype == np.uint8


def test_torn_and_damaged_ledger_lines_do_not_count(tmp_path):
    ledger = Ledger(tmp_path)
    for x in range(4):
        ledger.append(Entry("tile", "k", (0, 0, 0, 0, x), seconds=1.25))
    ledger.settle()
    (file,) = tmp_path.glob("*.jsonl")
    raw = file.read_bytes()
    for cut in range(1, raw.index(b"\n") + 1):
        file.write_bytes(raw[:-cut])  # torn: the last line does not count, and is no damage
        assert len(list(entries(tmp_path))) == (4 if cut == 1 else 3)
        assert list(damaged_lines(tmp_path)) == []
    for place in range(raw.index(b"\n")):
        flipped = bytearray(raw)
        flipped[place] ^= 4
        file.write_bytes(bytes(flipped))
        assert list(damaged_lines(tmp_path)) == [(file, 1)]
        assert [e.index[-1] for e in entries(tmp_path)] == [1, 2, 3]


def test_what_a_line_is_about_is_read_from_its_beginning(tmp_path):
    ledger = Ledger(tmp_path)
    kinds = ("tile", "level", "kernel", "metadata", "split", "failed", "shard", "part")
    for n, kind in enumerate(kinds):
        ledger.append(Entry(kind, "0a", tuple(range(n)), level=n, error='"index": [7]'))
    ledger.settle()
    assert [Head.of(one.to_line()) for one in entries(tmp_path)] == list(heads(tmp_path))
    assert [head[2:] for head in heads(tmp_path)] == [(tuple(range(n)), n) for n in range(8)]
    found = entries(tmp_path, lambda head: head.kind in ("split", "part"))
    assert [one.kind for one in found] == ["split", "part"]
    # Lines that begin in another way are read as a whole.
    (file,) = tmp_path.glob("*.jsonl")
    text = json.dumps({"level": 3, **asdict(Entry("tile", "0a", (1,)))})
    check = f"{zlib.crc32(text.encode()):08x}"
    file.write_text(f'{text[:-1]}, "check": "{check}"}}\n')
    assert [one.kind for one in entries(tmp_path, lambda head: pytest.fail(str(head)))] == ["tile"]
    assert [head.kind for head in heads(tmp_path)] == ["tile"]
    assert Head.of('{"kind": "tile", "key": "0a", "index": [' + "1" * 100) is None


def test_after_a_torn_line_a_new_file_is_begun(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    ledger.append(Entry("tile", "k", (0,)))
    (file,) = tmp_path.glob("*.jsonl")

    class Torn(Entry):
        def to_line(self):
            with file.open("ab") as handle:
                handle.write(b'{"kind": "ti')
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        ledger.append(Torn("tile", "k", (1,)))
    ledger.append(Entry("tile", "k", (2,)))
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert [e.index for e in entries(tmp_path)] in ([(0,), (2,)], [(2,), (0,)])
    assert list(damaged_lines(tmp_path)) == []


def test_entries_of_another_plan_or_without_their_file_do_not_count(tmp_path):
    plan, stack = small()
    finished(plan, stack, tmp_path / "a.zarr")
    store = Store(tmp_path / "a.zarr", plan)
    done = store.done()
    assert len(done.tiles) == len(plan)
    (tmp_path / "a.zarr/0/c/0/1/2").write_bytes(b"")
    (tmp_path / "a.zarr/0/c/1/0/0").unlink()
    left = set(done.tiles) - set(store.done().tiles)
    assert left == {(0, 0, 0, 1, 2), (0, 0, 1, 0, 0)}
    other = replace(plan, offset=1.0)
    assert not Store(tmp_path / "a.zarr", other).done().tiles


def test_another_plan_is_refused_unless_overwritten(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    finished(plan, stack, path)
    before = tree_hash(path, ledger=True)
    other = replace(plan, keep_background=False)
    with pytest.raises(FileExistsError, match=r"result of another plan .*--overwrite"):
        list(run(other, path, stack))
    with pytest.raises(FileExistsError, match="result of the same plan"):
        list(run(plan, path, stack, resume=False))
    assert tree_hash(path, ledger=True) == before
    list(run(other, path, stack, overwrite=True))
    assert open_result(path).key == other.key


def test_a_result_whose_tiles_read_other_voxels_is_not_gone_on_with(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < 5:
        pass
    progress.close()
    root = json.loads((path / "zarr.json").read_text())
    del root["attributes"]["napari_deblur"]["windows"]  # as earlier builds wrote it
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(FileExistsError, match="whose tiles read other voxels: finish it with"):
        list(run(plan, path, stack))
    assert len(open_result(path).levels) == 1  # it is opened all the same
    *_, last = run(plan, path, stack, overwrite=True)
    assert last.phase == "complete"
    root["attributes"]["napari_deblur"]["complete"] = True
    (path / "zarr.json").write_text(json.dumps(root))
    assert list(run(plan, path, stack))[-1].phase == "complete"  # nothing is left to read


class Stopped(BaseException):
    """As a kill, in this process: nothing catches it."""


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_was_killed_while_it_overwrote_is_gone_on_with_or_overwritten(
    tmp_path, monkeypatch, n, overwrite
):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    finished(plan, stack, path)
    before, left = tree_hash(path), [n]

    def stopping(call):
        def instead(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Stopped
            return call(*arguments, **options)

        return instead

    monkeypatch.setattr(creating.places, "remove_tree", stopping(creating.places.remove_tree))
    monkeypatch.setattr(Path, "unlink", stopping(Path.unlink))
    with pytest.raises(Stopped):
        list(run(plan, path, stack, overwrite=True))
    monkeypatch.undo()
    assert not (path / "zarr.json").exists() or not open_result(path).complete
    *_, last = run(plan, path, stack, overwrite=overwrite)
    assert last.phase == "complete"
    assert tree_hash(path) == before
    assert list(verify(path)) == []


@pytest.mark.parametrize("way", ["run", "finish"])
def test_a_plan_that_was_changed_on_the_disk_is_not_gone_on_with(tmp_path, way):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < 5:
        pass
    progress.close()
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["napari_deblur"]["plan"]["keep_background"] = False
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(FileExistsError, match=r"the plan in .* was changed after it was written"):
        list(run(plan, path, stack) if way == "run" else finish(path))


def test_only_results_and_empty_folders_are_ever_deleted(tmp_path):
    plan, stack = small()
    kept = tmp_path / "raw.zarr"
    zarr.save_array(kept, np.ones(3))
    with pytest.raises(FileExistsError, match="not recognisable as a result"):
        list(run(plan, kept, stack, overwrite=True))
    with pytest.raises(FileExistsError, match="no result that could be continued"):
        list(run(plan, kept, stack))
    lines = tmp_path / "lines.zarr"
    lines.mkdir()
    (lines / "mine.jsonl").write_text("{}")
    with pytest.raises(FileExistsError, match="not recognisable"):
        creating.remove(lines)
    finished(plan, stack, tmp_path / "a.zarr")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "a.zarr")
    with pytest.raises(FileExistsError, match="not recognisable"):
        creating.remove(tmp_path / "link.zarr")
    assert open_result(tmp_path / "a.zarr").complete
    (tmp_path / "empty.zarr").mkdir()
    creating.remove(tmp_path / "empty.zarr")
    creating.remove(tmp_path / "a.zarr")
    assert {p.name for p in tmp_path.iterdir()} == {"raw.zarr", "lines.zarr", "link.zarr"}


def test_something_else_is_not_opened_as_a_result(tmp_path):
    with pytest.raises(FileNotFoundError, match="no result at"):
        open_result(tmp_path / "none.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(ValueError, match="not written by napari-deblur"):
        open_result(tmp_path / "other.zarr")
    (tmp_path / "other.zarr/zarr.json").write_text("{")
    with pytest.raises(ValueError, match="not a readable result"):
        open_result(tmp_path / "other.zarr")


def test_several_processes_may_create_one_store_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    plan, stack = small()
    finished(plan, stack, tmp_path / "one.zarr")
    for attempt in range(5):
        path = tmp_path / f"{attempt}.zarr"
        with ThreadPoolExecutor(8) as pool:
            stores = list(pool.map(lambda _, p=path: creating.create(p, plan), range(8)))
        for store in stores:
            store.close()
        finished(plan, stack, path)
        assert tree_hash(path) == tree_hash(tmp_path / "one.zarr")


def test_chunks_of_fill_values_are_written_and_the_result_is_sound(tmp_path):
    stack = stack_of(np.zeros((3, 300, 280), np.uint16))
    plan = replace(plan_of(stack, core=(3, 150, 140)), dtype="uint16")
    result = finished(plan, stack, tmp_path / "black.zarr")
    assert len(result.levels) == 2
    assert list(verify(tmp_path / "black.zarr")) == []
    half = np.full((3, 300, 280), np.nan, np.float32)
    half[:, :150] = 7
    stack = stack_of(half)
    plan = plan_of(stack, core=(3, 150, 140), method=RichardsonLucy(2, 0.0, 1.0, 0.0))
    result = finished(plan, stack, tmp_path / "half.zarr")
    assert np.isnan(result.levels[0][:, 150:]).all()
    assert list(verify(tmp_path / "half.zarr")) == []
    names = list(Store(tmp_path / "half.zarr", plan).chunk_names())
    assert len(names) == 4 + 1 + 1
    assert all((tmp_path / "half.zarr" / name).is_file() for name in names)


def test_integers_have_a_mask_of_what_has_no_data(tmp_path, third_party):  # noqa: F811
    array = numbers((4, 8, 16)).astype(np.float32) % 900
    array[1, 2, 3] = np.nan
    array[0, 0, 15] = 999
    stack = stack_of(array)
    plan = replace(plan_of(stack, method=third_party.Broken()), dtype="uint16")
    *_, last = run(plan, tmp_path / "a.zarr", stack)
    assert last.phase == "incomplete"
    mask = open_result(tmp_path / "a.zarr").mask
    assert mask.dtype == bool
    assert np.argwhere(mask[:, :, :8]).tolist() == [[1, 2, 3]]
    assert mask[:, :, 8:].all()  # the tile that failed
    assert open_result(finished(*small(), tmp_path / "b.zarr").path).mask is None


def test_a_result_that_cannot_be_renamed_is_removed_all_the_same(tmp_path, monkeypatch):
    def refused(self, target):
        raise PermissionError(13, "a file in it is open", str(self))

    store = creating.create(tmp_path / "a.zarr", plan_of(stack_of(numbers((3, 8, 9)), "zyx")))
    store.close()
    monkeypatch.setattr(type(tmp_path), "rename", refused)
    creating.remove(tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("raw", [b"", b'{"zarr_format": 3'])
@pytest.mark.parametrize("name", ["0", "ledger", "kernels/0", "kernels"])
def test_metadata_that_were_torn_before_the_ledger_had_them_are_written_again(tmp_path, raw, name):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    finished(plan, stack, tmp_path / "whole.zarr")
    creating.create(path, plan).close()
    (ledger,) = (path / LEDGER).glob("*.jsonl")
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if f'"{name}/zarr.json"' not in line))
    (path / name / "zarr.json").write_bytes(raw)
    result = finished(plan, stack, path)
    assert np.array_equal(result.levels[0][:], stack.data.compute())
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


def test_metadata_of_arrays_are_those_that_zarr_writes(tmp_path):
    plan, stack = small()
    for name, spec in specs_of(plan).items():
        zarr.create_array(tmp_path / name, **spec.settings())
        assert (tmp_path / name / "zarr.json").read_bytes() == arrays.metadata_of(spec)
    finished(plan, stack, tmp_path / "a.zarr")


@pytest.mark.parametrize("joined", [False, True])
def test_what_the_ledger_says_of_what_is_gone_is_on_the_disk_before(tmp_path, monkeypatch, joined):
    """A line may be lost with the power; tiles that were joined have nothing else."""
    stack = stack_of(numbers((2, 258, 16)))
    plan = plan_of(stack, core=(1, 129, 8))
    plan = replace(plan, shard=(1, 1, 1, 2, 2)) if joined else plan
    root = tmp_path / "a.zarr/zarr.json"
    seen, settled = [], {}
    sync, unlink, write = system.sync_file, Path.unlink, places.write_atomically

    def syncs(file):
        sync(file)
        settled[file] = file.stat().st_size

    def checked(file):
        for ledger in (tmp_path / "a.zarr" / LEDGER).glob("*.jsonl"):
            assert settled.get(ledger) == ledger.stat().st_size
        seen.append(file)

    def unlinks(file, **options):
        if "/ledger/tiles/" in file.as_posix():
            checked(file)
        unlink(file, **options)

    def writes(file, *arguments):
        if file == root:
            checked(file)
        write(file, *arguments)

    monkeypatch.setattr(system, "sync_file", syncs)
    monkeypatch.setattr(places, "write_atomically", writes)
    monkeypatch.setattr(Path, "unlink", unlinks)
    finished(plan, stack, tmp_path / "a.zarr")
    assert len([file for file in seen if file != root]) == (10 if joined else 0)
    assert seen[-1] == root
