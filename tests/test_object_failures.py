"""A network that fails, a server that refuses, secrets that stay where they are."""

import copy
import errno
import logging
import pickle
from dataclasses import replace

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from buckets import KEY, SECRET, content, running, server, upload  # noqa: F401
from by_hand import numbers, plan_of, small
from napari_deblur import cli, objects, places
from napari_deblur.batch import RunStopped, run
from napari_deblur.kernels import save_kernel
from napari_deblur.opening import open_stack
from napari_deblur.places import Remote, place_of
from napari_deblur.protocols import Kernel
from napari_deblur.results import LEDGER, open_result
from napari_deblur.stopping import refuse_gone
from napari_deblur.verifying import verify

OUT = "s3://cells/out/a.deblur.zarr"
LUCY = ["--method", "richardson-lucy", "--set", "iterations=2", "--accept-seam"]


@pytest.fixture
def impatient(monkeypatch):
    """Give up after a second try."""
    monkeypatch.setattr(objects, "TRIES", 1)
    objects.disconnect()


@pytest.fixture
def cells(server, tmp_path):  # noqa: F811
    """Put an image and a kernel into the bucket."""
    array = zarr.create_array(
        tmp_path / "raw.zarr", shape=(6, 24, 30), chunks=(3, 12, 15), dtype="u2",
        dimension_names=["z", "y", "x"],
    )  # fmt: skip
    array[:] = numbers((6, 24, 30))
    save_kernel(Kernel(np.ones((1, 3, 3)) / 9, (1.0, 1.0, 1.0)), tmp_path / "k.zarr")
    for name in ("raw.zarr", "k.zarr"):
        upload(tmp_path / name, f"s3://cells/{name}")
    return "s3://cells/raw.zarr"


def call(*arguments):
    """Run the command line; give its status and everything it said."""
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize("what", [503, 500, "reset", 0.3])
def test_a_request_that_fails_is_tried_again(server, tmp_path, what):  # noqa: F811
    plan, stack = small()
    failed = []

    def failing(method, path):
        failing.count += 1
        if failing.count % 7 == 0:
            failed.append(path)
            return what
        return None

    failing.count = 0
    server.failing = failing
    *_, last = run(plan, OUT, stack)
    server.failing = lambda method, path: None
    assert (last.phase, last.failed) == ("complete", 0)
    assert len(failed) > 10
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")
    assert list(verify(OUT)) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, r"does not do it \(SlowDown\); wait until the network and the server work"),
        ("reset", "gives no answer; wait until the network and the server work"),
        (403, r"access is denied \(InvalidAccessKeyId\); get the permission"),
        (507, r"no space is left \(QuotaExceeded\); free some space"),
    ],
)
def test_a_run_that_gets_no_further_stops_and_can_go_on(
    server,  # noqa: F811
    impatient,
    tmp_path,
    status,
    said,
):
    plan, stack = small()
    chunks = []

    def failing(method, path):
        if method == "PUT" and "zarr/0/c/" in path:
            chunks.append(path)
        return status if len(chunks) > 5 and method == "PUT" else None

    server.failing = failing
    with pytest.raises(RunStopped, match=said) as caught:
        list(run(plan, OUT, stack))
    assert "s3://cells/out/a.deblur.zarr" in str(caught.value)
    assert KEY not in str(caught.value)
    server.failing = lambda method, path: None
    first, *_, last = run(plan, OUT, stack)
    assert (first.done, last.phase) == (5, "complete")
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")


def test_a_network_that_is_gone_is_one_line_and_status_1(cells, server, impatient):  # noqa: F811
    asked = ["run", cells, OUT, "--kernel", "s3://cells/k.zarr", *LUCY, "--tile", "3,12,12"]
    server.failing = lambda method, path: 503 if "/0/c/" in path and method == "PUT" else None
    status, said = call(*asked)
    assert status == 1
    assert said.count("error: ") == 1
    assert "SlowDown" in said
    assert "run the same again: what is done is kept" in said
    server.failing = lambda method, path: "reset" if "raw.zarr/c" in path else None
    status, said = call(*asked)
    assert (status, said.count("error: ")) == (1, 1)
    assert "raw.zarr" in said
    assert "gives no answer" in said
    server.failing = lambda method, path: None
    status, said = call(*asked)
    assert status == 0, said
    status, said = call("verify", OUT)
    assert status == 0
    assert said.endswith(f"{OUT} is sound and complete")


def test_an_input_that_is_gone_stops_the_run_which_can_go_on(cells, tmp_path):
    plan = plan_of(open_stack(cells), core=(3, 12, 12))
    progress = run(plan, tmp_path / "a.zarr")
    while next(progress).done < 2:
        pass
    there = content(cells)
    places.remove_tree(place_of(cells))
    with pytest.raises(RunStopped, match=r"s3://cells/raw\.zarr is no longer there; put it back"):
        list(progress)
    assert not open_result(tmp_path / "a.zarr").failed
    for name, raw in there.items():
        (place_of(cells) / name).write_bytes(raw)
    *_, last = run(plan, tmp_path / "a.zarr")
    assert (last.phase, last.failed) == ("complete", 0)


def test_a_file_of_the_web_that_is_gone_is_told_by_what_a_tile_says():
    address = "https://lab.example/a.tif"
    gone = FileNotFoundError(errno.ENOENT, "there is nothing", address)
    with pytest.raises(RunStopped, match=r"a\.tif is no longer there"):
        refuse_gone(address, gone)


def test_a_run_that_is_killed_at_its_very_start_leaves_nothing_that_verify_finds(
    server,  # noqa: F811
    monkeypatch,
):
    plan, stack = small()

    class Killed(BaseException):
        pass

    def killed(self, **_):
        raise Killed

    with monkeypatch.context() as dead:
        dead.setattr(Remote, "unlink", killed)
        with pytest.raises(Killed):
            run(plan, OUT, stack)
    left = list((place_of(OUT) / LEDGER).rglob("*"))
    assert len(left) == 1
    list(run(plan, OUT, stack))
    assert list(verify(OUT)) == []
    assert not any(one.is_file() for one in left)


def test_who_may_not_delete_leaves_one_object_however_often_the_time_is_asked(server, monkeypatch):  # noqa: F811
    def refused(self, **_):
        raise PermissionError(errno.EACCES, "access is denied", str(self))

    folder = place_of(OUT) / LEDGER
    monkeypatch.setattr(Remote, "unlink", refused)
    assert places.clock(folder) <= places.clock(folder)
    assert len(list(folder.rglob("*"))) == 1


def test_no_secret_leaves_the_settings(cells, server, impatient, caplog, tmp_path):  # noqa: F811
    caplog.set_level(logging.DEBUG)
    asked = ["run", cells, OUT, "--kernel", "s3://cells/k.zarr", *LUCY]
    outputs = [call(*asked)[1], call("info", OUT)[1], call("verify", OUT)[1]]
    server.failing = lambda method, path: 403
    for refused in (asked, [*asked, "--debug"], ["info", OUT], ["verify", OUT, "--debug"]):
        done = CliRunner().invoke(cli.app, refused)
        shown = done.output
        if done.exc_info is not None and not isinstance(done.exception, SystemExit):
            import traceback

            shown += "".join(traceback.format_exception(*done.exc_info))
        assert done.exit_code == 1
        outputs.append(shown)
    assert any("access is denied" in said for said in outputs)
    server.failing = lambda method, path: None
    place = place_of(OUT)
    store = places.storage(place)
    outputs += [repr(place), str(store), repr(store), repr(store.store), repr(objects._settings())]
    outputs += [caplog.text, repr(open_stack(cells)), repr(vars(store))]
    stored = [file.read_bytes() for file in places.files(place_of("s3://cells"))]
    stored += [pickle.dumps(place), pickle.dumps(store), pickle.dumps(open_stack(cells).source)]
    assert len(stored) > 15
    for mark in (KEY, SECRET):
        assert not [said for said in outputs if mark in said]
        assert not [raw for raw in stored if mark.encode() in raw]
    assert copy.copy(pickle.loads(pickle.dumps(store))) == store


def test_credentials_come_from_a_profile(cells, server, tmp_path, monkeypatch):  # noqa: F811
    seen = []
    server.heard = seen.append
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = AKIAFROMPROFILE\naws_secret_access_key = word\n"
    )
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = eu-central-1\nendpoint_url = {server.url}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    objects.disconnect()
    open_stack(cells)
    assert all("AKIAFROMPROFILE" in said and "eu-central-1" in said for said in seen)
    assert seen
    # What is public is asked for without any.
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    objects.disconnect()
    seen.clear()
    with pytest.raises(PermissionError, match="access is denied"):  # this bucket is not
        open_stack(cells)
    assert set(seen) == {""}


def test_a_profile_that_is_not_there_is_said(server, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    objects.disconnect()
    with pytest.raises(ValueError, match="check AWS_PROFILE, AWS_ENDPOINT_URL"):
        open_stack("s3://cells/raw.zarr")


def test_another_region_is_said(server, impatient):  # noqa: F811
    plan, stack = small()
    server.failing = lambda method, path: 400
    with pytest.raises(OSError, match="another region, set AWS_REGION=eu-west-9"):
        run(plan, OUT, stack)


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    objects.disconnect()
    with pytest.raises(ValueError, match=r'pip install "napari-deblur\[s3\]"'):
        open_stack("s3://cells/raw.zarr")
    with pytest.raises(ValueError, match=r'pip install "napari-deblur\[s3\]"'):
        Remote("s3", "cells", "a").exists()


def test_a_chunk_that_is_missing_or_refused_is_never_taken_for_empty(
    cells,
    server,  # noqa: F811
    impatient,
):
    stack = open_stack(cells)
    server.failing = lambda method, path: 403 if path.endswith("c/1/0/0") else None
    with pytest.raises(PermissionError, match="access is denied"):
        stack.read(0, 0)
    server.failing = lambda method, path: None
    (place_of(cells) / "c/1/0/0").unlink()
    with pytest.raises(ValueError, match='chunk "c/1/0/0" is missing'):
        stack.read(0, 0)
    sparse = open_stack(cells, sparse=True).read(0, 0)
    assert not sparse[3:, :12, :15].any()
    assert sparse[:3].any()


def test_who_may_not_list_a_bucket_opens_what_is_there(server, tmp_path):  # noqa: F811
    array = zarr.create_array(
        tmp_path / "old.zarr", shape=(6, 24), dtype="u2", zarr_format=2, fill_value=0
    )
    array[:] = numbers((6, 24))
    upload(tmp_path / "old.zarr", "s3://cells/old.zarr")
    there = {f"/cells/old.zarr/{name}" for name in content("s3://cells/old.zarr")}
    server.failing = lambda method, path: None if path in there else 403
    stack = open_stack("s3://cells/old.zarr", "yx")
    np.testing.assert_array_equal(stack.read(0, 0)[0], array[:])
    with pytest.raises(PermissionError, match="access is denied"):
        open_stack("s3://cells/none.zarr", "yx")


def test_who_may_not_delete_joins_tiles_all_the_same(server):  # noqa: F811
    plan, stack = small()
    plan = replace(plan, shard=(1, 1, 1, 2, 2))
    server.failing = lambda method, path: 403 if method in ("DELETE", "POST") else None
    *_, last = run(plan, OUT, stack)
    assert last.phase == "complete"
    assert [progress.note for progress in run(plan, OUT, stack)] == ["it was complete already"]
    server.failing = lambda method, path: None
    assert list(verify(OUT)) == []
    np.testing.assert_array_equal(open_result(OUT).levels[0][:], stack.data.compute())
