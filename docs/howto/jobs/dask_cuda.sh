#!/bin/bash
# One machine with several GPUs: dask-cuda starts one worker for each, which sees its own first.
set -eu
trap 'kill $(jobs -p)' EXIT
dask scheduler --host 127.0.0.1 --port 8786 --no-dashboard &
dask cuda worker tcp://127.0.0.1:8786 --nthreads 2 --memory-limit 0 &

napari-deblur run cells.ome.zarr cells.deblur.zarr \
    --method richardson-lucy --kernel psf.tif --device cuda --scheduler tcp://127.0.0.1:8786
