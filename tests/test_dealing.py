"""Many images in parts, or on several workers: who does which."""

import csv
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_deblur import batch, cluster, dealing, many
from napari_deblur.dealing import parted, sizes_of, turns_of
from napari_deblur.many_inputs import targets_of
from napari_deblur.parts import Part
from napari_deblur.results import open_result
from napari_deblur.together import alone, side_by_side
from napari_deblur.verifying import verify

SIZES = st.lists(st.integers(0, 1000), min_size=1, max_size=60)


@pytest.fixture
def folder(tmp_path):
    """Give eight images of one tile each."""
    path = tmp_path / "in"
    path.mkdir()
    for n in range(8):
        values = np.random.default_rng(n).poisson(60, (20, 22)).astype("u2")
        tifffile.imwrite(path / f"{n}.tif", values, metadata={"axes": "YX"})
    return path


def outcomes(job, folder, out, **how):
    steps = many.run(job, [str(folder)], out, **how)
    return [step.outcome for step in steps if step.outcome is not None]


def lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [Path(row["input"]).stem for row in csv.DictReader(file)]


# Which images -------------------------------------------------------------------------------------


@given(SIZES, st.integers(1, 12))
def test_every_image_is_done_by_one_part_or_by_all(sizes, of):
    dealt = [Part(k, of).dealt(sizes) for k in range(1, of + 1)]
    whole = [n for alone, _ in dealt for n in alone]
    shared = {n for _, those in dealt for n, _ in those}
    assert sorted([*whole, *shared]) == list(range(len(sizes)))
    for n in shared:
        numbers = [own for _, those in dealt for m, own in those if m == n]
        assert sorted(map(str, numbers)) == sorted(f"{k}/{of}" for k in range(1, of + 1))


@given(SIZES, st.integers(1, 12))
def test_no_part_has_a_quarter_more_to_do_than_its_share(sizes, of):
    total = sum(max(1, size) for size in sizes)
    for k in range(1, of + 1):
        whole, shared = Part(k, of).dealt(sizes)
        load = sum(max(1, sizes[n]) for n in whole) + sum(sizes[n] for n, _ in shared) / of
        assert load <= 1.25 * total / of


@pytest.mark.parametrize(("images", "of"), [(3456, 100), (400, 100), (40, 7)])
def test_images_that_are_alike_are_dealt_out_whole_and_evenly(images, of):
    dealt = [Part(k, of).dealt([5] * images) for k in range(1, of + 1)]
    counts = {len(whole) for whole, _ in dealt}
    assert max(counts) - min(counts) <= 1
    assert not any(shared for _, shared in dealt)


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 20))
def test_files_of_images_that_all_parts_do_are_shared_evenly(images, files, of):
    # Of one file each, all would be done by the last part.
    loads = []
    for k in range(1, of + 1):
        _, shared = Part(k, of).dealt([1] * images)
        loads.append(sum(len(range(*own.span(files))) for _, own in shared))
    if 4 * of > images:
        assert sum(loads) == images * files
        assert max(loads) - min(loads) <= 1
    else:
        assert not sum(loads)


def test_each_part_begins_with_another_image():
    firsts = [Part(k, 4).dealt([1] * 8)[1][0][0] for k in range(1, 5)]
    assert firsts == [0, 2, 4, 6]


def test_sizes_are_those_of_files_and_of_the_pixels_of_stores(folder, job):
    import zarr

    store = folder / "a.zarr"
    zarr.create_array(store, shape=(4, 500, 500), dtype="u2", dimension_names=["z", "y", "x"])
    (folder / "broken.zarr").mkdir()
    sizes = sizes_of(job, targets_of(job, [str(folder / "0.tif"), str(store)], "out"))
    assert sizes == [(folder / "0.tif").stat().st_size, 2 * 4 * 500 * 500]
    assert sizes_of(job, targets_of(job, [str(folder / "broken.zarr")], "out")) == [0]


# In parts -----------------------------------------------------------------------------------------


def test_parts_of_many_small_images_share_them_and_their_plans(folder, job, tmp_path, monkeypatch):
    asked, real = [], batch.run

    def noted(plan, output, **how):
        asked.append((Path(output).name[0], how["part"]))
        return real(plan, output, **how)

    monkeypatch.setattr(batch, "run", noted)
    out = tmp_path / "out"
    for k in (1, 2):
        found = outcomes(job, folder, out, part=(k, 2))
        assert [one.state for one in found] == ["complete"] * 4
    assert asked == [(str(n), None) for n in range(8)]
    # Each has its own summary, so that none is lost.
    assert lines(out / "summary.1-of-2.csv") == list("0123")
    assert lines(out / "summary.2-of-2.csv") == list("4567")
    assert not (out / "summary.csv").exists()
    # All of them, by the same without a part.
    assert {one.note for one in outcomes(job, folder, out)} == {"it was complete already"}
    assert lines(out / "summary.csv") == list("01234567")


def test_an_image_of_one_tile_that_all_parts_share_is_done_by_one_and_finished(
    folder, job, tmp_path
):
    inputs, out = folder / "[01].tif", tmp_path / "out"
    found = [outcomes(job, inputs, out, part=(k, 3)) for k in (1, 2, 3)]
    done = [(k, Path(one.input).stem) for k in range(3) for one in found[k] if not one.note]
    assert len(done) == len({k for k, _ in done}) == 2
    assert {name for _, name in done} == {"0", "1"}
    notes = [one.note for those in found for one in those if one.note]
    assert notes == ["other parts do its 1 file"] * 4
    for n in range(2):
        assert open_result(out / f"{n}.deblur.zarr").complete
        assert list(verify(out / f"{n}.deblur.zarr")) == []


def test_the_tiles_of_a_large_image_are_shared_though_others_are_small(folder, job, tmp_path):
    large = np.random.default_rng(9).poisson(60, (200, 220)).astype("u2")
    tifffile.imwrite(folder / "large.tif", large, metadata={"axes": "YX"})
    cut, out = replace(job, tile=(100, 100), accept_seam=True), tmp_path / "out"
    targets = targets_of(cut, [str(folder)], out)
    for k in (1, 2):
        turns = turns_of(cut, targets, Part(k, 2))
        assert [turn.part is None for turn in turns] == [True] * 4 + [False]
        assert turns[-1].target.input.endswith("large.tif")
        found = outcomes(cut, folder, out, part=(k, 2))
    assert [one.state for one in found] == ["complete"] * 5
    assert found[-1].tiles > 1
    assert open_result(out / "large.deblur.zarr").complete


def test_an_image_that_cannot_be_opened_fails_in_one_part(folder, job, tmp_path):
    for n in (8, 9):
        shutil.copy(folder / "0.tif", folder / f"{n}.tif")
    (folder / "3.tif").write_bytes(b"II*\0damaged")
    states = [
        (Path(one.input).stem, one.state)
        for k in (1, 2)
        for one in outcomes(job, folder, tmp_path / "out", part=(k, 2))
    ]
    assert sorted(name for name, _ in states) == list("0123456789")
    assert [name for name, state in states if state == "failed"] == ["3"]


def test_plans_alone_write_nothing_in_parts_either(folder, job, tmp_path):
    found = outcomes(job, folder, tmp_path / "out", part=(1, 2), plan_only=True)
    assert [one.state for one in found] == ["planned"] * 8
    assert not (tmp_path / "out").exists()


def test_the_summary_is_there_after_each_image(folder, job, tmp_path, monkeypatch):
    monkeypatch.setattr(many, "EVERY", 0.0)
    steps = many.run(job, [str(folder)], tmp_path / "out", part=(2, 2))
    for step in steps:
        if step.number == 3:
            break
    assert lines(tmp_path / "out" / "summary.2-of-2.csv") == ["4", "5"]
    steps.close()


# On workers ---------------------------------------------------------------------------------------


def test_tiny_images_are_done_side_by_side_and_others_one_after_another(folder, job, monkeypatch):
    turns = turns_of(job, targets_of(job, [str(folder)], "out"), None)
    assert parted(job, turns, 3) == (turns, [])
    assert parted(job, turns, 1) == ([], turns)
    assert parted(job, turns[:1], 3) == ([], turns[:1])
    assert parted(replace(job, device="cuda"), turns, 3) == ([], turns)
    shared = [replace(turns[0], part=Part(1, 2)), *turns[1:]]
    assert parted(job, shared, 3) == (turns[1:], shared[:1])
    monkeypatch.setattr(dealing, "TINY", 0)
    assert parted(job, turns, 3) == ([], turns)  # three for each worker would leave some idle
    assert parted(job, turns, 2) == (turns, [])


def test_as_many_images_are_in_work_as_there_are_workers():
    both = Barrier(2, timeout=60)  # breaks if one waits for the other

    def do(n):
        if n < 4:
            both.wait()
        return 2 * n

    slots = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]
    found = {n: future.result() for n, future in side_by_side(slots, do, range(5))}
    assert found == {n: 2 * n for n in range(5)}


def test_small_images_are_each_done_by_one_worker(folder, job, tmp_path, monkeypatch):
    asked, real = [], batch.run

    def noted(plan, output, **how):
        asked.append((how["workers"], how["scheduler"]))
        return real(plan, output, **how)

    @contextmanager
    def local(workers):
        yield f"tcp://here:{workers}"

    @contextmanager
    def slots(address):
        assert address == "tcp://here:2"
        with ThreadPoolExecutor(1) as slot:
            yield [slot]

    monkeypatch.setattr(batch, "run", noted)
    monkeypatch.setattr(cluster, "local_workers", local)
    monkeypatch.setattr(many, "slots_of", slots)
    (folder / "5.tif").write_bytes(b"")
    steps = list(many.run(job, [str(folder)], tmp_path / "out", workers=2))
    found = [step.outcome for step in steps if step.outcome is not None]
    assert [one.state for one in found] == ["complete"] * 5 + ["failed"] + ["complete"] * 2
    assert "8 small images, 1 at a time" in str(steps[0])
    assert [step.number for step in steps[1:]] == list(range(1, 9))
    assert asked == [(0, None)] * 7
    assert lines(tmp_path / "out" / "summary.csv") == list("01234567")
    with pytest.raises(ValueError, match=r"5\.tif"):
        list(many.run(job, [str(folder)], tmp_path / "out", workers=2, fail_fast=True))
    assert lines(tmp_path / "out" / "summary.csv") == list("012345")


def test_alone_is_for_this_process_too():
    assert alone(len, "three") == 5
