"""`verify` of what is large: findings and progress as they come, threads, sizes, lines of JSON."""

import errno
import json
import os
import shutil
import threading
import tracemalloc

import pytest
from typer.testing import CliRunner

from by_hand import small
from napari_deblur import cli, findings, places, verifying
from napari_deblur.batch import run
from napari_deblur.findings import Finding
from napari_deblur.ledger import Entry, Ledger
from napari_deblur.progress import Progress
from napari_deblur.recorded import Recorded
from napari_deblur.results import LEDGER
from napari_deblur.store import Store
from napari_deblur.verifying import looks, verify

PATIENCE = 20  # seconds until a test gives up; none needs them


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A complete result, which is only copied."""
    plan, stack = small()
    path = tmp_path_factory.mktemp("made") / "a.zarr"
    list(run(plan, path, stack))
    return path


@pytest.fixture
def path(made, tmp_path):
    return shutil.copytree(made, tmp_path / "a.zarr")


def flip(path, name="0/c/0/0/1"):
    raw = bytearray((path / name).read_bytes())
    raw[len(raw) // 2] ^= 4
    (path / name).write_bytes(raw)


def cut(path, name="0/c/0/0/1"):
    (path / name).write_bytes((path / name).read_bytes()[:-1])


def called(*arguments, status=0):
    done = CliRunner().invoke(cli.app, ["verify", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


# What was found comes at once ---------------------------------------------------------------------


def test_a_finding_comes_before_the_rest_is_read(path, monkeypatch):
    flip(path)
    read, digest = [], places.sha256_of
    monkeypatch.setattr(places, "sha256_of", lambda file, each: read.append(file) or digest(file))
    found = verify(path, threads=1)
    assert next(found).path == "0/c/0/0/1"
    assert len(read) < 20
    assert list(found) == []
    assert len(read) > 30


def test_what_was_found_stays_when_it_is_stopped(path, monkeypatch):
    flip(path)

    def stopped(*arguments, **options):
        for said in looks(*arguments, **options):
            yield said
            if isinstance(said, Finding):
                raise KeyboardInterrupt

    monkeypatch.setattr(verifying, "looks", stopped)
    done = called(path, status=1)
    assert done.stdout.startswith("changed: 0/c/0/0/1")
    assert done.stderr.endswith(
        "error: stopped, after 1 finding of damage: not all was looked at\n"
    )
    assert (
        json.loads(called(path, "--json", status=1).stdout.splitlines()[-1])["state"] == "stopped"
    )


def test_progress_goes_to_stderr_and_is_of_files_and_bytes(path):
    said = [one for one in looks(path) if isinstance(one, Progress)]
    assert (said[0].done, said[-1].done) == (0, said[-1].total)
    assert {one.phase for one in said} == {"files"}
    assert said[-1].eta == 0
    files = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".jsonl"]
    assert said[-1].total == len(files)
    done = called(path)
    assert done.stdout == f"{path} is sound and complete\n"
    assert done.stderr.splitlines()[-1] == f"files {len(files)}/{len(files)}"


def test_a_large_file_does_not_silence_it(path, monkeypatch):
    heard, digest = threading.Event(), places.sha256_of

    def slow(file, each):
        assert heard.wait(PATIENCE)
        return digest(file, each)

    monkeypatch.setattr(places, "sha256_of", slow)
    monkeypatch.setattr(verifying, "PAUSE", 0.01)
    for number, _ in enumerate(looks(path, threads=1)):
        if number == 5:
            heard.set()
    assert number > 30


# Threads, sizes, lines of JSON --------------------------------------------------------------------


def test_files_are_read_at_once_by_as_many_threads_as_are_asked_for(path, monkeypatch):
    together, digest = threading.Barrier(3, timeout=PATIENCE), places.sha256_of
    met = {}

    def meets(file, each):
        if threading.get_ident() not in met:
            met[threading.get_ident()] = together.wait()
        return digest(file, each)

    monkeypatch.setattr(places, "sha256_of", meets)
    assert list(verify(path, threads=3)) == []
    assert sorted(met.values()) == [0, 1, 2]


def test_sizes_alone_read_no_file(path, monkeypatch):
    flip(path, "0/c/0/0/0")
    cut(path)
    (path / "0/c/0/0/2").unlink()
    (path / "0/c/0/1/0").write_bytes(b"0" * 100_000)

    def never(*arguments):
        raise AssertionError

    monkeypatch.setattr(places, "sha256_of", never)
    found = {(f.kind, f.path) for f in verify(path, sizes=True)}
    assert found == {("torn", "0/c/0/0/1"), ("missing", "0/c/0/0/2"), ("changed", "0/c/0/1/0")}
    assert "torn: 0/c/0/0/1" in called(path, "--sizes", status=1).stdout


def test_what_is_sound_by_its_sizes_is_said_so(path):
    flip(path)
    done = called(path, "--sizes")
    assert done.stdout == f"{path} is sound by the sizes of its files and complete\n"


def test_lines_of_json(path):
    cut(path)
    *found, end = map(json.loads, called(path, "--json", status=1).stdout.splitlines())
    assert found[0].pop("text").startswith("it has ")
    assert found == [{"kind": "torn", "path": "0/c/0/0/1", "damage": True}]
    assert end == {"store": str(path), "state": "damaged", "damaged": 1, "deleted": 0}
    (*_, end) = map(json.loads, called(path, "--json", "--discard", status=1).stdout.splitlines())
    assert end["deleted"] == 1


def test_json_of_what_is_sound_or_not_complete(path):
    (end,) = map(json.loads, called(path, "--json").stdout.splitlines())
    assert end == {"store": str(path), "state": "complete", "damaged": 0, "deleted": 0}
    Store(path, small()[0]).mark_incomplete()
    found, end = map(json.loads, called(path, "--json", status=3).stdout.splitlines())
    assert (found["kind"], found["damage"], end["state"]) == ("incomplete", False, "incomplete")


# What may be met ----------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_a_finding_and_the_others_are_read(path, monkeypatch):
    flip(path)
    digest = places.sha256_of

    def broken(file, each):
        if file.name == "zarr.json" and file.parent.name == "0":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return digest(file, each)

    monkeypatch.setattr(places, "sha256_of", broken)
    found = {f.kind: f for f in verify(path)}
    assert set(found) == {"changed", "unreadable"}
    assert found["unreadable"].text == f"it cannot be read ({os.strerror(errno.EIO)})"
    assert verifying.discard(path, found.values()) == 1


def test_threads_stop_in_the_middle_of_a_file(tmp_path):
    (tmp_path / "large").write_bytes(bytes(5 * places.READ))
    with findings.Looker(tmp_path) as looker:
        looker._stop.set()
        future = looker.begin("large", {(5 * places.READ, "0" * 64)})
        with pytest.raises(findings._Stopped):
            future.result(PATIENCE)
    assert looker.bytes == 0


@pytest.mark.parametrize(
    "sums",
    [(-1, "0" * 64), (2**70, "0" * 64), ("5", "0" * 64), (5, "00"), (5, None), (5, "g" * 64)],
)
def test_sums_that_are_none_are_foreign(path, sums):
    plan, _ = small()
    Ledger(path / LEDGER).append(Entry("metadata", plan.key, files={"0/zarr.json": sums}))
    (finding,) = verify(path)
    assert finding.kind == "foreign"


def test_strangers_cannot_fill_the_memory_with_names(path):
    plan, _ = small()
    files = {f"name {number}": (5, "0" * 64) for number in range(500)}
    Ledger(path / LEDGER).append(Entry("metadata", plan.key, files=files))
    found = list(verify(path))
    assert len(found) == verifying.STRANGE + 1
    assert found[-1].text == f"{500 - verifying.STRANGE} entries belong to others"


# Memory -------------------------------------------------------------------------------------------


def lines(count):
    return ((f"0/c/0/{n // 100}/{n % 100}", n, f"{n:064x}") for n in range(count))


def test_what_the_ledger_says_is_kept_in_some_tens_of_bytes_a_file():
    count = 20_000
    tracemalloc.start()
    known = Recorded(lines(count))
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(known) == count
    assert now < 62 * count
    assert most < 110 * count


def test_what_is_recorded_is_given_back():
    again = ("0/c/0/0/7", 5, "f" * 64)
    known = Recorded([*lines(300), again])
    assert len(known) == 300
    assert known.bytes == sum(range(300)) - 7 + 5  # the last one counts
    assert known.of("0/c/0/0/7") == {(7, f"{7:064x}"), again[1:]}
    assert known.of("0/c/0/2/9") == {(209, f"{209:064x}")}
    assert "0/c/0/3/0" not in known
    assert known.of("0/c/0/3/0") == set()
    names = [name for name, _, _ in lines(301)] * 2
    assert [name for name in names if known.is_first(name)] == names[:300]


def test_of_an_empty_ledger_nothing_is_known():
    known = Recorded([])
    assert (len(known), known.bytes, "a" in known, known.is_first("a")) == (0, 0, False, False)


def test_names_are_walked_with_a_word_now_and_then(path, monkeypatch):
    monkeypatch.setattr(verifying, "WALKED", 10)
    said = [one for one in looks(path) if isinstance(one, Progress)]
    phases = [one.phase for one in said]
    assert phases == sorted(phases, reverse=True)
    assert {"names", "files"} == set(phases)
