#!/usr/bin/env bash
# Builds the program and packs it into FOLDER: a tarball (a zip for Windows), a wheel where maturin is installed, a .deb where
# cargo-deb is. Usage: assets/packages.sh FOLDER
set -euo pipefail
to=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
cargo build --release --locked
target=$(cargo metadata --no-deps --format-version 1 | sed -e 's/.*"target_directory":"\([^"]*\)".*/\1/' -e 's,\\\\,/,g')
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
triple=$(rustc -vV | sed -n 's/^host: //p')
program=secateur
worker=secateur-time-worker
case $triple in *windows*) program=secateur.exe worker=secateur-time-worker.exe ;; esac

# What the program says of itself; the .deb takes it from here, too.
shell=$target/release/shell
rm -rf "$shell"
mkdir -p "$shell"
"$target/release/$program" completions bash >"$shell/secateur.bash"
"$target/release/$program" completions zsh >"$shell/_secateur"
"$target/release/$program" completions fish >"$shell/secateur.fish"
"$target/release/$program" man "$shell/man" >/dev/null

# Names as cargo-binstall looks for them: [package.metadata.binstall] in Cargo.toml.
name=secateur-$version-$triple
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/$name"
cp "$target/release/$program" "$target/release/$worker" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE assets/secateur.svg assets/secateur.png "$stage/$name"
cp assets/linux/secateur.desktop assets/linux/secateur.xml "$stage/$name"
cp -r "$shell" "$stage/$name/shell"
case $triple in
*windows*) (cd "$stage" && 7z a -bso0 "$to/$name.zip" "$name") ;;
*) tar -C "$stage" -czf "$to/$name.tar.gz" "$name" ;;
esac

if command -v maturin >/dev/null; then
    (cd assets/python && maturin build --quiet --release --offline --out "$to")
else
    echo "no wheel: maturin is not installed (pip install maturin)"
fi
if command -v cargo-deb >/dev/null; then
    cargo deb --no-build --quiet --output "$to"
else
    echo "no .deb: cargo-deb is not installed (cargo install cargo-deb)"
fi
ls -l "$to"
