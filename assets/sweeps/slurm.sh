#!/bin/sh
# A SLURM array: `sbatch --array=1-3 assets/sweeps/slurm.sh`. Run folders can be copied home and opened.
#SBATCH --cpus-per-task=2
#SBATCH --time=01:00:00
secateur run --sweep assets/sweeps/seeds.toml --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --runs runs --json
