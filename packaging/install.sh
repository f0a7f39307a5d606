#!/bin/sh
# Installs Knarr out of the unpacked archive that this script is in, on any Linux with systemd or without.
#
#   ./install.sh [--prefix DIR] [--no-start]     installs or upgrades; pods go on during an upgrade
#   ./install.sh --uninstall [--purge]           removes it; with --purge also the cluster and all its files
#
# --prefix is /usr/local unless said otherwise. It needs containerd, runc, nftables and mount, and says what is missing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local
action=install start=yes purge=no
units=/etc/systemd/system

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit "$1"
}

while [ $# -gt 0 ]; do
  case "$1" in
  --prefix)
    [ $# -gt 1 ] || usage 2 >&2
    prefix=$2
    shift
    ;;
  --prefix=*) prefix=${1#*=} ;;
  --no-start) start=no ;;
  --uninstall) action=uninstall ;;
  --purge) purge=yes ;;
  -h | --help) usage 0 ;;
  *)
    echo "install.sh: unknown option $1" >&2
    usage 2 >&2
    ;;
  esac
  shift
done

if [ "$(id -u)" -ne 0 ]; then
  echo "install.sh: run this as root: sudo $0" >&2
  exit 1
fi
knarr=$prefix/bin/knarr
systemd=no
[ -d /run/systemd/system ] && systemd=yes

# Every file below share/ of the archive, and where it is installed.
pages() { (cd "$here/share" && find . -type f | sed 's|^\./||'); }

add_group() {
  grep -q '^knarr:' /etc/group && return
  if command -v groupadd >/dev/null 2>&1; then groupadd --system knarr; else addgroup -S knarr; fi
}

do_install() {
  # A rename: the running server keeps the file that it was started from.
  mkdir -p "$prefix/bin" /etc/knarr
  install -m 0755 "$here/bin/knarr" "$knarr.new"
  mv -f "$knarr.new" "$knarr"
  pages | while read -r page; do
    mkdir -p "$prefix/share/$(dirname "$page")"
    install -m 0644 "$here/share/$page" "$prefix/share/$page"
  done
  [ -e /etc/knarr/config.yaml ] || install -m 0644 "$here/config.yaml" /etc/knarr/config.yaml
  add_group
  if [ "$systemd" = yes ]; then
    for unit in knarr.service knarr-agent.service; do
      sed "s|@BINDIR@|$prefix/bin|" "$here/systemd/$unit" >"$units/$unit"
    done
    systemctl daemon-reload
    systemctl --quiet enable knarr.service knarr-agent.service
  fi
  if ! "$knarr" check >/dev/null 2>&1; then
    "$knarr" check || true
    echo "Knarr is installed; once what is missing is there: knarr start"
    return
  fi
  if [ "$start" = yes ]; then
    if [ "$systemd" = yes ]; then
      systemctl restart knarr.service knarr-agent.service
    else
      "$knarr" start
    fi
    echo "Knarr is installed and runs: knarr status"
  else
    echo "Knarr is installed: knarr start"
  fi
}

do_uninstall() {
  if [ -x "$knarr" ]; then
    if [ "$purge" = yes ] && [ -e /var/lib/knarr/server.json ]; then
      "$knarr" uninstall --yes --force
    else
      "$knarr" stop
    fi
  fi
  if [ "$systemd" = yes ] && [ -e "$units/knarr.service" ]; then
    systemctl --quiet disable knarr.service knarr-agent.service || true
  fi
  rm -f "$units/knarr.service" "$units/knarr-agent.service" "$knarr"
  [ "$systemd" = no ] || systemctl daemon-reload
  pages | while read -r page; do rm -f "$prefix/share/$page"; done
  for folder in bash-completion/completions bash-completion zsh/vendor-completions zsh fish/vendor_completions.d fish man/man1; do
    # Others may use them.
    rmdir "$prefix/share/$folder" 2>/dev/null || true
  done
  if [ "$purge" = yes ]; then
    rm -rf /etc/knarr /var/lib/knarr
    [ -e /var/lib/kubelet ] || rm -rf /var/log/pods /var/log/containers
    if grep -q '^knarr:' /etc/group; then
      if command -v groupdel >/dev/null 2>&1; then groupdel knarr; else delgroup knarr; fi
    fi
    echo "Nothing of Knarr is left."
  else
    echo "Knarr is removed; its cluster is still in /var/lib/knarr."
  fi
}

"do_$action"
