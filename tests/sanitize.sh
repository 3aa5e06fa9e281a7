#!/bin/sh
# Runs the kernel tests where a wrong address or an overflow shows: a checked build of all kernels,
# AddressSanitizer over the SIMD paths, Miri over the portable one. What is not installed is named
# and skipped; exits with 0 unless something that ran found a fault.
set -eu
cd "$(dirname "$0")/.."

echo "== checked build: debug assertions, overflow and pointer checks, all kernels"
cargo test --quiet -p secateur-kernel

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
        cargo +nightly test --quiet -p secateur-kernel --target "$host" --tests
    ;;
*) echo "== AddressSanitizer skipped: not supported on $host" ;;
esac
if cargo +nightly miri --version > /dev/null 2>&1; then
    echo "== Miri, portable kernel"
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --quiet -p secateur-kernel --lib
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --quiet -p secateur-kernel --test kernel -- only_
else
    echo "== Miri skipped: the component is not installed (rustup +nightly component add miri)"
fi
