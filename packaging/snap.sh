#!/usr/bin/env bash
# Makes knarr_VERSION_amd64.snap without snapcraft: snap.sh [classic|strict] [BINARY] [OUTDIR]. Classic, the release build
# and target/packages unless said otherwise. containerd, runc, nftables and conntrack come out of Debian's packages.
# KNARR_SNAP_COMPRESSION (xz, lzo) and KNARR_SNAP_RUNTIME=no, without those programs, are for tests.
# `snap.sh --stage classic|strict BINARY DIR` makes the tree without them and without packing it, for snapcraft.
source "$(dirname "$0")/common/stage.sh"

# stage CONFINEMENT BINARY TREE
stage() {
  local tree=$3
  program "$2" "$tree/bin/knarr"
  manuals "$tree/bin/knarr" "$tree/share"
  papers "$tree/doc"
  install -m 0644 "$packaging/common/config.yaml" "$tree/config.yaml"
  install -m 0644 "$root/snap/local/environment" "$tree/bin/environment"
  install -m 0755 "$root"/snap/local/run-* "$tree/bin"
  ln -sf ../usr/bin/containerd "$tree/bin/containerd"
  mkdir -p "$tree/meta/hooks"
  install -m 0755 "$root"/snap/hooks/* "$tree/meta/hooks"
  python3 - "$root/snap/snapcraft.yaml" "$1" "$version" >"$tree/meta/snap.yaml" <<'PY'
import sys
import yaml

path, confinement, version = sys.argv[1:]
with open(path) as file:
    snap = yaml.safe_load(file)
# What snapcraft itself takes out of its file.
del snap["parts"], snap["contact"]
snap |= {"version": version, "confinement": confinement, "environment": {"LC_ALL": "C.UTF-8"}}
if confinement == "classic":
    # It is not confined: there is nothing to plug, and the machine's folders are not laid out anew.
    del snap["plugs"], snap["layout"], snap["hooks"]
    for app in snap["apps"].values():
        del app["plugs"]
else:
    # Without this plug the service manager is not told that it has started.
    snap["apps"]["daemon"]["plugs"] = snap["apps"]["daemon"]["plugs"] + ["daemon-notify"]
for app in snap["apps"].values():
    app.pop("completer", None)
snap["apps"]["knarr"]["completer"] = "share/bash-completion/completions/knarr"
yaml.Dumper.ignore_aliases = lambda *_: True
print(yaml.dump(snap, sort_keys=False, Dumper=yaml.Dumper), end="")
PY
  if [ "$1" = classic ]; then rm -f "$tree"/meta/hooks/connect-plug-*; fi
}

# runtime TREE: programs of Debian with the libraries that they name, out of its packages.
runtime() {
  local packages
  packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances conntrack containerd nftables runc | grep '^[a-z]' | sort -u |
    grep -Ev '^(libc6|libgcc-s1|gcc-[0-9]+-base|libcrypt1|dpkg|tar|install-info|debconf|perl.*|.*:i386)$')
  (cd "$2" && apt-get download -qq $packages >&2)
  for package in "$2"/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --wildcards './usr/bin/*' './usr/sbin/*' './usr/lib/*.so*' './lib/*.so*' 2>/dev/null || true; done
}

if [ "${1:-}" = --stage ]; then
  stage "$2" "$3" "$4"
  exit
fi
confinement=${1:-classic}
binary=${2:-$release}
out=${3:-$root/target/packages}
case "$confinement" in classic | strict) ;; *) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/debs" "$work/tree" "$out"
chmod 0755 "$work/tree"
stage "$confinement" "$binary" "$work/tree"
[ "${KNARR_SNAP_RUNTIME:-yes}" = no ] || runtime "$work/tree" "$work/debs"
snap pack "$work/tree" "$out" --compression="${KNARR_SNAP_COMPRESSION:-xz}" --filename="knarr_${version}_$(dpkg --print-architecture)_$confinement.snap" >&2
echo "$out/knarr_${version}_$(dpkg --print-architecture)_$confinement.snap"
