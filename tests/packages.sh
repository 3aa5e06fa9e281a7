#!/usr/bin/env bash
# Packs the program (assets/packages.sh), installs each package into a clean folder without a network, and runs what was
# installed with no toolchain on PATH: its version, a short run, and, where there is Xvfb, the window's first frame.
# Needs what makes packages: maturin, cargo-deb; root for what needs no network and for the .deb. Usage: tests/packages.sh
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
assets/packages.sh "$work/packages"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)

# Without a network, where that can be had.
alone=()
if unshare -n true 2>/dev/null; then alone=(unshare -n); else echo "the network stays: unshare needs root"; fi
clean() { "${alone[@]}" env -i HOME="$work/home" PATH=/usr/bin:/bin "$@"; }

# check WHAT PROGRAM
check() {
    local what=$1 program=$2 folder=$work/run-$1
    mkdir -p "$folder"
    [ "$(cd "$folder" && clean "$program" --version)" = "secateur $version" ] || { echo "$what: another version" && exit 1; }
    (cd "$folder" && clean "$program" run smoke --set train.epochs=1 --set data.limit=500 --set model.width=0.2 --json >log 2>&1) ||
        { tail -3 "$folder/log" && exit 1; }
    tail -1 "$folder/log" | grep -q '"outcome":"finished"' || { echo "$what: the run did not finish" && exit 1; }
    echo "$what: $(stat -Lc %s "$program") bytes, runs"
}

tar -C "$work" -xzf "$work"/packages/secateur-*.tar.gz
check tarball "$(echo "$work"/secateur-*/secateur)"

clean python3 -m venv "$work/venv"
clean "$work/venv/bin/pip" install --quiet --no-index "$work"/packages/secateur-*.whl
check wheel "$work/venv/bin/secateur"

if command -v Xvfb >/dev/null; then
    Xvfb :95 -screen 0 1440x960x24 >/dev/null 2>&1 &
    screen=$!
    sleep 2
    mkdir -p "$work/runtime"
    # Twice: the first start reads the program from the disk.
    for _ in 1 2; do
        frame=$(env -i HOME="$work/home" XDG_RUNTIME_DIR="$work/runtime" PATH=/usr/bin:/bin DISPLAY=:95 \
            "$work/venv/bin/secateur" bench frame --seconds 1 --json 2>/dev/null | sed 's/.*"first_frame_ms":\([0-9]*\).*/\1/')
    done
    kill "$screen"
    echo "wheel: the window's first frame after $frame ms"
    [ "$frame" -le 2000 ] || { echo "expected at most 2000 ms" && exit 1; }
fi

deb=$(echo "$work"/packages/secateur_*.deb)
if [ "$(id -u)" -eq 0 ]; then
    ! dpkg -s secateur >/dev/null 2>&1 || { echo "secateur is installed already; dpkg -r secateur first" && exit 1; }
    dpkg -i "$deb" >/dev/null
    check deb /usr/bin/secateur
    for file in applications/secateur.desktop icons/hicolor/scalable/apps/secateur.svg icons/hicolor/256x256/apps/secateur.png \
        mime/packages/secateur.xml bash-completion/completions/secateur zsh/vendor-completions/_secateur \
        fish/vendor_completions.d/secateur.fish; do
        [ -s "/usr/share/$file" ] || { echo "deb: no $file" && exit 1; }
    done
    # Compressed, or not, as cargo-deb was built.
    for page in secateur secateur-run; do
        compgen -G "/usr/share/man/man1/$page.1*" >/dev/null || { echo "deb: no manual page $page" && exit 1; }
    done
    ! command -v desktop-file-validate >/dev/null || desktop-file-validate /usr/share/applications/secateur.desktop
    dpkg -r secateur >/dev/null
    [ ! -e /usr/bin/secateur ] || { echo "deb: it stays when it is removed" && exit 1; }
else
    echo "deb: not installed: needs root"
fi

cargo install --quiet --locked --offline --path . --root "$work/installed"
check "cargo install" "$work/installed/bin/secateur"
