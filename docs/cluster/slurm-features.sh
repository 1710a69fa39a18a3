#!/bin/bash
# Features of a data set by 64 jobs of one GPU each, in an array: sbatch docs/cluster/slurm-features.sh MODEL.onnx OUTPUT
# Each computes one shard, by its number in the array; the one that finds all of them joins them. Sent again, only missing
# shards are computed.
# An example, not tried on a cluster.
#SBATCH --job-name=ddae-features
#SBATCH --array=0-63
#SBATCH --gpus=1
#SBATCH --cpus-per-task=16
#SBATCH --time=02:00:00
#SBATCH --requeue
set -euo pipefail
exec ddae-infer features "$1" --split train --device cuda -o "$2"
