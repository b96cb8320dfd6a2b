"""The job files of the documentation, as far as they can be tried without SLURM and GPUs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from napari_deblur.cli import app
from napari_deblur.job import Job

JOBS = Path(__file__).parents[1] / "docs" / "howto" / "jobs"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
@pytest.mark.parametrize("name", ["dask_cuda.sh", "slurm_workers.sh"])
def test_a_job_file_is_read_by_bash_and_asks_for_what_there_is(name):
    text = (JOBS / name).read_text("utf-8")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    run = get_command(app).commands["run"]
    known = {option for parameter in run.params for option in parameter.opts}
    command = text[text.index("napari-deblur run") :]
    asked = set(re.findall(r"(--[a-z-]+)", command))
    assert {"--method", "--kernel", "--scheduler"} <= asked <= known
    worker = re.search(r"dask (cuda )?worker .*?(&|sleep)", text, re.DOTALL)[0]
    from distributed.cli.dask_worker import main

    known = {option for p in main.params for option in (*p.opts, *p.secondary_opts)}
    assert {"--nthreads", "--memory-limit"} <= set(re.findall(r"(--[a-z-]+)", worker)) <= known


def test_the_script_for_dask_jobqueue_asks_for_a_job_that_there_is():
    code = (JOBS / "slurm_cluster.py").read_text("utf-8")
    code = code.replace("from dask_jobqueue import SLURMCluster", "")
    there = {"__name__": "tried"}
    exec(compile(code, "slurm_cluster.py", "exec"), there)
    assert isinstance(there["JOB"], Job)
    assert there["JOB"].command().startswith("napari-deblur run cells.ome.zarr")
