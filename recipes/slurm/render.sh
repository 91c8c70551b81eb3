#!/bin/bash
# Rendering a job file on many GPUs under Slurm, an array of tasks with a GPU each:
#   sbatch --array=0-7 recipes/slurm/render.sh night.yaml --out /shared/night
# What follows the script goes to `mousai render`. Job file, model and folder lie on a disk that all machines see and that
# knows file locks (NFS; Lustre mounted with flock). The tasks begin with a share of the pieces each and then take what is
# left, so that any number of them may run, now or later, for all it takes: `mousai render --status /shared/night`.
#
# Slurm's SIGTERM comes five minutes before the time is up: mousai saves where it is and leaves with code 130, and the task
# queues itself again and goes on. A piece that fails makes its task's code 1 and stops no other; the log names it.
#SBATCH --job-name=mousai-render
#SBATCH --array=0-7
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

srun mousai render "$@"
code=$?
if [ "$code" -eq 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"  # the job's own number may stand for the whole array
fi
exit "$code"
