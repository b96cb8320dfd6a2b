import random
import sys
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from by_hand import numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import sharding, verifying
from napari_deblur.batch import run
from napari_deblur.claims import Claimed
from napari_deblur.ledger import Entry, Ledger
from napari_deblur.results import LEDGER
from napari_deblur.store import Store, open_result
from napari_deblur.verifying import discard, verify


@pytest.fixture
def result(tmp_path, third_party):  # noqa: F811
    """A result with levels, kernels and residuals."""
    stack = stack_of(numbers((3, 300, 280)))
    plan = plan_of(stack, core=(3, 150, 140), method=third_party.Slow(0.0))
    list(run(plan, tmp_path / "a.zarr", stack))
    return tmp_path / "a.zarr", plan, stack


def test_a_sound_result_has_no_findings(result):
    assert list(verify(result[0])) == []


def flipped(raw, chance):
    damaged = bytearray(raw)
    damaged[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


DAMAGE = {
    "flip": flipped,
    "cut": lambda raw, chance: raw[: chance.randrange(1, len(raw))],
    "empty": lambda raw, chance: b"",
    "longer": lambda raw, chance: raw + b"\0",
    "zeros": lambda raw, chance: bytes(len(raw)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_damage_to_every_kind_of_file_is_found(result, damage):
    path, _, _ = result
    chance = random.Random(damage)
    files = [f for f in sorted(path.rglob("*")) if f.is_file()]
    chosen = {kind: [f for f in files if kind(f)] for kind in KINDS}
    assert all(chosen.values())
    for found in chosen.values():
        for _ in range(8):
            file = chance.choice(found)
            raw = file.read_bytes()
            file.write_bytes(DAMAGE[damage](raw, chance))
            assert list(verify(path)), (damage, file)
            file.write_bytes(raw)
    assert list(verify(path)) == []


def of(start, end=""):
    def kind(file):
        name = file.as_posix().partition(".zarr/")[2]
        return name.startswith(start) and name.endswith(end)

    return kind


KINDS = [
    of("0/c/"),
    of("1/c/"),
    of("kernels/0/c/"),
    of("residuals/values/c/"),
    of("zarr.json"),
    of("0/zarr.json"),
    of("kernels", "zarr.json"),
    of("residuals", "zarr.json"),
    of("ledger/zarr.json"),
]


def test_flips_in_the_ledger_are_found(result):
    path, _, _ = result
    (ledger,) = path.glob("ledger/*.jsonl")
    raw, chance = ledger.read_bytes(), random.Random(0)
    for _ in range(40):
        ledger.write_bytes(flipped(raw, chance))
        assert list(verify(path))
    ledger.write_bytes(b"")
    assert Counter(f.kind for f in verify(path))["missing"] >= 4


def test_findings_say_what_is_wrong(result):
    path, _, _ = result
    (path / "0/c/0/0/0").unlink()
    (path / "0/c/0/0/1").write_bytes(b"")
    raw = (path / "0/c/0/1/0").read_bytes()
    (path / "0/c/0/1/0").write_bytes(raw[:-1])
    (path / "1/c/0/0/0").write_bytes(flipped((path / "1/c/0/0/0").read_bytes(), random.Random(1)))
    (path / "notes.txt").write_text("mine")
    (path / "out").symlink_to("/")
    kinds = {(f.kind, f.path) for f in verify(path)}
    assert kinds == {
        ("missing", "0/c/0/0/0"),
        ("empty", "0/c/0/0/1"),
        ("torn", "0/c/0/1/0"),
        ("changed", "1/c/0/0/0"),
        ("foreign", "notes.txt"),
        ("link", "out"),
    }
    assert all(f.is_damage for f in verify(path))


def test_damaged_chunks_are_restored_by_the_next_run(result):
    path, plan, stack = result
    before = tree_hash(path)
    file = path / "0/c/0/1/1"
    file.write_bytes(flipped(file.read_bytes(), random.Random(1)))
    assert discard(path, list(verify(path))) == 1
    *_, last = run(plan, path, stack)
    assert last.phase == "complete"
    assert tree_hash(path) == before
    assert list(verify(path)) == []


def damaged(path, name="0/c/0/1/1"):
    raw = (path / name).read_bytes()
    (path / name).write_bytes(flipped(raw, random.Random(1)))
    return raw


def test_a_result_that_lost_chunks_is_not_complete(result):
    path, _, _ = result
    damaged(path)
    assert discard(path, verify(path)) == 1
    assert not open_result(path).complete


@pytest.mark.parametrize("name", ["../mine.txt", "{}/mine.txt", "0/../../mine.txt", "notes.txt"])
def test_names_that_a_stranger_wrote_into_the_ledger_are_never_deleted(result, name, tmp_path):
    path, plan, _ = result
    mine = (tmp_path / "mine.txt", path / "notes.txt")
    for file in mine:
        file.write_text("the only copy")
    files = {name.format(tmp_path): (5, "0" * 64)}
    Ledger(path / LEDGER).append(Entry("metadata", plan.key, files=files))
    findings = list(verify(path))
    assert {f.kind for f in findings} == {"foreign"}
    assert any("a file that no result has" in f.text for f in findings)
    findings.append(verifying.Finding("changed", name.format(tmp_path), "as a caller may say"))
    assert discard(path, findings) == 0
    assert all(file.exists() for file in mine)


NO_HASH = "not a hash"


@pytest.mark.parametrize(
    "strange",
    [
        {"kind": "tile", "index": (0, 0, 7, 0, 0)},
        {"kind": "tile", "index": (0, 0, -1, 0, 0)},
        {"kind": "tile", "index": (0, 0)},
        {"kind": "tile", "index": (0, 0, 0, 0, 0), "values": NO_HASH},
        {"kind": "tile", "index": (0, 0, 0, 0, 0), "level": 1},
        {"kind": "level", "index": (0, 0, 0, 0, 0), "level": 9},
        {"kind": "level", "index": (0, 0, 0, 0, 0), "level": 1, "inputs": NO_HASH},
        {"kind": "split", "index": (0,), "splits": 3},
        {"kind": "failed", "index": (9, 9, 9, 9, 9), "error": "?"},
        {"kind": "shard", "index": (0, 0, 5, 0, 0)},
        {"kind": "part", "index": (1,)},
        {"kind": "tile", "index": (0.5, 0, 0, 0, 0)},
        {"kind": "tile", "index": 3},
        {"kind": "tile", "files": ["0/c/0/0/0"]},
    ],
)
def test_lines_of_what_the_plan_does_not_have_do_not_count(result, strange):
    path, plan, stack = result
    entry = Entry(key=plan.key, **{"values": "0" * 64, "inputs": "0" * 64} | strange)
    (path / LEDGER / "stranger.jsonl").write_text(entry.to_line())
    assert [f for f in verify(path) if f.kind != "ledger"] == []
    assert [p.note for p in run(plan, path, stack)] == ["it was complete already"]


def test_a_run_that_ends_while_it_is_verified_is_no_unfinished_one(result, monkeypatch):
    path, plan, stack = result
    store = Store(path, plan)
    store.mark_incomplete()
    read = Store.done

    def done(store):
        monkeypatch.setattr(Store, "done", read)
        list(run(plan, path, stack))
        return read(store)

    monkeypatch.setattr(Store, "done", done)
    assert list(verify(path)) == []


def test_what_a_killed_run_left_of_its_claim_is_no_damage(result):
    path, _, _ = result
    (path / LEDGER / "0_all_1.claim.2.partial").write_bytes(b"{")
    assert list(verify(path)) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_what_is_elsewhere_by_a_link_is_not_deleted(result, tmp_path):
    path, _, _ = result
    (path / "1/c").rename(tmp_path / "elsewhere")
    (path / "1/c").symlink_to(tmp_path / "elsewhere")
    damaged(path, "1/c/0/0/0")
    findings = list(verify(path))
    assert ("changed", "1/c/0/0/0") in {(f.kind, f.path) for f in findings}
    assert discard(path, findings) == 0
    assert (tmp_path / "elsewhere/0/0/0").exists()


def test_nothing_is_deleted_while_a_run_goes_on_or_when_it_was_made_anew(result):
    path, plan, stack = result
    raw = damaged(path)
    findings = list(verify(path))
    (path / "0/c/0/1/1").unlink()
    progress = run(plan, path, stack)
    next(progress)
    with pytest.raises(Claimed, match="is going on"):
        discard(path, findings)
    *_, last = progress
    assert last.phase == "complete"
    assert discard(path, findings) == 0
    assert (path / "0/c/0/1/1").read_bytes() == raw
    assert list(verify(path)) == []


def test_what_a_run_writes_and_joins_meanwhile_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(verifying, "PAUSE", 0.0)
    stack = stack_of(numbers((2, 258, 16)))
    plan = replace(plan_of(stack, core=(1, 129, 4)), shard=(1, 1, 1, 2, 2))
    progress = run(plan, tmp_path / "a.zarr", stack)
    while next(progress).done < 3:
        pass
    assert any((tmp_path / "a.zarr" / sharding.LOOSE / "0").iterdir())
    foreign = verifying._foreign

    def later(*arguments):  # the ledger was read, the files were not
        for _ in range(12):
            next(progress, None)
        yield from foreign(*arguments)

    monkeypatch.setattr(verifying, "_foreign", later)
    findings = list(verify(tmp_path / "a.zarr"))
    progress.close()
    assert [finding.kind for finding in findings] == ["incomplete"]


def test_an_unfinished_run_is_not_damage(tmp_path):
    plan, stack = small()
    progress = run(plan, tmp_path / "a.zarr", stack)
    while next(progress).done < 5:
        pass
    (finding,) = verify(tmp_path / "a.zarr")
    assert (finding.kind, finding.is_damage) == ("incomplete", False)
    assert str(finding) == "incomplete: .: 5 of 24 tiles are done: run the same again to go on"
    progress.close()


def test_entries_of_another_plan_are_foreign(tmp_path):
    plan, stack = small()
    for name, one in (("a", plan), ("b", replace(plan, keep_background=False))):
        list(run(one, tmp_path / f"{name}.zarr", stack))
    (other,) = (tmp_path / "b.zarr/ledger").glob("*.jsonl")
    (tmp_path / "a.zarr/ledger" / other.name).write_bytes(other.read_bytes())
    (finding,) = verify(tmp_path / "a.zarr")
    assert finding.kind == "foreign"
    assert open_result(tmp_path / "a.zarr").complete


def test_kernels_that_are_not_the_plans_are_found(tmp_path):
    plan, stack = small()
    list(run(plan, tmp_path / "a.zarr", stack))
    other = replace(plan, kernel=type(plan.kernel)(np.ones((3, 5, 5))))
    list(run(other, tmp_path / "b.zarr", stack))
    chunk = "kernels/0/c/0/0/0/0/0"
    (tmp_path / "a.zarr" / chunk).write_bytes((tmp_path / "b.zarr" / chunk).read_bytes())
    assert {f.path for f in verify(tmp_path / "a.zarr")} == {chunk}


def test_failed_tiles_are_counted_and_the_first_reason_is_said(tmp_path, third_party):  # noqa: F811
    array = numbers((4, 8, 24))
    array[0, 0, 0] = array[0, 0, 9] = 999
    stack = stack_of(array)
    list(run(plan_of(stack, method=third_party.Broken()), tmp_path / "a.zarr", stack))
    (finding,) = verify(tmp_path / "a.zarr")
    assert not finding.is_damage
    assert "2 failed, the first at (0, 0, 0, 0, 0) (ValueError: 999 is too much)" in finding.text


def test_what_is_no_result_is_said(tmp_path):
    (tmp_path / "img.tif").write_bytes(b"II*\0")
    (tmp_path / "folder").mkdir()
    for name in ("img.tif", "folder"):
        with pytest.raises(ValueError, match=f"{name} is no result of napari-deblur: give"):
            list(verify(tmp_path / name))


@pytest.mark.parametrize("raw", [b"", b"{", None])
@pytest.mark.parametrize(
    "name", ["0/zarr.json", "1/zarr.json", "kernels/zarr.json", "ledger/zarr.json"]
)
def test_damaged_metadata_are_discarded_and_written_again_but_not_the_plan(result, name, raw):
    path, plan, stack = result
    before, whole = (path / name).read_bytes(), tree_hash(path)
    (path / name).write_bytes(flipped(before, random.Random(2)) if raw is None else raw)
    findings = list(verify(path))
    assert [finding.path for finding in findings] == [name]
    assert discard(path, findings) == 1
    *_, last = run(plan, path, stack)
    assert last.phase == "complete"
    assert tree_hash(path) == whole
    assert list(verify(path)) == []
    root = path / "zarr.json"
    root.write_bytes(root.read_bytes() + b" ")
    findings = list(verify(path))
    assert [finding.kind for finding in findings] == ["changed"]
    assert discard(path, findings) == 0


def test_what_systems_put_beside_files_is_no_damage(result):
    path, _, _ = result
    for name in (".DS_Store", "0/c/.DS_Store", "0/._zarr.json", "1/Thumbs.db", "0/.nfs00a1b2c3"):
        (path / name).write_bytes(b"?")
    assert list(verify(path)) == []
    (path / "0/c/.nfs is mine").write_bytes(b"?")
    assert [finding.path for finding in verify(path)] == ["0/c/.nfs is mine"]


def with_check(text):
    return f'{text[:-1]}, "check": "{zlib.crc32(text.encode()):08x}"}}\n'


@pytest.mark.parametrize(
    "strange",
    [
        "[1, 2]",
        "{not json}",
        "[" * 100_000,
        '{"kind": "tile", "key": KEY, "index": AT, "level": "0", "files": {}}',
        '{"kind": "tile", "key": KEY, "index": AT, "level": 0, "files": {}, "values": 1}',
        '{"kind": "level", "key": KEY, "index": AT, "level": 1.5, "files": {}}',
        '{"kind": "split", "key": KEY, "index": AT, "files": {}, "splits": "many"}',
        '{"kind": "part", "key": KEY, "index": ["a", "b"], "files": {}}',
        '{"kind": "tile", "key": KEY, "index": AT, "files": {"\\u0000": [1, "a"]}, HASH}',
        '{"kind": "tile", "key": KEY, "index": AT, "files": {"\\ud800": [1, "a"]}, HASH}',
        '{"kind": "tile", "key": KEY, "index": AT, "files": {}, "clipped": 1e30, HASH}',
        '{"kind": "tile", "key": KEY, "index": AT, "files": {}, "clipped": BIG, HASH}',
    ],
)
def test_lines_that_nobody_here_wrote_stop_nothing(result, strange):
    path, plan, stack = result
    text = (
        strange.replace("KEY", f'"{plan.key}"')
        .replace("BIG", "1" * 40)
        .replace("AT", "[0, 0, 0, 0, 0]")
    )
    text = text.replace("HASH", f'"values": "{"0" * 64}"')
    (path / LEDGER / "stranger.jsonl").write_text(with_check(text))
    assert {finding.kind for finding in verify(path)} <= {"ledger", "foreign"}
    assert [p.note for p in run(plan, path, stack)] == ["it was complete already"]
