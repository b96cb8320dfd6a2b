import subprocess
import sys

import pytest

import napari_deblur as nd


def test_names_are_listed_without_importing_torch():
    code = "import sys, napari_deblur as nd; list(nd.methods); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_name_lists_the_ones_there_are():
    with pytest.raises(KeyError, match=r"there are: accelerated-richardson-lucy, blind"):
        nd.methods["RL"]


def test_importing_a_file_does_not_replace_the_catalogue():
    import napari_deblur.methods.wiener as module

    assert nd.methods["wiener"] is module.Wiener
    assert nd.methods.name_of(module.Wiener()) == "wiener"
    with pytest.raises(KeyError, match="not in the catalogue"):
        nd.methods.name_of(3)
