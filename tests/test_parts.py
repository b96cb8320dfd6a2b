import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from by_hand import numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import batch, finishing, joining, places
from napari_deblur.batch import Claimed, run
from napari_deblur.claims import FINISH, take
from napari_deblur.finishing import Unfinished, finish
from napari_deblur.job import Job
from napari_deblur.parts import Part
from napari_deblur.results import IMAGE, KERNELS, LEDGER, RESIDUALS, open_result
from napari_deblur.store import Store
from napari_deblur.tiles import Grid, Shards
from napari_deblur.verifying import verify

FORKED = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, for speed")

# One process imports everything and forks one for each part.
CHILD = """
import os, sys
from by_hand import *
import torch, zarr, napari_deblur.batch, napari_deblur.finishing, third_party
from napari_deblur import batch
from test_parts import example
torch.set_num_threads(1)
children = []
for part in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            plan, stack = example(third_party)
            *_, last = batch.run(plan, sys.argv[1], stack, part=tuple(map(int, part.split("/"))))
            os.write(1, f"{last.phase}\\n".encode())  # at once: the others write there too
            status = 0
        finally:
            os._exit(status)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) != 0 for c in children))
"""

HANGS = """
import sys, time
import third_party
from napari_deblur import batch
from test_parts import example
plan, stack = example(third_party)
for progress in batch.run(plan, sys.argv[1], stack, part=(2, 3)):
    if progress.done == 2:
        print(flush=True)
        time.sleep(600)
"""


def example(methods):
    stack = stack_of(numbers((6, 300, 280)), pixel_size=(0.3, 0.1, 0.1))
    return plan_of(stack, core=(3, 110, 100), method=methods.Slow(0.004)), stack


def ended(*arguments, **options):
    *_, last = run(*arguments, **options)
    return last


# Which tiles ------------------------------------------------------------------------------------


@given(
    st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 20)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.integers(1, 12),
)
def test_parts_are_all_tiles_once_in_their_order_and_of_one_size(shape, core, of):
    grid = Grid(shape, core)
    parts = [list(Part(k, of).tiles(Shards(grid.counts))) for k in range(1, of + 1)]
    assert [index for part in parts for index in part] == list(grid)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "3", "a/b", "-1/3", "1/3/5", ""])
def test_what_is_no_part_is_said(text):
    with pytest.raises(ValueError, match="part"):
        Part.read(text)


# Parts of one result ------------------------------------------------------------------------------


@FORKED
def test_three_parts_in_three_processes_give_the_bytes_of_one_run(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    ended(plan, tmp_path / "whole.zarr", stack)
    path = tmp_path / "parts.zarr"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, path, "1/3", "2/3", "3/3"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0
    phases = done.stdout.split()
    assert len(phases) == 3
    assert "complete" in phases
    assert set(phases) <= {"complete", "part"}
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


def test_parts_one_after_the_other_and_the_last_one_finishes(tmp_path):
    plan, stack = small()
    ended(plan, tmp_path / "whole.zarr", stack)
    path = tmp_path / "parts.zarr"
    first = ended(plan, path, stack, part=(3, 3))
    assert (first.phase, first.done, first.total) == ("part", 8, 24)
    assert first.note == "part 3/3 is done; 16 tiles of other parts are not there yet"
    assert not open_result(path).complete
    assert ended(plan, path, stack, part=(1, 3)).phase == "part"
    assert ended(plan, path, stack, part=(2, 3)).phase == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert ended(plan, path, stack, part=(2, 3)).note == "it was complete already"
    assert list(verify(path)) == []


def test_more_parts_than_tiles_are_done_at_once(tmp_path):
    plan, stack = small()
    phases = [ended(plan, tmp_path / "a.zarr", stack, part=(k, 30)).phase for k in range(1, 31)]
    assert phases[-1] == "complete"
    assert set(phases[:-1]) == {"part"}


def test_what_one_part_gave_up_is_listed_by_the_one_that_finishes(tmp_path, third_party):  # noqa: F811
    array = numbers((10, 14, 25))
    array[0, 0, 0] = 999
    stack = stack_of(array)
    method = third_party.Broken(repaired=str(tmp_path / "repaired"))
    plan, path = plan_of(stack, method=method), tmp_path / "a.zarr"
    one = ended(plan, path, stack, part=(1, 2))
    assert (one.phase, one.failed) == ("part", 1)
    two = ended(plan, path, stack, part=(2, 2))
    assert (two.phase, two.failed) == ("incomplete", 1)
    assert open_result(path).failed == ((0, 0, 0, 0, 0),)
    (tmp_path / "repaired").touch()
    assert ended(plan, path, stack, part=(1, 2)).phase == "complete"
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_part_goes_on_at_once_and_what_lives_is_refused(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    path = tmp_path / "a.zarr"
    ended(plan, path, stack, part=(1, 3))
    part = subprocess.Popen([sys.executable, "-c", HANGS, path], stdout=subprocess.PIPE)
    part.stdout.readline()
    with pytest.raises(Claimed, match=rf"part 2/3 of .* is going on \(process {part.pid}\)"):
        run(plan, path, stack, part=(2, 3))
    with pytest.raises(Claimed, match="part 2/3 of"):
        run(plan, path, stack)
    with pytest.raises(Claimed, match="parts of another number"):
        run(plan, path, stack, part=(1, 2))
    other = replace(plan, keep_background=False)
    with pytest.raises(Claimed, match="by part 2/3 of another plan"):
        list(run(other, path, stack, part=(3, 3)))
    with pytest.raises(Unfinished, match=r"2/3 \(4, .*3/3 \(6, .*run these parts again"):
        list(finish(path))
    assert ended(plan, path, stack, part=(3, 3)).phase == "part"
    os.kill(part.pid, signal.SIGKILL)
    part.communicate()
    assert len(list((path / LEDGER).glob("*.claim"))) == 1
    first, *_, last = run(plan, path, stack, part=(2, 3))
    assert first.done == 2
    assert last.phase == "complete"
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


@pytest.mark.parametrize(
    ("output", "kwargs", "said"),
    [
        ("a.zarr", {"part": (4, 3)}, "no part 4/3"),
        ("a.zarr", {"part": (1, 3), "overwrite": True}, "would remove what other parts did"),
        ("a.tif", {"part": (1, 3)}, "what others write, a .zarr"),
        ("a.zarr", {"part": (1, 3), "workers": 2}, "lives in memory is done by this process"),
    ],
)
def test_what_parts_cannot_do_is_said_at_once(tmp_path, output, kwargs, said):
    plan, stack = small()
    with pytest.raises(ValueError, match=said):
        run(plan, tmp_path / output, stack, **kwargs)
    assert list(tmp_path.iterdir()) == []


# Finishing ----------------------------------------------------------------------------------------


def test_finish_names_the_parts_that_miss_tiles(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    ended(plan, path, stack, part=(2, 3))
    said = (
        r"16 of 24 tiles are missing, of the parts 1/3 \(8, the first is \(0, 0, 0, 0, 0\)\), "
        r"3/3 \(8, the first is \(0, 0, 2, 0, 0\)\); run these parts again"
    )
    with pytest.raises(Unfinished, match=said):
        list(finish(path))
    assert not open_result(path).complete


def test_finish_finds_a_lost_tile_of_a_complete_result(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    ended(plan, path, stack)
    assert [p.note for p in finish(path)] == ["it was complete already"]
    (path / "0/c/0/1/2").write_bytes(b"too short")
    with pytest.raises(Unfinished, match=r"1 of 24 tiles are missing: \(0, 0, 0, 1, 2\)"):
        list(finish(path))
    assert not open_result(path).complete


def test_finish_makes_what_a_stopped_last_part_did_not(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    ended(plan, tmp_path / "whole.zarr", stack)
    path = tmp_path / "a.zarr"
    ended(plan, path, stack, part=(1, 2))
    last = run(plan, path, stack, part=(2, 2))
    while next(last).phase != "pyramid":
        pass
    last.close()
    assert not open_result(path).complete
    phases = [progress.phase for progress in finish(path)]
    assert phases[-1] == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


def test_while_one_finishes_another_part_leaves_it_to_that(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    ended(plan, path, stack, part=(1, 2))
    with take(path / LEDGER, plan.key, FINISH):
        last = ended(plan, path, stack, part=(2, 2))
        assert (last.phase, last.done) == ("part", 24)
        assert "the finishing of" in last.note
        assert not open_result(path).complete
    assert list(finish(path))[-1].phase == "complete"


def test_a_part_that_has_nothing_to_do_never_takes_complete_back(tmp_path, monkeypatch):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    list(run(plan, path, stack, part=(1, 2)))
    numbers_of = batch._numbers

    def late(*arguments):  # after this part has read the ledger, the other one finishes
        monkeypatch.setattr(batch, "_numbers", numbers_of)
        list(run(plan, path, stack, part=(2, 2)))
        return numbers_of(*arguments)

    monkeypatch.setattr(batch, "_numbers", late)
    phases = []
    for progress in run(plan, path, stack, part=(1, 2)):
        assert open_result(path).complete
        phases.append(progress.phase)
    assert phases[-1] == "complete"


def test_a_part_looks_at_no_files_but_its_own(tmp_path, monkeypatch):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    ended(plan, path, stack, part=(1, 3))
    asked, sizes_of = set(), places.size_in

    def noted(folder):
        size = sizes_of(folder)

        def asked_for(name):
            asked.add((folder / name).relative_to(path).as_posix())
            return size(name)

        return asked_for

    monkeypatch.setattr(places, "size_in", noted)
    monkeypatch.setattr(Store, "sweep", lambda *_: pytest.fail("it walks through all folders"))
    last = run(plan, path, stack, part=(2, 3))
    while next(last).done < 2:
        pass
    last.close()
    assert ended(plan, path, stack, part=(2, 3)).phase == "part"
    store = Store(path, plan)
    own = {store.chunk_name(0, index) for index in Part(2, 3).tiles(plan.shards)}
    image = {name for name in asked if name.startswith(f"{IMAGE}/")}
    assert image
    assert image <= own
    assert all(name.startswith((f"{KERNELS}/", f"{RESIDUALS}/")) for name in asked - image)


def test_of_joined_files_a_part_looks_at_its_own_too(tmp_path, monkeypatch):
    stack = stack_of(numbers((6, 300, 280)))
    plan = replace(plan_of(stack, core=(3, 90, 100)), shard=(1, 1, 1, 2, 2))
    ended(plan, tmp_path / "whole.zarr", stack)
    path = tmp_path / "a.zarr"
    phases = []
    for k in (2, 1, 2, 3, 1):
        store = Store(path, plan) if path.exists() else None
        if store is not None and not open_result(path).complete:
            span = Part(k, 3).span(len(plan.shards))
            own = set(Part(k, 3).tiles(plan.shards))
            assert set(store.done(span).tiles) == own & set(store.done().tiles)
        phases.append(ended(plan, path, stack, part=(k, 3)).phase)
    assert phases == ["part", "part", "part", "complete", "complete"]
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


def test_a_file_that_was_lost_does_not_count_when_the_last_part_is_done(tmp_path):
    plan, stack = small()
    ended(plan, tmp_path / "whole.zarr", stack)
    path = tmp_path / "a.zarr"
    ended(plan, path, stack, part=(1, 2))
    (path / "0/c/0/1/2").unlink()
    last = ended(plan, path, stack, part=(2, 2))
    assert (last.phase, last.done) == ("part", 23)
    assert last.note == "part 2/2 is done; 1 tiles of other parts are not there yet"
    assert not open_result(path).complete
    assert ended(plan, path, stack, part=(1, 2)).phase == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    # Also of a complete result: of the part itself, and of another one.
    (path / "0/c/0/1/2").unlink()
    assert ended(plan, path, stack, part=(2, 2)).done == 23
    assert ended(plan, path, stack, part=(1, 2)).phase == "complete"
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


# One plan -----------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path):
    import tifffile

    from napari_deblur.kernels import save_kernel
    from napari_deblur.protocols import Kernel

    tifffile.imwrite(tmp_path / "cells.tif", numbers((40, 48)))
    save_kernel(Kernel(np.ones((3, 3))), tmp_path / "kernel.tif")
    return Job(
        str(tmp_path / "cells.tif"), str(tmp_path / "out.zarr"), method="richardson-lucy",
        parameters={"iterations": 2}, kernel=str(tmp_path / "kernel.tif"),
        tile=(16, 16), accept_seam=True,
    )  # fmt: skip


def through(steps, said):
    while True:
        try:
            said.append(next(steps))
        except StopIteration as end:
            return end.value


def test_the_first_part_stores_the_plan_and_others_take_it(job):
    said = []
    plan = through(joining.planning(job), said)
    assert open_result(job.output_path).key == plan.key
    assert not Store(job.output_path, plan).done().tiles
    assert not any("taking the plan" in line for line in said)
    again = through(joining.planning(job), said := [])
    assert again.key == plan.key
    assert said == [f"taking the plan from {job.output_path}, which another part made"]


def test_a_search_that_starts_from_a_kernel_is_done_once_while_its_file_is_the_same(job):
    job = replace(job, method="blind-richardson-lucy", parameters={"rounds": 1})
    plan = through(joining.planning(job), [])
    assert through(joining.planning(job), said := []).key == plan.key
    assert len(said) == 1
    os.utime(job.kernel, (1, 1))
    through(joining.planning(job), said := [])
    assert not any("taking" in line for line in said)


def test_a_part_waits_for_the_plan_that_another_one_is_making(job, monkeypatch):
    monkeypatch.setattr(joining, "PAUSE", 0)
    one, two = joining.planning(job), joining.planning(job)
    next(one)
    assert "waiting for the plan of all parts: a search for its plan" in next(two)
    plan = through(one, [])
    said = []
    assert through(two, said).key == plan.key
    assert [line.split(",")[0] for line in said] == [f"taking the plan from {job.output_path}"]


def test_a_plan_that_fails_leaves_nothing_and_the_next_part_makes_it(job):
    steps = joining.planning(job)
    next(steps)
    steps.close()
    assert not job.output_path.exists()
    through(joining.planning(job), [])
    assert open_result(job.output_path).key


def program(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "napari_deblur", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(finishing.__file__).parents[1])},
    )


def test_two_first_parts_of_a_job_array_at_once_end_with_one_plan(job, tmp_path):
    options = ["--method", "richardson-lucy", "--set", "iterations=2", "--kernel", job.kernel]
    options += ["--tile", "16,16", "--accept-seam"]
    parts = [program("run", job.input, job.output, *options, "--part", f"{k}/2") for k in (1, 2)]
    said = [part.communicate(timeout=120)[0] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], said
    result = open_result(job.output)
    assert result.complete
    assert list(verify(job.output)) == []
    keys = {
        json.loads(line)["key"]
        for file in (job.output_path / LEDGER).glob("*.jsonl")
        for line in file.read_text().splitlines()
    }
    assert keys == {result.key}
    alone = replace(job, output=str(tmp_path / "alone.zarr"))
    list(alone.run())
    assert np.array_equal(open_result(alone.output).levels[0][:], result.levels[0][:])
    assert not list((job.output_path / LEDGER).glob("*.claim"))


# Command line -------------------------------------------------------------------------------------


def call(*arguments, status=0):
    from typer.testing import CliRunner

    from napari_deblur import cli

    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def test_the_command_does_a_part_and_finish_says_what_is_missing(job, tmp_path):
    line = ["run", job.input, job.output, "--method", "richardson-lucy", "--kernel", job.kernel]
    line += ["--set", "iterations=2", "--tile", "16,16", "--accept-seam"]
    said = call(*line, "--plan", "--part", "1/2")
    assert "on one such machine" in said
    assert "on 2 about" in said
    assert "4–5 tiles" in said
    assert "timing a tile of each method" in said
    assert re.search(r"disk about \S+ kB at most, .* are free", said)
    said = call(*line, "--plan", "--workers", "3")
    assert "by 3 processes on one such machine" in said
    assert not job.output_path.exists()
    said = call(*line, "--part", "2/2")
    assert "part 2/2 is done; 4 tiles of other parts are not there yet" in said
    assert "part done in" in said
    said = call("finish", job.output, status=3)
    assert "4 of 9 tiles are missing, of the parts 1/2 (4, the first is (0, 0, 0, 0, 0))" in said
    call("run", "--replay", job.output, job.output, "--part", "1/2")
    assert open_result(job.output).complete
    assert "is complete" in call("finish", job.output)
    assert "give k/n, such as 2/8" in call(*line, "--part", "2", status=2)
    assert "no result at" in call("finish", tmp_path / "none.zarr", status=1)
