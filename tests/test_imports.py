"""What importing the package costs, and that importing one thing doesn't replace another."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

import napari_deblur as nd

HEAVY = ["torch", "napari", "qtpy", "PyQt6", "dask", "distributed", "zarr", "magicgui", "tifffile"]


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import napari_deblur",
        "import napari_deblur as nd; list(nd.methods); list(nd.psfs); list(nd.readers); dir(nd)",
    ],
    ids=["import", "list what there is"],
)
def test_import_leaves_heavy_packages_alone(code):
    loaded = json.loads(_python(f"{code}; import sys, json; print(json.dumps(list(sys.modules)))"))
    assert set(HEAVY) & set(loaded) == set()


def test_import_takes_less_than_half_a_second():
    code = "from time import process_time as now; t = now(); import napari_deblur; print(now() - t)"
    # Of this process alone; the first may have to compile.
    assert min(float(_python(code)) for _ in range(3)) < 0.5


def test_every_public_name_is_there():
    for name in nd.__all__:
        assert getattr(nd, name) is not None
    assert set(nd.__all__) <= set(dir(nd))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'deconvolute'"):
        nd.deconvolute  # noqa: B018


def test_no_module_is_called_like_a_public_function():
    # Importing such a submodule would replace the function on the package.
    catalogues = {"methods", "psfs", "readers"}
    for name in set(nd.__all__) - catalogues:
        assert find_spec(f"napari_deblur.{name}") is None, name


@pytest.mark.parametrize("catalogue", ["methods", "psfs", "readers"])
def test_importing_a_file_of_a_catalogue_keeps_the_catalogue(catalogue):
    code = (
        f"import napari_deblur as nd; first = next(iter(nd.{catalogue})); nd.{catalogue}[first]; "
        f"print(first in nd.{catalogue})"
    )
    assert _python(code).strip() == "True"
