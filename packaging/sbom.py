#!/usr/bin/env python3
"""The bill of materials of the knarr binary as SPDX 2.3 (JSON), and the notices of what is linked into it.

Both come from Cargo.lock and `cargo metadata`, offline. Only what reaches the binary is listed: no dependencies of tests,
none of other platforms. Crates that run while it is built are told apart from those that it contains.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
CRATE = "cli"
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
NOTICES = re.compile(r"^(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)


def graph(metadata):
    """Ids of the crates in the binary and of those that only build it, and the edges between them, as
    (from, to, whether it is for building)."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    top = next(p["id"] for p in metadata["packages"] if p["name"] == CRATE and p["source"] is None)
    inside, edges = set(), set()

    def walk(start, reached, building):
        queue = list(start)
        while queue:
            current = queue.pop()
            if current in reached:
                continue
            reached.add(current)
            for dependency in nodes[current]["deps"]:
                kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
                if None in kinds:
                    edges.add((current, dependency["pkg"], building))
                    queue.append(dependency["pkg"])

    walk([top], inside, False)
    builders = set()
    for current in inside:
        for dependency in nodes[current]["deps"]:
            if "build" in {kind["kind"] for kind in dependency["dep_kinds"]}:
                edges.add((current, dependency["pkg"], True))
                builders.add(dependency["pkg"])
    only = set(inside)
    walk(builders, only, True)
    return top, inside, only - inside, edges


def spdx_id(package):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"crate-{package['name']}-{package['version']}")


def licence(package):
    """An SPDX expression; the slash is Cargo's old word for OR."""
    return (package["license"] or "NOASSERTION").replace("/", " OR ")


def described(package, checksums, version):
    own = package["source"] is None
    entry = {
        "SPDXID": spdx_id(package),
        "name": package["name"],
        "versionInfo": version if own else package["version"],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": licence(package),
        "licenseDeclared": licence(package),
        "copyrightText": "NOASSERTION",
        "supplier": "NOASSERTION",
    }
    if own:
        return entry
    name, number = package["name"], package["version"]
    entry["downloadLocation"] = f"https://crates.io/api/v1/crates/{name}/{number}/download"
    entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksums[(name, number)]}]
    entry["externalRefs"] = [
        {
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": f"pkg:cargo/{name}@{number}",
        }
    ]
    return entry


def document(metadata, lock, version, created):
    packages = {package["id"]: package for package in metadata["packages"]}
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if p.get("source") == REGISTRY}
    top, inside, builders, edges = graph(metadata)
    knarr = described(packages[top], checksums, version) | {
        "SPDXID": "SPDXRef-knarr",
        "name": "knarr",
        "primaryPackagePurpose": "APPLICATION",
    }
    ids = {key: spdx_id(packages[key]) for key in inside | builders} | {top: knarr["SPDXID"]}
    listed = sorted((inside | builders) - {top}, key=lambda key: ids[key])
    relationships = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": knarr["SPDXID"]}
    ]
    for source, target, building in sorted(edges, key=lambda edge: (ids[edge[0]], ids[edge[1]], edge[2])):
        pair = (ids[target], "BUILD_DEPENDENCY_OF", ids[source]) if building else (ids[source], "DEPENDS_ON", ids[target])
        relationships.append(dict(zip(("spdxElementId", "relationshipType", "relatedSpdxElement"), pair)))
    moment = datetime.datetime.fromtimestamp(created, datetime.timezone.utc)
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"knarr-{version}",
        "documentNamespace": f"https://knarr.io/spdx/knarr-{version}-{created}",
        "creationInfo": {
            "created": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: knarr-sbom", "Organization: Knarr developers"],
        },
        "packages": [knarr] + [described(packages[key], checksums, version) for key in listed],
        "relationships": relationships,
    }


def notices(metadata):
    """The licence files of all crates in the binary, which most licences want to go with it; equal ones once."""
    packages = {package["id"]: package for package in metadata["packages"]}
    _, inside, _, _ = graph(metadata)
    texts = {}
    for package in sorted((packages[key] for key in inside), key=lambda p: (p["name"], p["version"])):
        if package["source"] is None:
            continue
        folder = pathlib.Path(package["manifest_path"]).parent
        found = sorted(path for path in folder.iterdir() if path.is_file() and NOTICES.match(path.name))
        crate = f"{package['name']} {package['version']} ({licence(package)})"
        for path in found:
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(crate)
        if not found:
            authors = ", ".join(package["authors"]) or "its authors"
            texts.setdefault(f"Copyright {authors}; {package['repository'] or ''}", []).append(crate)
    rule = "=" * 78
    parts = [f"{rule}\n" + "\n".join(dict.fromkeys(crates)) + f"\n{rule}\n\n{text}\n" for text, crates in texts.items()]
    return "Knarr contains the following software of others.\n\n" + "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", required=True)
    parser.add_argument("--sbom", required=True, type=pathlib.Path)
    parser.add_argument("--notices", required=True, type=pathlib.Path)
    options = parser.parse_args()
    command = ["cargo", "metadata", "--format-version=1", "--offline", "--locked", f"--filter-platform={TARGET}"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    created = int(os.environ.get("SOURCE_DATE_EPOCH") or datetime.datetime.now().timestamp())
    bill = document(metadata, lock, options.version, created)
    options.sbom.write_text(json.dumps(bill, indent=1) + "\n")
    options.notices.write_text(notices(metadata))


if __name__ == "__main__":
    main()
