#!/usr/bin/env bash
# Makes knarr-VERSION-x86_64-linux.tar.gz, the bill of materials beside it and SHA256SUMS of both and of a .deb if there
# is one: tarball.sh [BINARY] [OUTDIR]. BINARY is the release build unless said otherwise, OUTDIR is target/packages.
source "$(dirname "$0")/common/stage.sh"

binary=${1:-$release}
out=${2:-$root/target/packages}
name=knarr-$version-$(uname -m)-linux
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree="$work/$name"

program "$binary" "$tree/bin/knarr"
unit server @BINDIR@ "$tree/systemd/knarr.service"
unit agent @BINDIR@ "$tree/systemd/knarr-agent.service"
manuals "$tree/bin/knarr" "$tree/share"
papers "$tree"
install -m 0644 "$packaging/common/config.yaml" "$root/LICENSE" "$tree"
install -m 0755 "$packaging/install.sh" "$tree/install.sh"

mkdir -p "$out"
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$work" "$name" |
  gzip -n "-${KNARR_TARBALL_LEVEL:-9}" >"$out/$name.tar.gz"
install -m 0644 "$tree/knarr.spdx.json" "$out/knarr-$version.spdx.json"
(cd "$out" && find . -maxdepth 1 -type f \( -name "knarr*$version*" \) -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
echo "$out/$name.tar.gz"
