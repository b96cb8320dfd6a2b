"""A run on SLURM by dask-jobqueue: this script starts the jobs, and waits for them."""

from dask_jobqueue import SLURMCluster

import napari_deblur as nd

JOB = nd.Job(
    "cells.ome.zarr",  # all machines see this, and the output, under the same path
    "cells.deblur.zarr",
    method="richardson-lucy",
    parameters={"iterations": 20},
    kernel="psf.tif",
    memory="8GB",
)


def main():
    cluster = SLURMCluster(
        cores=8,  # of a job; torch takes as many
        processes=1,
        memory="16GB",
        walltime="04:00:00",
        # Workers leave before their time is over, not all at once, and give their tiles back.
        worker_extra_args=["--lifetime", "230m", "--lifetime-stagger", "8m"],
        # GPUs: job_extra_directives=["--gres=gpu:1"], one for each job; and device="cuda" above, in
        # place of memory: the first worker to come is asked what its GPU has free.
    )
    with cluster:
        cluster.adapt(minimum=1, maximum=20)  # jobs; those that have ended are started again
        for progress in JOB.run(scheduler=cluster.scheduler_address):
            print(progress)


if __name__ == "__main__":
    main()
