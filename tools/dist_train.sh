#!/usr/bin/env bash
# Train in several processes on one machine, one for each GPU:
#   bash tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of tools/train.py]
# On NNODES machines, on each with its NODE_RANK from 0, and the MASTER_ADDR and
# PORT of the first:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 PORT=29500 bash tools/dist_train.sh ...
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of train.py]" >&2
    exit 2
fi
config=$1
processes=$2
shift 2

if [ "${NNODES:-1}" -eq 1 ] && [ -z "${PORT:-}" ]; then
    # At a free port: there may be another training on this machine.
    meeting=(--standalone)
else
    if [ "${NNODES:-1}" -ne 1 ] && [ -z "${MASTER_ADDR:-}" ]; then
        echo "error: with NNODES=$NNODES set MASTER_ADDR to the first machine's" >&2
        exit 2
    fi
    meeting=(
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}"
    )
fi

exec python -m torch.distributed.run "${meeting[@]}" --nproc_per_node="$processes" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
