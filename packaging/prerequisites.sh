#!/usr/bin/env bash
# Installs what Knarr needs to be built and to run on Debian 12 or later: only what is missing.
# `prerequisites.sh run` leaves the build tools out.
set -euo pipefail

declare -A need=(
  [containerd]=containerd [runc]=runc [nft]=nftables [ip]=iproute2 [mount]=mount [conntrack]=conntrack
)
if [ "${1:-build}" = build ]; then
  need+=([clang]=clang [mold]=mold [protoc]=protobuf-compiler)
fi

missing=()
for tool in "${!need[@]}"; do
  command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || missing+=("${need[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "missing: ${missing[*]}. Install these packages with this system's package manager, then try again." >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "missing: ${missing[*]}. Run again as root, or: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
