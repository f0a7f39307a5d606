#!/usr/bin/env bash
# Every test of Knarr: format, lints, licences, unit and crate tests, and the end-to-end tests with the
# built binary, real containerd and stock kubectl. Installs what it needs itself. Read-only for the sources.
set -euo pipefail
cd "$(dirname "$0")/.."

# One build from nothing: what would make the next one faster costs half of the disk.
export CARGO_INCREMENTAL=0

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

step "prerequisites"
./packaging/prerequisites.sh build
packages=()
command -v busybox >/dev/null 2>&1 || packages+=(busybox-static)
[ -x /usr/sbin/nginx ] || packages+=(nginx-light)
for tool in curl debootstrap jq lintian openssl; do command -v "$tool" >/dev/null 2>&1 || packages+=("$tool"); done
command -v snap >/dev/null 2>&1 || packages+=(snapd)
command -v unsquashfs >/dev/null 2>&1 || packages+=(squashfs-tools)
python3 -c 'import yaml' 2>/dev/null || packages+=(python3-yaml)
command -v chromedriver >/dev/null 2>&1 || packages+=(chromium chromium-driver fonts-dejavu-core)
command -v etcdctl >/dev/null 2>&1 || packages+=(etcd-client)
if [ ${#packages[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi
KNARR_TOOLS=$(./e2e/tools.sh)
export KNARR_TOOLS
# Every containerd, kubelet and test process wants its own inotify instances.
sysctl -q -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288 || true

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

step "licences and sources of dependencies"
./e2e/dependencies.sh

step "unit and crate tests"
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --exclude e2e --locked --no-fail-fast
else
  cargo test --workspace --exclude e2e --locked --no-fail-fast
fi

step "end-to-end tests"
cargo build --package cli --locked
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --package e2e --locked --no-fail-fast
else
  cargo test --package e2e --locked --no-fail-fast -- --test-threads 1
fi

step "done"
