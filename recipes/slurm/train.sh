#!/bin/bash
# Training on several machines under Slurm, one task a GPU, a copy of the model on each (DDP), in bf16:
#   sbatch --nodes 2 recipes/slurm/train.sh recipes/paper/dmae_v2.yaml --out /shared/runs/dmae_v2
# What follows the script goes to `mousai train`. Recipe, run and caches lie on a disk that all machines see.
#
# Slurm's SIGTERM comes five minutes before the time is up: mousai saves its state and leaves with code 130, and the job
# queues itself again and goes on where it stopped. Tasks are started by srun itself, so that the signal reaches them and
# nothing kills them while they write.
#SBATCH --job-name=mousai
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export WORLD_SIZE=$SLURM_NTASKS
export ACCELERATE_MIXED_PRECISION=${ACCELERATE_MIXED_PRECISION:-bf16}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
# export ACCELERATE_USE_FSDP=true   # splits the model over the GPUs, where it does not fit on one

srun --kill-on-bad-exit=1 bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec mousai train "$@"' mousai "$@"
code=$?
if [ "$code" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
