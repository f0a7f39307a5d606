#!/usr/bin/env bash
# Makes what a snap needs besides itself, where the store cannot be reached: snaps.sh FOLDER [MIRROR], as root. It takes
# Debian's files for it: FOLDER/snapd_1_all.snap is its package of snapd, FOLDER/core24_1_all.snap a debootstrap.
# snapd must not run its own copy (SNAP_REEXEC=0); both are installed with --dangerous.
set -euo pipefail
folder=$(realpath -m "${1:?a folder}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

# pack NAME TYPE
pack() {
  chmod 0755 "$work/$1"
  mkdir -p "$work/$1/meta"
  printf 'name: %s\nversion: "1"\nsummary: For tests\ndescription: Of Debian\ntype: %s\n' "$1" "$2" >"$work/$1/meta/snap.yaml"
  snap pack "$work/$1" "$folder" --compression=lzo >&2
}

(cd "$work" && apt-get download -qq snapd >&2 && dpkg-deb -x snapd_*.deb snapd)
pack snapd snapd

debootstrap --variant=minbase --include=ca-certificates,iproute2,kmod,procps,udev bookworm "$work/core24" ${2:+"$2"} >&2
rm -rf "$work"/core24/{dev/*,var/cache/apt/*,var/lib/apt/lists/*,usr/share/{doc,locale,man}}
# What the machine's folders and those of snapd are mounted on.
mkdir -p "$work"/core24/{lib/firmware,lib/modules,snap,usr/lib/snapd,usr/src,var/lib/snapd,var/snap}
touch "$work/core24/etc/resolv.conf"
ln -s ../lib/snapd/snapctl "$work/core24/usr/bin/snapctl"
pack core24 base
