"""Folders of this machine and buckets of an object store, by the same names."""

import pytest

from buckets import running, server  # noqa: F401
from napari_deblur import places
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


def test_of_two_who_create_one_succeeds(place):
    place.mkdir(parents=True, exist_ok=True)
    places.create(place / "claim", b"mine")
    with pytest.raises(FileExistsError):
        places.create(place / "claim", b"mine too")
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
