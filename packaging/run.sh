#!/usr/bin/env bash
# From a bare Debian machine (root, a Rust toolchain) to a Ready node: installs what is missing, builds
# Knarr, starts it and waits until the node is Ready.
set -euo pipefail
cd "$(dirname "$0")/.."

./packaging/prerequisites.sh build
cargo build --release --package cli
install -m 0755 target/x86_64-unknown-linux-gnu/release/knarr /usr/local/bin/knarr

# `knarr kubectl` runs the kubectl beside it or on the PATH.
command -v kubectl >/dev/null 2>&1 || install -m 0755 "$(./e2e/tools.sh kubectl)/kubectl" /usr/local/bin/kubectl

knarr start
knarr status --wait-ready --timeout 60
knarr kubectl get nodes -o wide
