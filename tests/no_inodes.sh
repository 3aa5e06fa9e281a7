#!/bin/sh
# Runs in a folder that may hold no more files: the run waits and says so, and goes on to the same end once there is room.
# Usage, as root (it mounts a small disk in memory): tests/no_inodes.sh [PROGRAM=target/release/secateur]
set -eu
program=$(realpath "${1:-target/release/secateur}")
work=$(mktemp -d)
trap 'umount "$work/disk" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/disk"
mount -t tmpfs -o size=64m,nr_inodes=100 tmpfs "$work/disk"

small="--set checkpoint_secs=0 --set data.limit=500 --set data.valid=100 --set train.batch=50 --set train.epochs=2 --set model.width=0.1"
said() {
    grep -v -e '"event":"resumed"' -e '"event":"ended"' -e '"event":"warning"' -e '"event":"note"' "$1"/events.jsonl |
        sed -e 's/^{"seq":[0-9]*,"at":[0-9.e-]*,//'
}

# shellcheck disable=SC2086
"$program" run smoke $small --runs "$work/whole" --json >/dev/null 2>&1
# Room for the folder and a few checkpoints, and not for what follows.
i=0
while [ "$i" -lt 85 ]; do
    i=$((i + 1))
    : >"$work/disk/$i"
done
# shellcheck disable=SC2086
"$program" run smoke $small --runs "$work/disk/runs" >/dev/null 2>"$work/said" &
pid=$!
i=0
until grep -q "disk is full" "$work/said"; do
    i=$((i + 1))
    [ "$i" -lt 600 ] || { echo "nobody was told" && cat "$work/said" && exit 1; }
    kill -0 "$pid" 2>/dev/null || { echo "the run did not wait" && cat "$work/said" && exit 1; }
    sleep 0.1
done
rm -f "$work"/disk/[0-9]*
wait "$pid"
said "$(echo "$work"/whole/*)" >"$work/expected"
said "$(echo "$work"/disk/runs/*)" >"$work/got"
cmp "$work/expected" "$work/got" || { echo "events differ" && exit 1; }
echo "no inodes: the run waited, said so, and came to the same end"
