#!/bin/sh
# A newcomer's way, in a real window: from opening it to a smaller model and an SVG of the frontier on disk, timed, with
# every click and key counted. Needs Xvfb, openbox and xdotool. Usage: tests/newcomer.sh [PROGRAM=target/release/secateur] [PICTURE.png]
set -eu
program=$(realpath "${1:-target/release/secateur}")
picture=${2:-}
work=$(mktemp -d)
export DISPLAY=":${NEWCOMER_DISPLAY:-94}" XDG_CONFIG_HOME="$work/config" XDG_RUNTIME_DIR="$work"
# No portal: the window asks for a path instead of opening a dialog.
export DBUS_SESSION_BUS_ADDRESS="unix:path=$work/none"
Xvfb "$DISPLAY" -screen 0 1440x960x24 >/dev/null 2>&1 &
screen=$!
tries=0
until xdotool getmouselocation >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "Xvfb does not start"; exit 1; }
    sleep 0.2
done
openbox >/dev/null 2>&1 &
manager=$!
trap 'kill "$screen" "$manager" ${window:-} 2>/dev/null; rm -rf "$work"' EXIT
sleep 1
clicks=0
typed=0

click() { # WHAT X Y: in the window's own coordinates
    xdotool mousemove --window "$id" "$2" "$3"
    sleep 0.3
    xdotool click 1
    clicks=$((clicks + 1))
    echo "$(seconds) s: click $clicks: $1"
    sleep 1.5
}

write() { # PATH: into the field that asks for it, and Enter
    xdotool key ctrl+a
    xdotool type -- "$1"
    xdotool key Return
    typed=$((typed + 1))
    echo "$(seconds) s: typed $1"
}

wait_for() { # FILE, a minute or two
    tries=0
    until [ -s "$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "$1 was not written"; [ -z "$picture" ] || import -window root "$picture"; exit 1; }
        sleep 0.2
    done
}

seconds() { awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }

cd "$work"
began=$(date +%s.%N)
"$program" --runs "$work/runs" >"$work/log" 2>&1 &
window=$!
id=
until [ -n "$id" ]; do
    id=$(xdotool search --name '^Secateur$' 2>/dev/null | tail -1 || true)
    kill -0 "$window" 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.1
done
until xdotool windowfocus "$id" 2>/dev/null; do sleep 0.1; done
xdotool windowsize "$id" 1400 900
# Until somebody would have read the first line.
sleep 4

click "the slider, a third of the way" 117 396
sleep 3
click "Export model…" 323 311
write "$work/smaller.onnx"
wait_for "$work/smaller.onnx"
click "the frontier's menu" 429 311
click "Save SVG…" 477 401
write "$work/frontier.svg"
wait_for "$work/frontier.svg"
total=$(seconds)
[ -z "$picture" ] || import -window "$id" "$picture"
head -c 4 "$work/frontier.svg" | grep -q '<svg'
echo "a model of $(stat -c %s "$work/smaller.onnx") bytes and a figure after $total s, $clicks clicks and $typed paths typed"
awk -v t="$total" -v c="$clicks" 'BEGIN { exit !(t < 120 && c <= 10) }'
