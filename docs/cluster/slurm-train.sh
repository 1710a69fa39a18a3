#!/bin/bash
# Two nodes of eight GPUs each, one rank for every GPU: sbatch docs/cluster/slurm-train.sh CONFIG RUN-FOLDER
# The run folder must be on a file system that all nodes see; only rank 0 writes to it. Sent again, the job goes on from the
# last checkpoint, or begins again where there is none yet: Slurm's requeueing after a lost node does just that. An example, not
# tried on a cluster.
#SBATCH --job-name=ddae-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=INT@120
#SBATCH --open-mode=append
set -euo pipefail
config=$1 run=$2

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
resume=()
[ -f "$run/log.txt" ] && resume=(--resume)

# Two minutes before the end, Slurm sends SIGINT to the ranks (without B:, to those of srun's step and not to this shell), and so
# does scancel --signal=INT: all stop at the same step, with a checkpoint.
srun --kill-on-bad-exit=1 bash -c '
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS
    export LOCAL_RANK=$SLURM_LOCALID LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
    exec ddae-train diffusion "$@"' ddae-train \
    --config "$config" --run "$run" --device cuda --amp bf16 "${resume[@]}"
