#!/bin/sh
# GNU parallel, or any shell: N shards side by side. Usage: assets/sweeps/parallel.sh N [more arguments of run]
n=${1:-2}
shift
if command -v parallel >/dev/null; then
    seq "$n" | parallel --will-cite secateur run --sweep assets/sweeps/seeds.toml --shard "{}/$n" --json "$@"
else
    for i in $(seq "$n"); do
        secateur run --sweep assets/sweeps/seeds.toml --shard "$i/$n" --json "$@" &
    done
    wait
fi
