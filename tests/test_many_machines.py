"""The job file of the documentation, run by bash as SLURM would run its tasks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from by_hand import SRC, numbers
from napari_deblur.kernels import save_kernel
from napari_deblur.protocols import Kernel
from napari_deblur.results import open_result
from napari_deblur.verifying import verify

PAGE = Path(__file__).parents[1] / "docs/howto/many-machines.md"


@pytest.fixture
def script():
    (text,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return text


def test_the_job_file_asks_for_as_many_tasks_as_there_are_parts(script):
    (tasks,), (parts,) = re.findall(r"--array=1-(\d+)", script), re.findall(r"parts=(\d+)", script)
    assert tasks == parts
    lines = script.splitlines()
    settings = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert settings == list(
        range(1, len(settings) + 1)
    )  # sbatch reads them up to the first command


@pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")
def test_the_tasks_of_the_job_file_make_one_result(tmp_path, script):
    tifffile.imwrite(tmp_path / "cells.tif", numbers((40, 48)))
    save_kernel(Kernel(np.ones((3, 3))), tmp_path / "psf.tif")
    program = tmp_path / "bin/napari-deblur"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m napari_deblur "$@"\n')
    program.chmod(0o755)
    small = script.replace("parts=20", "parts=2").replace("iterations=20", "iterations=2")
    small = small.replace("--memory 8GB", "--tile 16,16 --accept-seam")
    (tmp_path / "deblur.sh").write_text(small)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    known = os.environ | {"PATH": path, "PYTHONPATH": str(SRC), "SLURM_CPUS_PER_TASK": "1"}
    phases = []
    for task in "21":
        subprocess.run(
            ["bash", "deblur.sh"],
            cwd=tmp_path,
            env=known | {"SLURM_ARRAY_TASK_ID": task},
            check=True,
        )
        phases.append(open_result(tmp_path / "cells.deblur.zarr").complete)
    assert phases == [False, True]
    assert list(verify(tmp_path / "cells.deblur.zarr")) == []
