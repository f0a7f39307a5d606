#!/usr/bin/env bash
# Makes knarr_VERSION_ARCHITECTURE.deb: deb.sh [BINARY] [OUTDIR]. BINARY is the release build unless said otherwise,
# OUTDIR is target/packages. KNARR_DEB_COMPRESSION (default xz) is dpkg-deb's -Z; tests take a quick one.
source "$(dirname "$0")/common/stage.sh"

binary=${1:-$release}
out=${2:-$root/target/packages}
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"

program "$binary" "$tree/usr/bin/knarr"
unit server /usr/bin "$tree/lib/systemd/system/knarr.service"
unit agent /usr/bin "$tree/lib/systemd/system/knarr-agent.service"
manuals "$tree/usr/bin/knarr" "$tree/usr/share"
install -D -m 0644 "$packaging/common/config.yaml" "$tree/etc/knarr/config.yaml"

doc="$tree/usr/share/doc/knarr"
papers "$doc"
install -m 0644 "$packaging/deb/copyright" "$doc/copyright"
install -D -m 0644 "$packaging/deb/lintian-overrides" "$tree/usr/share/lintian/overrides/knarr"
gzip -9n >"$doc/changelog.gz" <<END
knarr ($version) unstable; urgency=medium

  * See the history of the project's repository.

 -- Knarr developers <developers@knarr.io>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END

mkdir "$tree/DEBIAN"
for script in postinst prerm postrm; do install -m 0755 "$packaging/deb/$script" "$tree/DEBIAN/$script"; done
echo /etc/knarr/config.yaml >"$tree/DEBIAN/conffiles"
size=$(du -ks --exclude=DEBIAN "$tree" | cut -f1)
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@SIZE@|$size|" \
  "$packaging/deb/control.in" >"$tree/DEBIAN/control"
(cd "$tree" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)

mkdir -p "$out"
dpkg-deb --root-owner-group -Z"${KNARR_DEB_COMPRESSION:-xz}" --build "$tree" "$out/knarr_${version}_$architecture.deb" >&2
echo "$out/knarr_${version}_$architecture.deb"
