#!/usr/bin/env bash
# Trains the same small FBS network on flex and on a device served by a second process over loopback, and compares the losses;
# then tries to get in without the token. Builds and lints with `--features remote`, or takes a program that was built so.
#
#   tests/remote.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."
secateur=${1:-}
if [ -z "$secateur" ]; then
  cargo clippy -p secateur-train -p secateur-cli --features secateur-cli/remote -- -D warnings
  cargo test -p secateur-train --features remote --lib
  cargo build --features remote
  secateur=${CARGO_TARGET_DIR:-target}/debug/secateur
fi
out=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$out"' EXIT

unset SECATEUR_TOKEN SECATEUR_TOKEN_FILE
"$secateur" serve-device 2>"$out/refused" && { echo "served without a token"; exit 1; }
grep -q "a token is required" "$out/refused"
head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$out/token"
SECATEUR_TOKEN_FILE=$out/token "$secateur" serve-device --listen 127.0.0.1:0 --json >"$out/served" 2>&1 &
server=$!
until grep -q listening "$out/served"; do kill -0 "$server" || { cat "$out/served"; exit 1; }; sleep 0.1; done
host=$(grep -o '127.0.0.1:[0-9]*' "$out/served" | head -1)

run() { # DEVICE
  "$secateur" run smoke --device "$1" --json --runs "$out/runs" \
    --set data.limit=512 --set data.valid=64 --set train.epochs=2 --set train.batch=32 --set train.log_every=1 --set train.lr=0.02 \
    --set model.width=0.1 --set method.calibration=64
}
SECATEUR_TOKEN=not-the-right-token run "remote:$host" >"$out/wrong" 2>&1 && { echo "the wrong token was let in"; exit 1; }
run "remote:$host" >"$out/none" 2>&1 && { echo "no token was let in"; exit 1; }
grep -q "a token is required" "$out/none"
# Another path, and a head without an end.
python3 - "${host#*:}" <<'PY'
import socket, sys
def say(data):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
    try:
        s.sendall(data)
        return s.recv(100)
    except (BrokenPipeError, ConnectionResetError):
        return b""
assert b"404" in say(b"GET /../../etc/passwd HTTP/1.1\r\n\r\n")
assert b"101" not in say(b"GET /session HTTP/1.1\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\n")
print("strangers are refused")
PY
run flex >"$out/flex.jsonl"
SECATEUR_TOKEN_FILE=$out/token run "remote:$host" >"$out/remote.jsonl"
python3 - "$out/flex.jsonl" "$out/remote.jsonl" <<'PY'
import json, sys
runs = [[json.loads(line) for line in open(path)] for path in sys.argv[1:]]
steps = [[e for e in run if e["event"] == "step"] for run in runs]
assert len(steps[0]) == len(steps[1]) > 20, "different numbers of steps"
off = [abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(*steps)]
print(f"steps {len(off)}: relative difference of the loss, first 5 steps {max(off[:5]):.2e}, all {max(off):.2e}")
assert max(off[:5]) < 1e-3, "the first steps differ"
assert sum(off) / len(off) < 0.05, "the runs drift apart"
print([e["text"] for e in runs[1] if e["event"] == "warning" and "round trip" in e["text"]][0])
PY
echo agree
