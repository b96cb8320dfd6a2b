"""Folders of this machine and buckets of an object store, by the same names."""

import errno
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import boto3
import numpy as np
import pytest

from buckets import running, server  # noqa: F401
from napari_deblur import objects, places, uploads
from napari_deblur.places import Remote, place_of


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    if request.param == "folder":
        return tmp_path / "a b"
    request.getfixturevalue("server")
    return Remote.read("s3://cells/some where/a b")


def test_both_know_what_is_there(place):
    assert not place.exists()
    (place / "in").mkdir(parents=True)
    for name in ("one.json", "in/two.json", "in/ä#[~]%20.txt"):
        places.write_atomically(place / name, b"123")
    places.write_atomically(place / "one.json", b"1234")
    assert place.exists()
    assert place.is_dir()
    assert not place.is_file()
    assert (place / "one.json").is_file()
    assert not (place / "on").exists()
    assert (place / "one.json").read_bytes() == b"1234"
    assert (place / "one.json").stat().st_size == 4
    names = [places.relative(file, place) for file in places.files(place)]
    assert names == ["in/two.json", "in/ä#[~]%20.txt", "one.json"]
    assert sorted(one.name for one in place.iterdir()) == ["in", "one.json"]
    assert [one.name for one in place.glob("*.json")] == ["one.json"]
    assert (place / "in/ä#[~]%20.txt").read_bytes() == b"123"
    size = places.size_in(place)
    assert [size("one.json"), size("in/two.json"), size("in/three.json")] == [4, 3, None]
    assert (place / "in").with_name("one.json") == place / "one.json"
    places.remove_tree(place)
    assert not place.exists()


def test_what_is_touched_has_the_time_and_its_content(place):
    place.mkdir(parents=True, exist_ok=True)
    places.write_atomically(place / "claim", b"mine")
    before = (place / "claim").stat().st_mtime
    places.touch(place / "claim")
    assert (place / "claim").stat().st_mtime >= before
    assert (place / "claim").read_bytes() == b"mine"
    (place / "claim").unlink()
    with pytest.raises(FileNotFoundError):
        places.touch(place / "claim")


def test_a_missing_bucket_is_said(server):  # noqa: F811
    for ask in (Remote.exists, Remote.read_bytes, lambda p: list(p.rglob("*"))):
        with pytest.raises(FileNotFoundError, match='there is no bucket "nothing"'):
            ask(Remote("s3", "nothing", "a"))


def test_the_sizes_of_many_objects_take_little_memory(monkeypatch):
    count = 100_000
    found = lambda self: ({"path": f"a.zarr/0/c/{n}", "size": n} for n in range(count))  # noqa: E731
    monkeypatch.setattr(Remote, "_found", found)
    taken = []
    for _ in range(3):  # of what other threads take meanwhile, little comes in each
        tracemalloc.start()
        size = places.size_in(Remote("s3", "cells", "a.zarr"))
        taken.append(tracemalloc.get_traced_memory())
        tracemalloc.stop()
    held, most = map(min, zip(*taken, strict=True))
    assert held < 20 * count
    assert most < 48 * count
    assert [size(f"0/c/{n}") for n in (0, 77_777, count - 1)] == [0, 77_777, count - 1]
    assert size(f"0/c/{count}") is None


def test_what_is_in_a_folder_is_opened_in_order(place, monkeypatch):
    from napari_deblur import remotes

    monkeypatch.setattr(remotes, "PIECE", 1000)
    place.mkdir(parents=True)
    for number in range(40):
        places.write_atomically(place / f"{number:02}.jsonl", bytes([number]) * (number * 60))
    places.write_atomically(place / "20.claim", b"")
    given = []
    for file, opened in places.opened(place, "*.jsonl"):
        with opened:
            given.append((file.name, opened.read()))
    assert given == [(f"{n:02}.jsonl", bytes([n]) * (n * 60)) for n in range(40)]


def test_small_objects_are_fetched_together_by_one_request_each(server):  # noqa: F811
    folder, met = Remote("s3", "cells", "a"), threading.Barrier(8)
    for number in range(24):
        (folder / f"{number}.jsonl").write_bytes(b"line")
    server.requests.clear()
    server.failing = lambda method, path: met.wait(60) and None if path.endswith("l") else None
    assert len(list(places.opened(folder, "*.jsonl"))) == 24
    assert server.requests == {"LIST": 1, "GET": 24}


@pytest.fixture
def large(server, monkeypatch):  # noqa: F811
    """Give an object of several parts, piece by piece; nothing may be written to this machine."""

    def refused(*_, **__):
        raise OSError(errno.ENOSPC, "no space is left")

    monkeypatch.setattr(places, "tempfile", SimpleNamespace(TemporaryFile=refused))
    monkeypatch.setattr(uploads, "PART", 5 * 2**20)
    raw = np.random.default_rng(0).bytes(3 * 2**20)
    source = Remote("s3", "cells", "source")
    source.write_bytes(raw)

    def pieces(count):
        for _ in range(count):
            yield memoryview(source.read_bytes())

    return raw, pieces


def unfinished():
    found = boto3.client("s3", region_name="us-east-1").list_multipart_uploads(Bucket="cells")
    return found.get("Uploads", [])


def test_what_comes_piece_by_piece_is_sent_as_it_comes(server, large):  # noqa: F811
    raw, pieces = large
    place = Remote("s3", "cells", "a")
    for count, sent in ((1, 0), (6, 4)):
        server.requests.clear()
        place.write_bytes(pieces(count))
        assert server.requests["PUT"] == max(1, sent)
        assert place.read_bytes() == count * raw
    assert unfinished() == []


def test_half_of_an_object_is_never_there(large):
    _, pieces = large
    place = Remote("s3", "cells", "a")
    place.write_bytes(b"before")

    def damaged():
        yield from pieces(5)
        raise RuntimeError("a tile is not what was written")

    with pytest.raises(RuntimeError, match="a tile is not"):
        place.write_bytes(damaged())
    assert place.read_bytes() == b"before"
    assert unfinished() == []


def test_a_server_that_takes_no_parts_is_said(server, large, monkeypatch):  # noqa: F811
    _, pieces = large
    monkeypatch.setattr(objects, "TRIES", 1)
    objects.disconnect()
    place = Remote("s3", "cells", "a")
    server.failing = lambda method, path: 507 if method == "PUT" else None
    with pytest.raises(OSError, match="no space is left") as caught:
        place.write_bytes(pieces(50))
    assert caught.value.filename == "s3://cells/a"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://me:word@cells/a", "name or password"),
        ("https://host/a.zarr?X-Amz-Signature=1", "behind the question mark"),
        ("gs://cells/a", "no place for a result"),
        ("s3:///a", "no place for a result"),
        ("s3://cells/a/../b", "no place for a result"),
    ],
)
def test_addresses_that_hold_keys_or_are_none_are_refused(address, said):
    with pytest.raises(ValueError, match=said) as caught:
        place_of(address)
    assert "word" not in str(caught.value).replace("password", "")
    assert "X-Amz" not in str(caught.value)


@pytest.mark.parametrize("code", ["ENOENT", "ENOTDIR", "ELOOP", "ESTALE", "EIO", "EACCES"])
def test_a_file_that_cannot_be_looked_at_is_not_taken_for_missing(tmp_path, monkeypatch, code):
    def away(self, **_):
        raise OSError(getattr(errno, code), code, str(self))

    (tmp_path / "a").write_bytes(b"123")
    size = places.size_in(tmp_path)
    assert (size("a"), size("b"), size("a/b"), size("x" * 300)) == (3, None, None, None)
    monkeypatch.setattr(Path, "stat", away)
    if code in ("ENOENT", "ENOTDIR", "ELOOP"):
        assert size("a") is None
    else:
        with pytest.raises(OSError, match=code):
            size("a")
