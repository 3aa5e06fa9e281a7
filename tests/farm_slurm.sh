#!/usr/bin/env bash
# A sweep on a farm that is a SLURM of this one machine, which the script starts. One run is put back into the queue while it
# works, and the controller is killed and started again: all runs end once, with the weights of a local sweep. A farm that is
# stopped stops its runs. Needs root, slurm-wlm and munge (Debian's packages). Usage: tests/farm_slurm.sh [PROGRAM=target/release/secateur] [RUNS=8] [IMAGES=4000]
set -euo pipefail
program=$(realpath "${1:-target/release/secateur}")
n=${2:-8}
images=${3:-4000}
work=$(mktemp -d)
export SLURM_CONF=$work/slurm.conf
mkdir "$work/state" "$work/spool"
host=$(hostname)
cat >"$SLURM_CONF" <<EOF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
trap 'kill -KILL $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null; rm -rf "$work"' EXIT
if ! munge -n >/dev/null 2>&1; then
    mkdir -p /run/munge
    chown munge:munge /run/munge
    runuser -u munge -- /usr/sbin/munged --force
fi
slurmctld
slurmd
until sinfo --noheader 2>/dev/null | grep -q idle; do sleep 0.3; done

finished() { { grep -l '"outcome":"finished"' "$work"/farmed/*/events.jsonl 2>/dev/null || true; } | wc -l; }
seed() { sed -n 's/^seed = //p' "$1/config.toml"; }
cat >"$work/sweep.toml" <<EOF
preset = "smoke"
[set]
seed = [$(seq -s , 0 $((n - 1)))]
"train.epochs" = [3]
"data.limit" = [$images]
"model.width" = [0.2]
checkpoint_secs = [0.3]
EOF
"$program" run --sweep "$work/sweep.toml" --farm slurm --cpus 1 --runs "$work/farmed" --json >"$work/said" 2>"$work/log" &
follower=$!
until grep -q '"task":0,"state":"running".*"progress":0\.[1-9]' "$work/said"; do
    kill -0 "$follower" || { tail -3 "$work/log" && exit 1; }
    sleep 0.1
done
job=$(sed -n 's/.*"job":"\([0-9]*\)".*/\1/p' "$work/said" | head -1)
scontrol requeue "${job}_0"
echo "run 0 is put back into the queue"
until [ "$(finished)" -ge $((n / 3)) ]; do sleep 0.2; done
kill -KILL "$(cat "$work/slurmctld.pid")"
echo "the controller is killed after $(finished) runs"
sleep 2
slurmctld
wait "$follower" || { echo "the farm failed" && tail -5 "$work/log" && exit 1; }
[ "$(ls -d "$work"/farmed/*_smoke_* | wc -l)" -eq "$n" ] || { echo "another number of run folders than $n" && exit 1; }
resumed=$({ grep -l '"event":"resumed"' "$work"/farmed/*/events.jsonl || true; } | wc -l)
[ "$resumed" -ge 1 ] || { echo "the run that was put back did not go on" && exit 1; }
echo "all $n runs ended, $resumed of them after an interruption"

"$program" run --sweep "$work/sweep.toml" --runs "$work/local" --json >/dev/null 2>&1
for local in "$work"/local/*_smoke_*; do
    farmed=$(dirname "$(grep -lx "seed = $(seed "$local")" "$work"/farmed/*/config.toml)")
    cmp "$local/models/smoke.safetensors" "$farmed/models/smoke.safetensors"
done
echo "the weights of all $n runs equal those of a local sweep"

"$program" run --sweep "$work/sweep.toml" --farm slurm --runs "$work/stopped" --json >"$work/said" 2>"$work/log" &
follower=$!
until grep -q '"state":"running"' "$work/said"; do sleep 0.2; done
kill -INT "$follower"
code=0
wait "$follower" || code=$?
[ "$code" -eq 130 ] || { echo "a stopped farm ends with $code, expected 130" && exit 1; }
tries=0
while [ -n "$(squeue --noheader --states=RUNNING,PENDING)" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "runs are still in the queue" && exit 1; }
    sleep 0.5
done
echo "a farm that is stopped stops its runs"
