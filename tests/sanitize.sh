#!/bin/sh
# Runs the kernel tests where a wrong address or an overflow shows: a checked build of all kernels,
# AddressSanitizer over the SIMD paths, Miri over the portable one. What is not installed is named
# and skipped; exits with 0 unless something that ran found a fault.
#
# The kernels know nothing of the rest, so a crate of their own is built from the same files: seconds
# instead of the whole application under a sanitizer.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
crate=$root/target/kernel-checks
mkdir -p "$crate"
cat > "$crate/Cargo.toml" <<TOML
[package]
name = "secateur"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
[[test]]
name = "kernel"
path = "$root/tests/kernel.rs"
[dev-dependencies]
proptest = { version = "1.12", default-features = false, features = ["std"] }
[profile.dev]
opt-level = 1
debug = "line-tables-only"
debug-assertions = true
overflow-checks = true
[workspace]
TOML
cp "$root/Cargo.lock" "$crate/Cargo.lock"
printf '#[path = "%s/src/kernel/mod.rs"]\npub mod kernel;\n' "$root" > "$crate/lib.rs"
cd "$crate"

echo "== checked build: debug assertions, overflow and pointer checks, all kernels"
cargo test --quiet

if ! cargo +nightly --version > /dev/null 2>&1; then
    echo "== AddressSanitizer and Miri skipped: no nightly toolchain is installed"
    exit 0
fi
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
case $host in
*-linux-* | *-apple-*)
    echo "== AddressSanitizer, all kernels ($host)"
    # Leaks are not what is looked for, and the leak checker needs ptrace.
    ASAN_OPTIONS=detect_leaks=0 RUSTFLAGS=-Zsanitizer=address \
        cargo +nightly test --quiet --target "$host" --tests
    ;;
*) echo "== AddressSanitizer skipped: not supported on $host" ;;
esac
if cargo +nightly miri --version > /dev/null 2>&1; then
    echo "== Miri, portable kernel"
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --quiet --lib
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --quiet --test kernel -- only_
else
    echo "== Miri skipped: the component is not installed (rustup +nightly component add miri)"
fi
