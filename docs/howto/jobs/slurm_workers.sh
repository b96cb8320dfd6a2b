#!/bin/bash
# A scheduler, workers and the run in one SLURM job of several tasks, without dask-jobqueue.
#SBATCH --job-name=deblur
#SBATCH --ntasks=20
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=04:00:00
set -eu
place=scheduler-$SLURM_JOB_ID.json
trap 'kill $(jobs -p); rm -f "$place"' EXIT

dask scheduler --no-dashboard --scheduler-file "$place" &
# From 22.05 on srun doesn't take --cpus-per-task from the job: workers may be bound to one core each.
# A worker that lost its scheduler ends, with status 0; the loop starts it again.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c "while true; do
    dask worker --scheduler-file $place --nworkers 1 \
    --nthreads $SLURM_CPUS_PER_TASK --memory-limit 0 --no-dashboard --death-timeout 120
    sleep 5; done" &
until [ -s "$place" ]; do sleep 1; done

napari-deblur run cells.ome.zarr cells.deblur.zarr \
    --method richardson-lucy --set iterations=20 --kernel psf.tif --memory 8GB \
    --scheduler "$(python -c "import json; print(json.load(open('$place'))['address'])")"
