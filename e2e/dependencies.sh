#!/usr/bin/env bash
# What `cargo deny` would check, offline: every dependency has a licence we allow, comes from the registry,
# and none of the banned crates is in the graph.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo metadata --format-version 1 --locked | python3 -c '
import json, re, sys

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD",
           "Zlib", "Unicode-3.0", "Unicode-DFS-2016", "CC0-1.0", "Unlicense", "BSL-1.0", "CDLA-Permissive-2.0", "MIT-0"}
# A second crypto provider or TLS stack doubles the binary; the GPL is not ours to give on.
BANNED = {"aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "serde_yaml", "rustables", "spdy-mux"}

def allowed(expression):
    """Whether an SPDX expression can be met with allowed licences only."""
    expression = expression.replace("/", " OR ")
    if "(" in expression:
        inner = re.search(r"\(([^()]*)\)", expression)
        verdict = "MIT" if allowed(inner.group(1)) else "REFUSED"
        return allowed(expression[:inner.start()] + verdict + expression[inner.end():])
    return any(all(term.strip() in ALLOWED for term in choice.split(" AND ")) for choice in expression.split(" OR "))

problems = []
for package in json.load(sys.stdin)["packages"]:
    name = "{} {}".format(package["name"], package["version"])
    if package["name"] in BANNED:
        problems.append(f"{name} is banned")
    source = package["source"]
    if source and not source.startswith("registry+"):
        problems.append(f"{name} does not come from the registry")
    licence = package["license"]
    if not licence or not allowed(licence):
        problems.append(f"{name} has the licence {licence!r}")
for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(bool(problems))
'
echo "all dependencies are allowed"
