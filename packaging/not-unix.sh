#!/usr/bin/env bash
# Type-checks what a system that is not Unix compiles, on one that is: a copy of the sources in which `unix` is false, and in which what only
# Unix has does not exist. Windows' handles are taken for descriptors. The real check is the `windows` job of the workflow.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=target/not-unix
rm -rf "$copy/src" "$copy/examples"
mkdir -p "$copy"
cp -r src examples Cargo.toml Cargo.lock README.md "$copy"
find "$copy/src" "$copy/examples" -name '*.rs' -exec sed -i.bak -E \
    -e '/cfg/ s/\bunix\b|target_os = "linux"/any()/g' \
    -e '/cfg/ s/\bwindows\b/all()/g' \
    -e 's/std::os::(unix|fd|linux)/std::os::absent/g' \
    -e 's/std::os::windows::io::AsHandle/std::os::fd::AsFd/; s/\.as_handle\(\)/.as_fd()/g' {} +
sed -i.bak -E "/^nix = /d" "$copy/Cargo.toml"
# A workspace of its own, although it lies in another one's folder.
grep -q '^\[workspace\]' "$copy/Cargo.toml" || printf '\n[workspace]\n' >>"$copy/Cargo.toml"
cd "$copy"
for flags in "" "--no-default-features --lib"; do
    # shellcheck disable=SC2086
    CARGO_TARGET_DIR=target ${CARGO:-cargo} check --offline $flags
done
