#!/usr/bin/env bash
# Trains on every worker of a TPU VM pod, one process a host; each worker runs the same command.
#
#   launch/train_tpu_pod.sh TPU_NAME ZONE [--allow_cpu] [FLAGS OF launch.train]
#
#   launch/train_tpu_pod.sh my-pod us-central2-b --data_dir=/mnt/shared/data --init=/mnt/shared/ported \
#       --datasets=tu_berlin/sketch,hust_si/photo --mixture=S+I --fold=0 --batch_size=1024 \
#       --compute=bfloat16 --run_dir=/mnt/shared/runs/S+I
#
# Every worker has this repository in the same folder (REPOSITORY below; default ~/dsf_jax), installed
# with `pip install -e .[tpu]`, and sees the same --data_dir, --init and --run_dir (NFS, or a bucket
# mounted with gcsfuse): the first process writes there, all read. JAX finds the other workers by
# itself (--coordinator=auto). When a worker dies, the others stop; run the same command again, and the
# run goes on from its last checkpoint. Ctrl-C, or SIGTERM to any worker, saves and ends all. A worker
# whose TPU cannot be used ends all with one line; --allow_cpu, the first flag, trains on CPUs instead.
#
# A cluster of GPU machines, the same under Slurm (one task a machine; JAX finds the rest):
#
#   srun --nodes=4 --ntasks-per-node=1 --gpus-per-node=8 \
#       python -m launch.train --coordinator=auto [FLAGS OF launch.train]
#
# and without a scheduler, on machine I of 4, HOST0 being the first one's address:
#
#   python -m launch.train --coordinator=HOST0:7777 --processes=4 --process=I [FLAGS OF launch.train]
set -euo pipefail

if [[ $# -lt 2 || "$1" == -* ]]; then
  echo "usage: $0 TPU_NAME ZONE [--allow_cpu] [FLAGS OF launch.train]" >&2
  exit 2
fi
name=$1 zone=$2
shift 2

# Left to itself, JAX falls back to the CPUs of a worker whose TPU it cannot use.
platforms=tpu
if [[ "${1:-}" == --allow_cpu ]]; then
  platforms=
  shift
fi

# The flags pass a second shell, on the workers: %q keeps spaces and quotes in them.
command="cd ${REPOSITORY:-dsf_jax} && JAX_PLATFORMS=$platforms exec python3 -m launch.train --coordinator=auto"
if [[ $# -gt 0 ]]; then
  command+=$(printf ' %q' "$@")
fi
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$command"
