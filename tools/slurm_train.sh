#!/usr/bin/env bash
# Train in several processes of a Slurm cluster, one for each GPU:
#   [VARIABLES] bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR \
#       [arguments of tools/train.py]
# GPUS          of all nodes together (8)
# GPUS_PER_NODE (8, or GPUS if that is less)
# CPUS_PER_TASK for each process and its data workers (5)
# SRUN_ARGS     further arguments of srun
# PORT          of the first node, where the processes meet (a random one)
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR" \
        "[arguments of train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
work_dir=$4
shift 4

gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
if [ $((gpus % gpus_per_node)) -ne 0 ]; then
    echo "error: GPUS=$gpus is no multiple of GPUS_PER_NODE=$gpus_per_node" >&2
    exit 2
fi
read -r -a srun_args <<<"${SRUN_ARGS:-}"

# Of two jobs on one node each needs a port. srun hands it on.
export MASTER_PORT=${PORT:-$((20000 + RANDOM % 10000))}

# A process that ends by an error ends the others.
exec srun --partition="$partition" --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} \
    python -u "$(dirname "$0")/train.py" "$config" --work-dir "$work_dir" \
    --launcher slurm "$@"
