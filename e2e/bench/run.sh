#!/usr/bin/env bash
# Builds the release binary and measures it: JSON on standard output. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
./packaging/prerequisites.sh build >&2
packages=()
command -v wrk >/dev/null 2>&1 || packages+=(wrk)
[ -x /usr/sbin/nginx ] || packages+=(nginx-light)
if [ ${#packages[@]} -gt 0 ]; then
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
fi
KNARR_TOOLS=$(./e2e/tools.sh)
export KNARR_TOOLS
cargo build --release --package cli --locked >&2
KNARR_BIN="$PWD/target/x86_64-unknown-linux-gnu/release/knarr"
export KNARR_BIN
exec cargo run --quiet --release --package e2e --bin bench -- "$@"
