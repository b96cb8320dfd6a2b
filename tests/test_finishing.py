"""The pyramid of a result whose tiles are all there: by threads of one process, or by workers."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from by_hand import numbers, plan_of, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import claims, cli, finishing
from napari_deblur.batch import run
from napari_deblur.finishing import finish
from napari_deblur.ledger import entries
from napari_deblur.opening import open_stack
from napari_deblur.progress import Progress
from napari_deblur.results import LEDGER, open_result
from napari_deblur.store import Store
from napari_deblur.verifying import discard, verify

PATIENCE = 20  # seconds until a test gives up; none needs them


def stopped_at_its_pyramid(plan, path, stack=None):
    """Do the tiles of a plan, and nothing else."""
    for progress in run(plan, path, stack):
        if progress.phase == "pyramid":
            break
    assert not open_result(path).complete
    return path


def last_of(progress):
    *_, last = progress
    return last


def test_workers_of_a_scheduler_make_the_pyramid_without_the_input(tmp_path):
    from distributed import LocalCluster

    zarr.save_array(tmp_path / "raw.zarr", numbers((3, 600, 560)))
    plan = plan_of(open_stack(tmp_path / "raw.zarr", "zyx"), core=(3, 150, 140))
    list(run(plan, tmp_path / "whole.zarr"))
    path = stopped_at_its_pyramid(plan, tmp_path / "a.zarr")
    ours = {file.name for file in (path / LEDGER).glob("*.jsonl")}
    shutil.rmtree(tmp_path / "raw.zarr")
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://",
        dashboard_address="127.0.0.1:0", memory_limit=0,
    ) as cluster:  # fmt: skip
        assert last_of(finish(path, scheduler=cluster.scheduler_address)).phase == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []
    made = [entry for entry in entries(path / LEDGER) if entry.kind == "level"]
    assert len(made) > 4
    theirs = {file.name for file in (path / LEDGER).glob("*.jsonl")} - ours
    assert len(theirs) == 2  # of the worker, and of this process


def test_two_chunks_of_a_level_are_made_while_one_is_written(tmp_path, monkeypatch):
    stack = stack_of(numbers((2, 520, 512)))
    plan = plan_of(stack, core=(2, 128, 128))
    path = stopped_at_its_pyramid(plan, tmp_path / "a.zarr", stack)
    third, waited, made = threading.Event(), [], []
    make, write = Store.make_level, Store.write_level

    def makes(store, number, index, gaps):
        made.append(index)
        if len(made) == 3:
            third.set()
        return make(store, number, index, gaps)

    def writes(store, number, index, made, **given):
        waited.append(third.wait(PATIENCE if not waited else 0))
        return write(store, number, index, made, **given)

    monkeypatch.setattr(Store, "make_level", makes)
    monkeypatch.setattr(Store, "write_level", writes)
    assert last_of(finish(path)).phase == "complete"
    assert waited[0]
    assert list(verify(path)) == []


def test_a_chunk_of_a_level_that_cannot_be_made_is_tried_again(tmp_path, monkeypatch):
    stack = stack_of(numbers((2, 520, 512)))
    plan = plan_of(stack, core=(2, 128, 128))
    list(run(plan, tmp_path / "whole.zarr", stack))
    path = stopped_at_its_pyramid(plan, tmp_path / "a.zarr", stack)
    make, failing = Store.make_level, [0, 0]

    def makes(store, number, index, gaps):
        if failing:
            raise ValueError(f"no {failing.pop()}")
        return make(store, number, index, gaps)

    monkeypatch.setattr(Store, "make_level", makes)
    *notes, last = finish(path)
    assert sum("will be tried again" in progress.note for progress in notes) == 2
    assert last.phase == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"workers": 2, "scheduler": "tcp://host:1"}, "exclude each other"),
        ({"workers": -1}, "must be 0 or more"),
    ],
)
def test_workers_that_do_not_fit_are_refused(tmp_path, how, text):
    with pytest.raises(ValueError, match=text):
        list(finish(tmp_path / "a.zarr", **how))


def test_it_waits_for_a_run_that_is_going_on(tmp_path, monkeypatch):
    stack = stack_of(numbers((2, 520, 512)))
    plan = plan_of(stack, core=(2, 128, 128))
    progress = run(plan, tmp_path / "a.zarr", stack)
    next(progress)
    with pytest.raises(claims.Claimed, match=r"a run of .* is going on"):
        list(finish(tmp_path / "a.zarr"))
    monkeypatch.setattr(claims, "POLL", 0.01)
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(lambda: last_of(finish(tmp_path / "a.zarr", wait=PATIENCE)))
        assert last_of(progress).phase == "complete"
        assert ended.result(PATIENCE).note == "it was complete already"


def test_the_command_passes_on_what_it_is_told(tmp_path, monkeypatch):
    asked = []

    def noted(path, **how):
        asked.append(how)
        yield Progress(1, 1, "complete")

    monkeypatch.setattr(finishing, "finish", noted)
    for options in (["--workers", "3"], ["--scheduler", "tcp://host:8786", "--wait", "9"]):
        done = CliRunner().invoke(cli.app, ["finish", str(tmp_path / "a.zarr"), *options])
        assert done.exit_code == 0, done.output
    assert asked == [
        {"workers": 3, "scheduler": None, "wait": 0},
        {"workers": 0, "scheduler": "tcp://host:8786", "wait": 9},
    ]


def lose(path, name, how):
    file = path / name
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.unlink() if how == "gone" else file.write_bytes(b"" if how == "empty" else raw)


@pytest.mark.parametrize("name", ["0", "mask"])
@pytest.mark.parametrize("how", ["gone", "empty", "changed"])
@pytest.mark.parametrize(("box", "last"), [((1, 1, 1, 1, 1), "0/3/3"), ((1, 1, 1, 2, 2), "0/1/1")])
def test_what_is_lost_while_a_run_goes_on_is_no_hole_in_its_pyramid(tmp_path, name, how, box, last):
    stack = stack_of(numbers((2, 520, 512)))
    plan = plan_of(stack, core=(2, 130, 128), dtype="uint16")
    plan = replace(plan, shard=box)
    list(run(plan, tmp_path / "whole.zarr", stack))
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).phase != "pyramid":
        pass
    lose(path, f"{name}/c/{last}", how)
    *notes, end = progress
    assert end.phase == "incomplete"
    said = "was lost since it was written" if how == "gone" else "is not what was written"
    assert any(said in progress.note for progress in notes)
    discard(path, verify(path))
    assert list(run(plan, path, stack))[-1].phase == "complete"
    assert list(verify(path)) == []
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


def test_chunks_that_could_not_be_made_are_holes_in_the_pyramid(tmp_path, third_party):  # noqa: F811
    array = numbers((2, 520, 512))
    array[0, 0, 0] = 999
    stack, path = stack_of(array), tmp_path / "a.zarr"
    plan = plan_of(stack, core=(2, 130, 128), method=third_party.Broken(str(tmp_path / "repaired")))
    for _ in range(2):
        last = last_of(run(plan, path, stack))
        assert (last.phase, last.failed) == ("incomplete", 1)
        levels = open_result(path).levels
        assert np.isnan(levels[1][:, :65, :64]).all()
        assert np.isfinite(levels[1][:, 65:]).all()
    (tmp_path / "repaired").touch()
    assert last_of(run(plan, path, stack)).phase == "complete"
    assert np.isfinite(open_result(path).levels[1][:]).all()
