# What all packages have in common; to be sourced. Needs nothing but a POSIX system, the built program and python3.

set -euo pipefail
umask 022
packaging=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(dirname "$packaging")

# The workspace's version; a test that upgrades gives another one.
version=${KNARR_VERSION:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' "$root/Cargo.toml")}
# When the sources were last changed: the same sources make the same packages.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

release="$root/target/x86_64-unknown-linux-gnu/release/knarr"

# program BINARY TARGET: the program without its symbols, as a package has it.
program() {
  [ -x "$1" ] || { echo "$1 is not there; build it with: cargo build --release --package cli" >&2; exit 1; }
  mkdir -p "$(dirname "$2")"
  strip --strip-all --remove-section=.comment -o "$2" "$1" 2>/dev/null || cp "$1" "$2"
  chmod 0755 "$2"
}

# unit COMMAND BINDIR TARGET: the unit of `knarr server` or `knarr agent`.
unit() {
  local description='Knarr, Kubernetes in one binary' condition='!/var/lib/knarr/agent/agent.json'
  [ "$1" = agent ] && description='Knarr, a node without a control plane' condition=${condition#!}
  mkdir -p "$(dirname "$3")"
  sed -e "s|@DESCRIPTION@|$description|" -e "s|@CONDITION@|$condition|" -e "s|@COMMAND@|$1|" -e "s|@BINDIR@|$2|" \
    "$packaging/common/knarr.service.in" >"$3"
}

# manuals PROGRAM SHARE: completions and man pages below a folder such as /usr/share, out of the program itself.
manuals() {
  mkdir -p "$2/bash-completion/completions" "$2/zsh/vendor-completions" "$2/fish/vendor_completions.d" "$2/man/man1"
  "$1" completions bash >"$2/bash-completion/completions/knarr"
  "$1" completions zsh >"$2/zsh/vendor-completions/_knarr"
  "$1" completions fish >"$2/fish/vendor_completions.d/knarr.fish"
  "$1" man "$2/man/man1"
  gzip -9n "$2"/man/man1/*
}

# papers FOLDER: what the program is made of, and under which terms.
papers() {
  mkdir -p "$1"
  python3 "$packaging/sbom.py" --version "$version" --sbom "$1/knarr.spdx.json" --notices "$1/third-party-notices"
  gzip -9n "$1/third-party-notices"
}
