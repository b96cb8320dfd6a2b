"""What is refused before a run begins, and what that costs."""

import os
import sys

import pytest
import zarr
from typer.testing import CliRunner

from buckets import running, server  # noqa: F401
from by_hand import numbers, small
from napari_deblur import claims, cli, outputs
from napari_deblur.batch import run
from napari_deblur.finishing import finish
from napari_deblur.places import place_of
from napari_deblur.results import LEDGER

OUT = "s3://cells/out/a.deblur.zarr"


def read_only(method, path):
    return 403 if method in ("PUT", "POST", "DELETE") else None


@pytest.mark.parametrize("left", [False, True])
def test_a_complete_result_of_a_bucket_that_is_read_only_is_complete(server, left):  # noqa: F811
    plan, stack = small()
    list(run(plan, OUT, stack))
    if left:  # by a process that died on another machine
        claim = claims.take(place_of(OUT) / LEDGER, plan.key, claims.ALL)
        raw = claim.file.read_bytes().replace(b'"machine": "', b'"machine": "moon')
        name = claim.file.name
        claim.release()
        (place_of(OUT) / LEDGER / name).write_bytes(raw)
    server.failing = read_only
    assert [progress.note for progress in run(plan, OUT, stack)] == ["it was complete already"]
    assert [progress.note for progress in finish(OUT)] == ["it was complete already"]
    with pytest.raises(OSError, match="cannot be made"):
        run(plan, OUT, stack, overwrite=True)
    with pytest.raises(OSError, match="cannot be made"):
        run(plan, "s3://cells/out/b.deblur.zarr", stack)


def test_looking_at_a_complete_result_writes_nothing_and_asks_little(server):  # noqa: F811
    plan, stack = small()
    list(run(plan, OUT, stack))
    server.requests.clear()
    outputs.refuse(OUT)
    assert set(server.requests) <= {"GET", "HEAD", "LIST"}
    assert sum(server.requests.values()) <= 8


def test_looking_at_one_output_lists_none_of_those_beside_it(tmp_path, monkeypatch):
    plan, stack = small()
    list(run(plan, tmp_path / "a.deblur.zarr", stack))
    listed, scandir, listdir = [], os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda path=".": listed.append(str(path)) or scandir(path))
    monkeypatch.setattr(os, "listdir", lambda path=".": listed.append(str(path)) or listdir(path))
    for name in ("a.deblur.zarr", "b.deblur.zarr", "c.tif"):
        outputs.refuse(tmp_path / name)
    assert str(tmp_path) not in listed


@pytest.mark.skipif(sys.platform == "win32", reason="a link stands for a disk without cases")
def test_one_file_by_two_names_is_not_both_input_and_output(tmp_path):
    (tmp_path / "cells.tif").write_bytes(b"II*\0")
    os.link(tmp_path / "cells.tif", tmp_path / "Cells.tif")
    with pytest.raises(ValueError, match="are one: choose another output"):
        outputs.refuse_input(tmp_path / "Cells.tif", str(tmp_path / "cells.tif"))
    outputs.refuse_input(tmp_path / "others.tif", str(tmp_path / "cells.tif"))


@pytest.mark.parametrize("name", ["raw.zarr", "raw.zarr/kernel.tif"])
def test_a_kernel_never_replaces_the_image_it_is_found_in(tmp_path, name):
    zarr.save_array(tmp_path / "raw.zarr", numbers((4, 32, 32)))
    command = ["estimate", tmp_path / "raw.zarr", tmp_path / name, "--axes", "zyx", "--overwrite"]
    done = CliRunner().invoke(cli.app, list(map(str, command)))
    assert done.exit_code == 1
    assert "are one: choose another output" in " ".join(done.output.split())
    assert (zarr.open_array(tmp_path / "raw.zarr", mode="r")[:] == numbers((4, 32, 32))).all()
