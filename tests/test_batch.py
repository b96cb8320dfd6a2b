import errno
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import zarr

from by_hand import numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import arrays, system
from napari_deblur.batch import Claimed, RunStopped, replay, run
from napari_deblur.opening import open_stack
from napari_deblur.store import Store, open_result


def test_run_writes_what_the_method_gives(tmp_path):
    plan, stack = small()
    seen = list(run(plan, tmp_path / "a.zarr", stack))
    assert seen[-1].phase == "complete"
    assert [p.done for p in seen if p.phase == "tiles"] == list(range(len(plan) + 1))
    assert str(seen[-1]) == "complete 24/24"
    image = open_result(tmp_path / "a.zarr").levels[0]
    assert image.chunks == plan.grid.core
    assert np.array_equal(image[:], stack.data.compute())


def test_a_plan_from_a_store_runs_again_to_the_same_bytes(tmp_path):
    plan, stack = small()
    list(run(plan, tmp_path / "a.zarr", stack))
    list(run(replay(tmp_path / "a.zarr"), tmp_path / "b.zarr", stack))
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "b.zarr")


def test_cancel_keeps_what_was_done_and_a_second_run_goes_on(tmp_path):
    plan, stack = small()
    list(run(plan, tmp_path / "whole.zarr", stack))
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < 7:
        pass
    progress.close()
    assert not open_result(path).complete
    first, *_, last = run(plan, path, stack)
    assert first.done == 7
    assert first.note == "goes on after 7 of 24 tiles"
    assert last.phase == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


def test_a_failing_tile_is_left_out_and_tried_again_by_the_next_run(tmp_path, third_party):  # noqa: F811
    array = numbers((10, 600, 25))
    array[9, 13, 24] = 999
    stack = stack_of(array)
    method = third_party.Broken(repaired=str(tmp_path / "repaired"))
    plan = plan_of(stack, core=(4, 100, 8), method=method)
    path = tmp_path / "a.zarr"
    seen = list(run(plan, path, stack))
    assert seen[-1].phase == "incomplete"
    assert (seen[-1].done, seen[-1].failed) == (len(plan) - 1, 1)
    assert "999 is too much" in seen[-1].note
    notes = [p.note for p in seen if "failed" in p.note]
    assert ["again" in n for n in notes] == [True, True, False]
    result = open_result(path)
    assert not result.complete
    assert result.failed == ((0, 0, 2, 0, 3),)
    image, right = result.levels[0][:], array.astype(np.float32)
    right[8:, :100, 24:] = np.nan
    assert np.array_equal(image, right, equal_nan=True)
    assert len(result.levels) == 3  # the pyramid is there all the same
    assert np.isnan(result.levels[1][9, 6, 12])

    (tmp_path / "repaired").touch()
    *_, last = run(plan, path, stack)
    assert last.phase == "complete"
    list(run(plan, tmp_path / "b.zarr", stack))
    assert tree_hash(path) == tree_hash(tmp_path / "b.zarr")


def test_fail_fast_raises_what_the_tile_raised(tmp_path, third_party):  # noqa: F811
    array = numbers((10, 14, 25))
    array[0, 0, 0] = 999
    stack = stack_of(array)
    plan = plan_of(stack, method=third_party.Broken())
    with pytest.raises(ValueError, match="999 is too much"):
        list(run(plan, tmp_path / "a.zarr", stack, fail_fast=True))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_more_stops_the_run_which_can_go_on(tmp_path, monkeypatch, code):
    plan, stack = small()
    list(run(plan, tmp_path / "whole.zarr", stack))
    path = tmp_path / "a.zarr"
    write = Store.write_tile

    def full(self, index, restored, **kwargs):
        if index[2] == 2:
            raise OSError(code, os.strerror(code), str(self.path))
        return write(self, index, restored, **kwargs)

    monkeypatch.setattr(Store, "write_tile", full)
    with pytest.raises(RunStopped, match="what is done is kept") as caught:
        list(run(plan, path, stack))
    assert caught.value.errno == code
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(Store, "write_tile", write)
    assert next(run(plan, path, stack)).done == 16
    list(run(plan, path, stack))
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="mounting a small disk needs root",
)
def test_a_really_full_disk_leaves_no_bad_chunk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        stack = stack_of(np.random.default_rng(0).random((8, 120, 120)).astype(np.float32))
        plan = plan_of(stack, core=(8, 30, 30))
        with pytest.raises(RunStopped, match="free some space"):
            list(run(plan, disk / "a.zarr", stack))
        assert list(disk.rglob("*.partial")) == []
        done = Store(disk / "a.zarr", plan).done().tiles
        assert 0 < len(done) < len(plan)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        first, *_, last = run(plan, disk / "a.zarr", stack)
        assert first.done == len(done)
        assert last.phase == "complete"
        assert np.array_equal(open_result(disk / "a.zarr").levels[0][:], stack.data.compute())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits on Windows")
def test_a_limit_of_the_size_of_files_stops_the_run_which_can_go_on(tmp_path):
    import resource

    image = np.zeros((8, 64, 128), np.float32)
    image[:, 32:, 64:] = np.random.default_rng(0).random((8, 32, 64))  # 64 kB, incompressible
    stack = stack_of(image)
    plan = plan_of(stack, core=(8, 32, 64))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(RunStopped, match=r"raise the limit .*ulimit -f.*, then run") as caught:
            list(run(plan, tmp_path / "a.zarr", stack))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*.partial")) == []
    first, *_, last = run(plan, tmp_path / "a.zarr", stack)
    assert (first.done, last.phase) == (3, "complete")
    assert np.array_equal(open_result(tmp_path / "a.zarr").levels[0][:], image)


@pytest.mark.parametrize("accident", ["moved", "emptied"])
def test_an_input_that_is_gone_stops_the_run_which_can_go_on(tmp_path, accident):
    path, away = tmp_path / "raw.zarr", tmp_path / "away"
    zarr.create_array(path, data=numbers((8, 16, 16)), chunks=(2, 8, 8))
    plan = plan_of(open_stack(path, "zyx"), core=(2, 8, 8))
    list(run(plan, tmp_path / "whole.zarr"))
    progress = run(plan, tmp_path / "a.zarr")
    while next(progress).done < 2:
        pass
    path.rename(away)
    if accident == "emptied":  # as the place of a drive that was taken away is
        path.mkdir()
    with pytest.raises(RunStopped, match=r"raw\.zarr is no longer there; put it back") as caught:
        list(progress)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__.filename == str(path)
    if accident == "emptied":
        path.rmdir()
    away.rename(path)
    result = open_result(tmp_path / "a.zarr")
    assert (result.complete, result.failed) == (False, ())
    first, *_, last = run(plan, tmp_path / "a.zarr")
    assert 2 <= first.done <= 5  # those in flight may have been written
    assert last.phase == "complete"
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "whole.zarr")


def test_too_little_disk_is_said_before_the_first_tile(tmp_path, monkeypatch):
    plan, stack = small()
    plan = replace(plan, disk=10**9)
    monkeypatch.setattr(system, "free_disk", lambda path: 10**9)
    with pytest.raises(RunStopped, match=r"needs about 1.1 GB and the disk has 1 GB free"):
        list(run(plan, tmp_path / "a.zarr", stack))


def test_what_workers_need_on_the_disk_is_counted_too(tmp_path, monkeypatch):
    stack = stack_of(numbers((6, 300, 280)))
    plan = replace(plan_of(stack, core=(3, 90, 100)), shard=(1, 1, 2, 2, 2), disk=10**9)
    monkeypatch.setattr(system, "free_disk", lambda path: 0)
    monkeypatch.setattr(arrays, "joining_of", lambda plan: 10**8)

    def needed(workers, stack=stack):
        with pytest.raises(RunStopped) as caught:
            list(run(plan, tmp_path / f"{workers}.zarr", stack, workers=workers))
        return float(re.search(r"about (\S+) GB", str(caught.value))[1])

    copy = stack.data.nbytes / 1e9
    assert needed(0) == pytest.approx(1.1 * 1.0, rel=0.01)
    assert needed(2) == pytest.approx(1.1 * (0.9 + 4 * 0.1 + copy), rel=0.01)


def test_what_the_workers_of_a_scheduler_need_on_the_disk_is_counted_too(tmp_path, monkeypatch):
    from napari_deblur import cluster

    zarr.create_array(tmp_path / "raw.zarr", data=numbers((6, 300, 280)))
    stack, asked = open_stack(tmp_path / "raw.zarr", "zyx"), []
    plan = replace(plan_of(stack, core=(3, 90, 100)), disk=10**9)
    monkeypatch.setattr(system, "free_disk", lambda path: 0)
    monkeypatch.setattr(arrays, "joining_of", lambda plan: 10**8)
    monkeypatch.setattr(cluster, "count", lambda address: asked.append(address) or 3)
    for name, shard, said in (("a", (1, 1, 2, 2, 2), "1.65"), ("b", (1, 1, 1, 1, 1), "1.1")):
        with pytest.raises(RunStopped, match=rf"needs about {said} GB"):
            list(run(replace(plan, shard=shard), tmp_path / f"{name}.zarr", scheduler="tcp://a:1"))
    assert asked == ["tcp://a:1"]  # where no files are joined nobody need be asked


def test_an_output_below_a_file_is_one_sentence(tmp_path):
    plan, stack = small()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        list(run(plan, tmp_path / "file/a.zarr", stack))


def test_memory_that_runs_out_splits_a_tile_and_a_resumed_run_repeats_it(tmp_path, monkeypatch):
    from napari_deblur import restoring

    plan, stack = small()
    path = tmp_path / "a.zarr"
    core, sizes = restoring._restore_core, []

    def short(plan, stack, index, box):
        sizes.append(box[2][1] - box[2][0])
        if index == (0, 0, 0, 0, 1) and box[2][1] - box[2][0] == 8:
            raise MemoryError
        return core(plan, stack, index, box)

    monkeypatch.setattr(restoring, "_restore_core", short)
    monkeypatch.setattr(Store, "write_tile", interrupted := _interrupt_at((0, 0, 0, 0, 1)))
    with pytest.raises(KeyboardInterrupt):
        list(run(plan, path, stack))
    monkeypatch.setattr(Store, "write_tile", interrupted.original)
    sizes.clear()
    list(run(plan, path, stack))
    assert sizes[:2] == [4, 4]  # at once in halves, without running out of memory again
    assert np.array_equal(open_result(path).levels[0][:], stack.data.compute())


def _interrupt_at(index):
    original = Store.write_tile

    def write(self, where, restored, **kwargs):
        if where == index:
            raise KeyboardInterrupt
        return original(self, where, restored, **kwargs)

    write.original = original
    return write


def test_a_second_run_is_refused_while_the_first_one_lives(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    first = run(plan, path, stack)
    next(first)
    with pytest.raises(Claimed, match=r"a run of .*a\.zarr is going on \(this very process\)"):
        run(plan, path, stack)
    first.close()
    assert list(run(plan, path, stack))[-1].phase == "complete"


def test_a_lost_chunk_of_a_complete_result_is_made_again(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    list(run(plan, path, stack))
    before = tree_hash(path)
    (path / "0/c/0/1/2").unlink()
    first, *_, last = run(plan, path, stack)
    assert (first.done, last.phase) == (23, "complete")
    assert tree_hash(path) == before


@pytest.mark.parametrize(
    ("output", "kwargs", "said"),
    [
        ("a.png", {}, r'ends in "\.png": use \.deblur\.zarr or \.tif'),
        ("https://host/a.zarr", {}, "is on the web"),
        ("s3://bucket/a.tif", {}, "does not end in .zarr"),
        ("s3://me:secret@bucket/a.zarr", {}, "name or password"),
        ("gs://bucket/a.zarr", {}, "no place for a result"),
        ("a.zarr", {"workers": -1}, "workers is -1 and must be 0 or more"),
        ("a.zarr", {"workers": 2, "scheduler": "tcp://x:1"}, "exclude each other"),
    ],
)
def test_wrong_arguments_are_said_at_once(output, kwargs, said):
    plan, stack = small()
    with pytest.raises(ValueError, match=said):
        run(plan, output, stack, **kwargs)


def test_the_stack_must_be_the_planned_one(tmp_path):
    plan, _ = small()
    with pytest.raises(ValueError, match="pass it as stack="):
        run(plan, tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="plan it again"):
        run(plan, tmp_path / "a.zarr", stack_of(numbers((9, 14, 25))))


def test_an_unfinished_tiff_of_another_plan_is_named_by_the_users_file(tmp_path):
    plan, stack = small()
    progress = run(plan, tmp_path / "k.tif", stack)
    while next(progress).done < 3:
        pass
    progress.close()
    other = replace(plan, keep_background=False)
    said = r"k\.tif was begun with another plan .*--overwrite"
    with pytest.raises(FileExistsError, match=said) as caught:
        list(run(other, tmp_path / "k.tif", stack))
    assert ".k.tif" not in str(caught.value)
    *_, last = run(other, tmp_path / "k.tif", stack, overwrite=True)
    assert last.phase == "complete"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that takes no files")
def test_an_output_that_cannot_be_made_is_said_at_once():
    plan, stack = small()
    for output in ("/proc/x.zarr", "/proc/none/x.tif"):
        with pytest.raises(OSError, match=f"output {output} cannot be made .*choose another"):
            run(plan, output, stack)
