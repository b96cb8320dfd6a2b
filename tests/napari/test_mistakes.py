"""Errors as sentences."""

import pytest

from napari_deblur._napari.mistakes import words


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 3 GiB"), "a smaller tile under Advanced"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 'the device "cpu"'),
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (ValueError("give two numbers"), "give two numbers"),
        (KeyError("x"), "that nobody foresaw (KeyError: 'x'): please report it at https://"),
        (AssertionError(), "(AssertionError): please report it"),
        (ValueError(), "(ValueError): please report it"),
    ],
)
def test_an_error_says_the_way_out(error, said):
    assert said in words(error)
    assert "\n" not in words(error)
