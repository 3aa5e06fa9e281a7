#!/usr/bin/env bash
# A sweep on a farm that is a SLURM of this one machine, which the script starts. One run is put back into the queue while it
# works; in the middle the node is killed with all that works on it, and later the controller: all runs end once, with the events
# and weights of a local sweep. A farm that is stopped stops its runs. Needs root, slurm-wlm and munge (Debian's packages).
# Usage: tests/farm_slurm.sh [PROGRAM=target/release/secateur] [RUNS=24] [IMAGES=4000]
cd "$(dirname "$0")/.."
. tests/farm_setup.sh
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
SlurmdTimeout=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
node() { sinfo --noheader --format=%T 2>/dev/null; }
trap 'kill -KILL $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null; clean_up' EXIT
if ! munge -n >/dev/null 2>&1; then
    mkdir -p /run/munge
    chown munge:munge /run/munge
    runuser -u munge -- /usr/sbin/munged --force
fi
slurmctld
slurmd
until sinfo --noheader 2>/dev/null | grep -q idle; do sleep 0.3; done

follow farmed --farm slurm --cpus 1
until grep -q '"task":0,"state":"running".*"progress":0\.[1-9]' "$work/said"; do
    kill -0 "$follower" || fail "$(tail -3 "$work/log")"
    sleep 0.1
done
job=$(sed -n 's/.*"job":"\([0-9]*\)".*/\1/p' "$work/said" | head -1)
scontrol requeue "${job}_0"
echo "run 0 is put back into the queue"
wait_for $((n / 6))
# As a machine that loses its power: its daemon and all that it started. SLURM finds out after a while, and puts its jobs back.
ids=$(squeue --noheader --states=RUNNING --format=%A | paste -sd '|')
below=$(for step in $(pgrep -f "^slurmstepd: \\[($ids)\\."); do echo "$step" && pgrep -P "$step" || true; done)
# shellcheck disable=SC2086
kill -KILL "$(cat "$work/slurmd.pid")" $below
echo "the node is killed after $(finished) runs, with $(echo "$below" | wc -w) processes"
until node | grep -q down; do sleep 0.5; done
slurmd
wait_for $((n / 2))
kill -KILL "$(cat "$work/slurmctld.pid")"
echo "the controller is killed after $(finished) runs"
sleep 2
slurmctld
until node | grep -q .; do sleep 0.3; done
sleep 5
# What it had started and not yet written down it starts twice, sees that, and waits for its administrator.
scontrol update "nodename=$host" state=resume 2>/dev/null || true
scontrol release "$job" 2>/dev/null || true
all_ended_once --farm slurm --cpus 1
equal_to_local
stopped_by_following --farm slurm
tries=0
while [ -n "$(squeue --noheader --states=RUNNING,PENDING)" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || fail "runs are still in the queue"
    sleep 0.5
done
echo "a farm that is stopped stops its runs"
