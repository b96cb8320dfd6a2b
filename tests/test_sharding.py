"""Several chunks in one file: the same voxels, whatever happens in between."""

import random
import tracemalloc
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from by_hand import numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import arrays, ledger, packing, pixels, planning, sharding, system
from napari_deblur.batch import run
from napari_deblur.finishing import finish
from napari_deblur.job import Job
from napari_deblur.opening import open_stack
from napari_deblur.parts import Part
from napari_deblur.registry import methods
from napari_deblur.results import KERNELS, LEDGER, RESIDUALS
from napari_deblur.store import Store, open_result
from napari_deblur.tasks import Task
from napari_deblur.tiles import Grid, Shards
from napari_deblur.verifying import discard, verify

BOX = (1, 1, 2, 2, 2)


def ended(*arguments, **options):
    *_, last = run(*arguments, **options)
    return last


def example(methods, *, dtype="float32", scope="channel"):
    """24 tiles in 6 files, 12 chunks in the level above in 3; kernels or residuals in some."""
    stack = stack_of(numbers((6, 300, 280)), pixel_size=(0.3, 0.1, 0.1))
    method = methods.Finder() if scope == "tile" else methods.Slow(0.0)
    plan = plan_of(stack, core=(3, 90, 100), method=method, scope=scope, dtype=dtype)
    return replace(plan, shard=BOX), stack


def apart(plan):
    """Give the plan that does the same with a file for each tile."""
    return replace(plan, shard=(1, 1, 1, 1, 1), chunk=None)


def counted(path):
    return sum(1 for f in Path(path).rglob("*") if f.is_file() and f.suffix != ".jsonl")


def same(one, two):
    """Compare all arrays of two results."""
    one, two = open_result(one), open_result(two)
    assert len(one.levels) == len(two.levels)
    pairs = [*zip(one.levels, two.levels, strict=True), (one.kernels, two.kernels)]
    pairs += [(one.residuals, two.residuals), (one.mask, two.mask)]
    for a, b in pairs:
        assert (a is None) == (b is None)
        if a is not None:
            assert np.array_equal(a[:], b[:], equal_nan=a.dtype.kind == "f")
    return one


# The same result ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["channel", "tile"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_joined_files_hold_what_single_ones_do(tmp_path, third_party, dtype, scope):  # noqa: F811
    plan, stack = example(third_party, dtype=dtype, scope=scope)
    plan = replace(plan, chunk=(1, 45, 50), scale=0.5 if dtype == "uint16" else 1.0)
    assert ended(apart(plan), tmp_path / "apart.zarr", stack).phase == "complete"
    assert ended(plan, tmp_path / "joined.zarr", stack).phase == "complete"
    result = same(tmp_path / "joined.zarr", tmp_path / "apart.zarr")
    factor = 1 if scope == "tile" else 2
    assert np.array_equal(result.counts(result.levels[0][:]), factor * stack.data.compute())
    assert result.levels[0].chunks == (1, 45, 50)
    assert result.levels[0].shards == (6, 180, 200)
    assert list(verify(tmp_path / "joined.zarr")) == []
    assert counted(tmp_path / "joined.zarr") == arrays.files_of(plan) < arrays.files_of(apart(plan))
    assert counted(tmp_path / "apart.zarr") == arrays.files_of(apart(plan))
    assert not (tmp_path / "joined.zarr" / sharding.LOOSE).exists()


@pytest.mark.parametrize("codec", arrays.CODECS)
def test_independent_readers_accept_shards_and_agree(tmp_path, third_party, codec):  # noqa: F811
    import tensorstore
    import yaozarrs
    from ome_zarr_models.v05 import Image

    plan, stack = example(third_party, scope="tile")
    plan, path = replace(plan, chunk=(1, 45, 50), codec=codec), tmp_path / "a.zarr"
    ended(plan, path, stack)
    for group in (path, path / "kernels"):
        yaozarrs.validate_zarr_store(group)
        Image.from_zarr(zarr.open_group(group, mode="r"))
    for name in ("0", "1", "kernels/0", "residuals/values"):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / name)}}
        other = tensorstore.open(spec).result().read().result()
        assert np.array_equal(other, zarr.open_array(path / name, mode="r")[:], equal_nan=True)
    assert np.array_equal(open_result(path).levels[0][:], stack.data.compute())


def test_an_axis_that_is_not_cut_ends_within_a_chunk(tmp_path):
    stack = stack_of(numbers((5, 37, 64)))
    plan = replace(plan_of(stack, core=(5, 37, 16)), chunk=(2, 10, 8))
    ended(plan, tmp_path / "a.zarr", stack)
    result = open_result(tmp_path / "a.zarr")
    assert (result.levels[0].chunks, result.levels[0].shards) == ((2, 10, 8), (6, 40, 16))
    assert np.array_equal(result.levels[0][:], stack.data.compute())
    assert list(verify(tmp_path / "a.zarr")) == []


def test_frames_and_channels_share_files_too(tmp_path):
    stack = stack_of(numbers((5, 3, 20, 30)), "tcyx")
    plan = replace(plan_of(stack, core=(1, 20, 30)), shard=(4, 2, 1, 1, 1))
    ended(plan, tmp_path / "a.zarr", stack)
    assert np.array_equal(open_result(tmp_path / "a.zarr").levels[0][:], stack.data.compute())
    assert len(list((tmp_path / "a.zarr/0/c").rglob("*/*/*/*"))) == 4


def test_large_files_are_read_in_chunks(monkeypatch, tmp_path):
    stack = stack_of(numbers((4, 32, 48)))
    plan = replace(plan_of(stack, core=(4, 16, 16)), chunk=(1, 8, 8), shard=(1, 1, 1, 2, 2))
    ended(plan, tmp_path / "a.zarr", stack)
    for largest, chunks in ((4 * 32 * 32, (4, 32, 32)), (4 * 32 * 32 - 1, (1, 8, 8))):
        monkeypatch.setattr(pixels, "LARGEST_BLOCK", largest)
        opened = open_stack(tmp_path / "a.zarr")
        assert opened.pixels.chunks == chunks
        assert np.array_equal(opened.data.compute(), stack.data.compute())


# What lies about meanwhile ------------------------------------------------------------------------


def test_tiles_lie_about_only_until_their_file_is_full(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    most, phases = 0, set()
    for progress in run(plan, tmp_path / "a.zarr", stack):
        loose = tmp_path / "a.zarr" / sharding.LOOSE / "0"
        most = max(most, len(list(loose.iterdir())) if loose.exists() else 0)
        phases.add(progress.phase)
    assert phases == {"tiles", "pyramid", "complete"}
    assert prod(BOX) <= most <= prod(BOX) + 3  # and what is in work


def test_an_unfinished_result_shows_the_files_that_are_full(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    progress = run(plan, tmp_path / "a.zarr", stack)
    while next(progress).done < 13:
        pass
    progress.close()
    image = open_result(tmp_path / "a.zarr").levels[0][:]
    known = ~np.isnan(image)
    assert known[:, :180, :200].all()
    assert np.array_equal(image[known], (2.0 * stack.data.compute())[known])
    (finding,) = verify(tmp_path / "a.zarr")
    assert finding.kind == "incomplete"


# Accidents ----------------------------------------------------------------------------------------


class Stopped(BaseException):
    """As a kill, in this process: nothing catches it."""


@pytest.fixture
def stopping(monkeypatch):
    """Let the program stop dead at its n-th operation on files."""
    left = [10**9]

    def stopped(call):
        def instead(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Stopped
            return call(*arguments, **options)

        return instead

    # Whatever others can see: a file gets its name or loses it, or a line is added.
    for owner, name in ((ledger.Ledger, "append"), (Path, "replace"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, stopped(getattr(owner, name)))
    return left


def test_stopped_at_every_single_operation_it_goes_on_to_the_same_bytes(tmp_path, stopping):
    stack = stack_of(numbers((2, 258, 4)))
    plan = replace(plan_of(stack, core=(1, 129, 4)), shard=(1, 1, 1, 2, 1), dtype="uint16")
    whole = tmp_path / "whole.zarr"
    ended(plan, whole, stack)
    expected = tree_hash(whole)
    for n in range(1, 1000):
        path, stopping[0] = tmp_path / f"{n}.zarr", n
        try:
            ended(plan, path, stack)
        except Stopped:
            pass
        else:
            break
        stopping[0] = 10**9
        for claim in (path / LEDGER).glob("*.claim"):  # its process lives on, here
            claim.unlink()
        assert ended(plan, path, stack).phase == "complete"
        assert tree_hash(path) == expected, n
        assert list(verify(path)) == [], n
    assert n > 40, n  # there were so many operations


def test_a_run_that_goes_on_keeps_nothing_of_files_that_are_done():
    grid = Grid((1, 1, 1, 200, 4000), (1, 4, 8))
    shards = Shards(grid.counts, (1, 1, 1, 5, 5))
    last = tuple(n - 1 for n in grid.counts)
    values = type("", (), {"__contains__": lambda self, index: index != last})()
    done = SimpleNamespace(values=[values], shards=dict.fromkeys(((0, s) for s in shards), ""))
    store = SimpleNamespace(shards=[shards], joined=lambda number, shard, done: "")
    tracemalloc.start()
    first = next(packing.packed(store, 0, done, lambda i: None if i != last else Task(i)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first.index == last
    assert most < len(grid)  # bytes


@pytest.mark.parametrize(("dtype", "scope"), [("uint16", "tile"), ("float32", "channel")])
@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_a_run_never_needs_more_disk_than_its_plan_says(
    tmp_path,
    third_party,  # noqa: F811
    monkeypatch,
    dtype,
    scope,
    codec,
):
    stack = stack_of(np.random.default_rng(0).integers(0, 2**16, (6, 300, 280), np.uint16))
    method = third_party.Finder() if scope == "tile" else third_party.Slow(0.0)
    plan = plan_of(stack, core=(3, 90, 100), method=method, scope=scope, dtype=dtype)
    plan = arrays.laid_out(plan, shards=24, codec=codec)
    path, sizes, sync = tmp_path / "a.zarr", [], system.sync_file

    def measured(file):
        data = [f for f in path.rglob("*") if f.is_file() and f.suffix != ".jsonl"]
        sizes.append(sum(f.stat().st_size for f in data if f.name != "zarr.json"))
        sync(file)

    monkeypatch.setattr(system, "sync_file", measured)
    assert ended(plan, path, stack).phase == "complete"
    assert max(sizes) > 1.5 * sizes[-1]  # when the tiles and their file lie together
    assert 0.5 * plan.disk < max(sizes) < plan.disk * arrays.MARGIN


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_is_found_and_its_tiles_are_made_again(tmp_path, third_party, damage):  # noqa: F811
    plan, stack = example(third_party, dtype="uint16", scope="tile")
    path = tmp_path / "a.zarr"
    ended(plan, path, stack)
    before, chance = tree_hash(path), random.Random(damage)
    for name in ("0/c/0/1/0", "mask/c/0/0/1", "residuals/values/c/0/0/0/1/0/0", "1/c/0/0/0"):
        file = path / name
        raw = bytearray(file.read_bytes())
        if damage == "gone":
            file.unlink()
        else:
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            file.write_bytes(raw[: len(raw) // 2] if damage == "cut" else raw)
        findings = list(verify(path))
        assert [finding.path for finding in findings] == [name]
        assert discard(path, findings) == (damage != "gone")
        assert ended(plan, path, stack).phase == "complete"
        assert tree_hash(path) == before
        assert list(verify(path)) == []


@pytest.mark.parametrize(
    ("name", "place"),
    [("0", 30), ("0", -6), ("mask", 30), (KERNELS, 30), (RESIDUALS, 30)],  # -6: its index
)
def test_a_tile_that_changes_while_it_waits_is_never_joined(tmp_path, third_party, name, place):  # noqa: F811
    plan, stack = example(third_party, dtype="uint16", scope="tile")
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < 4:
        pass
    progress.close()
    block = {RESIDUALS: (0,) * 6, KERNELS: (0,) * 5}.get(name, (0, 0, 0))
    file = path / sharding.loose(name, block)
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ValueError, match="napari-deblur verify --discard"):
        ended(plan, path, stack)
    findings = [finding for finding in verify(path) if finding.is_damage]
    assert [finding.path for finding in findings] == [sharding.loose(name, block)]
    discard(path, findings)
    assert ended(plan, path, stack).phase == "complete"
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


def test_a_file_of_a_tile_that_the_ledger_does_not_have_is_not_joined(
    tmp_path,
    third_party,  # noqa: F811
    monkeypatch,
):
    array = numbers((6, 300, 280))
    array[0, 0, 0] = 999
    stack, path, repaired = stack_of(array), tmp_path / "a.zarr", tmp_path / "repaired"
    plan = replace(
        plan_of(stack, core=(3, 90, 100), method=third_party.Broken(repaired=str(repaired))),
        shard=BOX,
    )
    repaired.touch()

    def killed(ledger, entry, append=ledger.Ledger.append):
        if entry.kind == "tile":
            raise Stopped
        append(ledger, entry)

    monkeypatch.setattr(ledger.Ledger, "append", killed)
    with pytest.raises(Stopped):
        ended(plan, path, stack)
    monkeypatch.undo()
    assert (path / sharding.loose("0", (0, 0, 0))).is_file()
    repaired.unlink()  # now it can't be made any more
    assert ended(plan, path, stack).phase == "incomplete"
    assert np.isnan(open_result(path).levels[0][:3, :90, :100]).all()
    repaired.touch()
    assert ended(plan, path, stack).phase == "complete"
    assert list(verify(path)) == []


def test_a_tile_that_failed_leaves_a_gap_that_is_filled_later(tmp_path, third_party):  # noqa: F811
    array = numbers((6, 300, 280))
    array[0, 0, 0] = 999
    stack, path = stack_of(array), tmp_path / "a.zarr"
    method = third_party.Broken(repaired=str(tmp_path / "repaired"))
    plan = replace(plan_of(stack, core=(3, 90, 100), method=method), shard=BOX)
    assert ended(plan, path, stack).phase == "incomplete"
    image = open_result(path).levels[0][:]
    assert np.isnan(image[:3, :90, :100]).all()
    assert np.isnan(image).sum() == 3 * 90 * 100
    (finding,) = verify(path)
    assert "23 of 24 tiles and 8 of 8 chunks of the pyramid are done, 1 failed" in finding.text
    assert ended(plan, path, stack).phase == "incomplete"
    (tmp_path / "repaired").touch()
    progress = run(plan, path, stack)
    while next(progress).done < 24:
        pass
    progress.close()
    (finding,) = verify(path)
    assert "24 of 24 tiles" in finding.text
    assert "failed" not in finding.text
    assert ended(plan, path, stack).phase == "complete"
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


# Several processes --------------------------------------------------------------------------------


def test_parts_write_whole_files_and_the_last_one_finishes(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    path = tmp_path / "parts.zarr"
    for k in (3, 1):
        assert ended(plan, path, stack, part=(k, 4)).phase == "part"
        assert not any((path / sharding.LOOSE / "0").iterdir())
    ended(plan, path, stack, part=(2, 4))
    last = run(plan, path, stack, part=(4, 4))
    while next(last).phase != "pyramid":
        pass
    last.close()
    assert [progress.phase for progress in finish(path)][-1] == "complete"
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


def test_a_file_that_another_process_joined_meanwhile_counts(tmp_path, third_party, monkeypatch):  # noqa: F811
    plan, stack = example(third_party)
    path, write = tmp_path / "a.zarr", Store.write_shard

    def faster(store, *arguments, **options):
        other = Store(store.path, store.plan)
        write(other, *arguments, **options)
        return write(store, *arguments, **options)

    monkeypatch.setattr(Store, "write_shard", faster)
    assert ended(plan, path, stack).phase == "complete"
    monkeypatch.undo()
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


def test_workers_join_files_too(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    assert ended(plan, tmp_path / "a.zarr", stack, workers=2).phase == "complete"
    ended(plan, tmp_path / "whole.zarr", stack)
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "whole.zarr")


# What is decided ----------------------------------------------------------------------------------

shapes = st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 20)] * 3)
triples = st.tuples(*[st.integers(1, 9)] * 3)


@given(shapes, triples, st.integers(1, 40), st.integers(1, 7))
def test_every_tile_lies_in_one_file_and_in_one_part(shape, core, most, of):
    grid = Grid(shape, core)
    shards = Shards(grid.counts, arrays.box_of(grid, most))
    assert prod(shards.box) <= most
    every = [index for k in range(1, of + 1) for index in Part(k, of).tiles(shards)]
    assert sorted(every) == sorted(grid)
    owners = [{k for k in range(1, of + 1) if f in set(Part(k, of).files(shards))} for f in shards]
    assert all(len(owner) == 1 for owner in owners)
    assert all(shards.of(index) == shard for shard in shards for index in shards.chunks(shard))


@given(st.tuples(st.integers(1, 200), st.integers(1, 3000), st.integers(1, 3000)), st.data())
def test_chunks_are_equal_parts_of_cores_that_are_cut(sizes, data):
    core = tuple(data.draw(st.integers(1, n)) for n in sizes)
    grid = Grid((1, 1, *sizes), core)
    chunk = arrays.chunk_of(grid)
    for n, c, size in zip(chunk, core, sizes, strict=True):
        assert 1 <= n <= c
        assert c % n == 0 or c == size
        assert n * -(-c // n) < c + -(-c // n)  # no more beyond the end than a voxel for each
    if prod(core) <= arrays.LARGE:
        assert chunk == core


def test_small_results_have_a_file_for_each_tile_and_huge_ones_few(tmp_path):
    plan, _ = small()
    assert arrays.laid_out(plan).shard == (1, 1, 1, 1, 1)
    assert arrays.laid_out(plan).key == plan.key
    huge = stack_of(np.broadcast_to(np.uint16(0), (40, 2000, 50_000, 50_000)), "tzyx")
    plan = plan_of(huge, core=(64, 512, 512), dtype="uint16")
    single = arrays.files_of(plan)
    assert single > 26e6
    laid = arrays.laid_out(plan)
    assert laid.files == arrays.files_of(laid) < arrays.MOST_FILES * 10
    assert prod(laid.shard) * prod(plan.grid.core) * 2 <= arrays.LARGEST_FILE
    assert prod(arrays.laid_out(plan, shards=16).shard) == 16


@pytest.mark.parametrize(
    ("asked", "said"), [({"codec": "lzw"}, 'codec "lzw" is not one of'), ({"shards": 0}, "1 tile")]
)
def test_what_no_output_can_have_is_said(asked, said):
    with pytest.raises(ValueError, match=said):
        arrays.laid_out(small()[0], **asked)


def test_the_layout_is_part_of_the_plan(third_party):  # noqa: F811
    plan, _ = example(third_party)
    plan = arrays.laid_out(replace(plan, chunk=(3, 45, 50)), shards=8, codec="blosc")
    again = type(plan).from_dict(plan.to_dict())
    assert (again.shard, again.chunk, again.codec) == (plan.shard, plan.chunk, "blosc")
    assert again.key == plan.key != apart(plan).key
    assert "up to 8 tiles" in plan.summary()
    assert f"{arrays.files_of(plan)}, those of the image" in plan.summary()


def test_a_job_asks_for_the_layout_and_the_plan_has_it():
    job = Job("cells.tif", method="blind", codec="blosc", shards=4)
    assert Job.from_dict(job.to_dict()) == job
    assert "--codec blosc --shards 4" in job.command()
    asked = {"tile": (1, 16, 16), "accept_seam": True, "judge": False, "codec": "blosc"}
    method = methods["richardson-lucy"](iterations=1)
    made = planning.plan(numbers((40, 48)), method, kernel=np.ones((3, 3)), shards=4, **asked)
    assert (made.shard, made.codec) == ((1, 1, 1, 2, 2), "blosc")
    assert made.files == arrays.files_of(made)
    with pytest.raises(ValueError, match="a file holds 1 tile or more"):
        planning.plan(numbers((40, 48)), method, kernel=np.ones((3, 3)), shards=0)


def test_an_index_that_is_damaged_is_never_copied(third_party):  # noqa: F811
    plan, _ = example(third_party)
    spec = arrays.specs_of(plan)["0"]
    content = bytearray(sharding.encoded(spec, np.ones(spec.size((0, 0, 0)), np.float32)))
    content[-6] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        list(sharding.joined(spec, [((0, 0, 0), bytes(content))]))


def test_the_ledger_is_not_needed_to_read_kernels_and_residuals(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party, scope="tile")
    ended(plan, tmp_path / "a.zarr", stack)
    result = open_result(tmp_path / "a.zarr")
    assert result.kernels.shards == (1, 1, 6, 10, 10)
    assert len(list((tmp_path / "a.zarr" / KERNELS / "c").rglob("*/*/*/*/*"))) == 4
    assert not np.isnan(result.kernels[:]).any()
    assert {e.kind for e in ledger.entries(tmp_path / "a.zarr" / LEDGER)} >= {"tile", "shard"}
    assert list(Store(tmp_path / "a.zarr", plan).done().tiles) == list(plan.grid)
