"""What a run in a batch system wants: lines of JSON, a number of cores, patience."""

import json
import logging
import os
import sys
import warnings
from math import inf

import pytest
import tifffile
import torch
from typer.testing import CliRunner

from by_hand import numbers, small, third_party  # noqa: F401
from napari_deblur import batch, claims, cli, json_lines, printing, sending, system
from napari_deblur.batch import Claimed, run
from napari_deblur.claims import ALL, take
from napari_deblur.progress import Progress
from napari_deblur.results import open_result

BLUR = ("--psf", "gaussian", "--psf-set", "sigma=0,1,1", "--pixel-size", "1,1,1")


def written(path):
    volume = numbers((4, 20, 24))
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX"}, photometric="minisblack")
    return path


@pytest.fixture
def image(tmp_path):
    return written(tmp_path / "a.tif")


def called(*arguments, status=0):
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done


def events(done):
    """Give what was said on stderr, all of which must be lines of JSON."""
    return [json.loads(line) for line in done.stderr.splitlines()]


# --progress json ----------------------------------------------------------------------------------


def test_a_run_tells_in_lines_of_json_what_it_does(tmp_path, image):
    out = tmp_path / "a.zarr"
    said = events(called("run", image, out, "--method", "identity", "--progress", "json"))
    kinds = [one["event"] for one in said]
    assert kinds[0] == "step"
    assert {"step", "note", "planned", "progress"} >= set(kinds)
    (planned,) = [one for one in said if one["event"] == "planned"]
    assert planned["tiles"] == len(open_result(out).plan)
    last = said[-1]
    assert (last["event"], last["phase"], last["done"]) == ("progress", "complete", last["total"])
    assert set(last) == {
        "event", "phase", "done", "total", "index", "failed", "clipped", "emptied", "note",
        "seconds", "eta",
    }  # fmt: skip


def test_errors_are_lines_too(tmp_path):
    done = called("run", tmp_path / "gone.tif", "--progress", "json", status=1)
    (said,) = events(done)
    assert said["event"] == "error"
    assert "gone.tif" in said["text"]
    assert not json_lines.is_on()


def test_many_images_say_which_one_they_are_at(tmp_path, image):
    done = called(
        *("run", image, written(tmp_path / "b.tif"), tmp_path / "out"),
        *("--method", "identity", "--progress", "json"),
    )
    said = events(done)
    ends = [one for one in said if one["event"] == "image"]
    assert [(one["image"], one["images"], one["state"]) for one in ends] == [
        (1, 2, "complete"),
        (2, 2, "complete"),
    ]
    assert all(one["image"] in (1, 2) for one in said if one["event"] == "progress")


def test_lines_are_few(monkeypatch, capsys):
    now = iter(range(10**6))  # seconds
    monkeypatch.setattr(json_lines, "monotonic", lambda: next(now))
    steps = [Progress(n, 1000, "tiles") for n in range(1001)]
    steps += [Progress(n, 2, "pyramid") for n in range(3)]
    assert json_lines.followed(iter(steps)) is steps[-1]
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    tiles = [one["done"] for one in said if one["phase"] == "tiles"]
    assert 50 < len(tiles) < 150
    assert (tiles[0], tiles[-1]) == (0, 1000)
    assert [one["done"] for one in said if one["phase"] == "pyramid"] == [0, 2]


def test_what_is_logged_is_a_line_and_nothing_of_it_stays(capsys):
    logger = logging.getLogger()
    before = list(logger.handlers)
    with json_lines.asked("json"):
        sending.LOG.warning("the scheduler has no %s", "workers")
    assert json.loads(capsys.readouterr().err) == {
        "event": "note",
        "text": "the scheduler has no workers",
    }
    assert logger.handlers == before


def test_what_others_warn_of_is_a_line_too(capsys):
    with warnings.catch_warnings(), json_lines.asked("json"):
        warnings.simplefilter("always")
        warnings.warn("tiles are old", stacklevel=1)
        logging.getLogger("tifffile").warning("pages are %s", "odd")
        logging.getLogger("tifffile").info("nobody asked")
    said = [json.loads(line)["text"] for line in capsys.readouterr().err.splitlines()]
    assert "tiles are old" in said[0]
    assert said[1:] == ["pages are odd"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--nonsense",), "No such option"),
        (("--workers", "-1"), "--workers"),
        (("--part", "4/3"), "there is no part 4/3"),
        (("--memory", "lots"), 'memory "lots" is no size'),
    ],
)
def test_wrong_usage_is_a_line_too(image, monkeypatch, capsys, arguments, said):
    words = ["napari-deblur", "run", str(image), *arguments, "--progress", "json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = json.loads(capsys.readouterr().err)
    assert error["event"] == "error"
    assert said in error["text"]


@pytest.mark.parametrize(("word", "status"), [("--version-of-nothing", 2), ("--help", 0)])
def test_the_command_ends_as_ever_where_no_lines_are_asked_for(monkeypatch, word, status):
    monkeypatch.setattr(sys, "argv", ["napari-deblur", "run", word])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status


def test_with_lines_the_status_is_the_same(image, tmp_path, monkeypatch):
    for input_, status in ((image, 0), (tmp_path / "gone.tif", 1)):
        words = ["run", str(input_), "--method", "identity", "--progress=json", "--plan"]
        monkeypatch.setattr(sys, "argv", ["napari-deblur", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code or 0) == status


def test_another_word_is_wrong_usage(image):
    assert "use auto or json" in called("run", image, "--progress", "xml", status=2).output


# --threads ----------------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "taken"), [((), 2), (("--threads", 1), 1)])
def test_as_many_threads_compute_as_were_asked_for(
    tmp_path,
    image,
    third_party,  # noqa: F811
    two_threads,
    asked,
    taken,
    monkeypatch,
):
    monkeypatch.setattr(system, "cores", lambda: 2)
    env, book = dict(os.environ), tmp_path / "book"
    given = ("--method", "watched", "--set", f"book={book}", *BLUR, *asked)
    called("run", image, tmp_path / "a.zarr", *given)
    assert {json.loads(line)[-1] for line in book.read_text().splitlines()} == {taken}
    assert torch.get_num_threads() == 2
    assert dict(os.environ) == env


def test_workers_share_the_cores_that_were_asked_for(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    most = system.cores()
    with system.at_most_cores(2):
        assert system.cores() == min(2, most)
        assert os.environ["OMP_NUM_THREADS"] == str(min(2, most))
    with system.at_most_cores(64):
        assert system.cores() == most
    assert system.cores() == most


def test_threads_of_another_machine_are_not_ours_to_choose(image):
    done = called("run", image, "--scheduler", "tcp://host:1", "--threads", 2, status=2)
    assert "--nthreads" in done.output


# --wait -------------------------------------------------------------------------------------------


def test_a_claim_is_waited_for(tmp_path, monkeypatch):
    folder, slept = tmp_path / "a.zarr/ledger", []
    first = take(folder, "k", ALL)

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            first.release()

    monkeypatch.setattr(claims.time, "sleep", sleep)
    take(folder, "k", ALL, wait=60).release()
    assert slept == [claims.POLL] * 2


def test_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "POLL", 0.01)
    with take(tmp_path / "a.zarr/ledger", "k", ALL):
        with pytest.raises(Claimed, match="is going on"):
            take(tmp_path / "a.zarr/ledger", "k", ALL, wait=0.02)
        with pytest.raises(Claimed, match="is going on"):
            take(tmp_path / "a.zarr/ledger", "k", ALL)


def test_a_run_waits_for_the_one_that_is_there_and_finds_it_complete(tmp_path, monkeypatch):
    plan, stack = small()
    other = run(plan, tmp_path / "a.zarr", stack)
    next(other)
    with pytest.raises(Claimed):
        run(plan, tmp_path / "a.zarr", stack)
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: list(other))
    (last,) = run(plan, tmp_path / "a.zarr", stack, wait=60)
    assert last.note == "it was complete already"


def test_the_command_says_what_it_waits_for(tmp_path, image, monkeypatch):
    out = tmp_path / "a.zarr"
    called("run", image, out, "--method", "identity")
    plan, held = open_result(out).plan, []
    held.append(take(out / "ledger", plan.key, ALL))
    assert "is going on" in called("run", image, out, "--method", "identity", status=1).stderr
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: held.pop().release())
    done = called("run", image, out, "--method", "identity", "--wait", 90)
    assert "waiting for up to 1 min 30 s: a run of" in done.stderr
    assert printing.lasting(inf) == "an unlimited time"  # of --wait inf
    assert "it was complete already" in done.stderr


# The plan -----------------------------------------------------------------------------------------


def test_none_of_it_changes_the_plan(tmp_path, image, monkeypatch):
    keys = set()
    done = batch.run

    def noted(plan, output, **how):
        keys.add(plan.key)
        return done(plan, output, **how)

    monkeypatch.setattr(batch, "run", noted)
    given = ("--method", "richardson-lucy", "--set", "iterations=2", *BLUR)
    options = ("--threads", 1, "--wait", 5, "--progress", "json")
    called("run", image, tmp_path / "a.zarr", *given)
    called("run", image, tmp_path / "b.zarr", *given, *options)
    assert len(keys) == 1
    done = called("run", image, tmp_path / "a.zarr", *given, *options)
    assert "it was complete already" in done.stderr
