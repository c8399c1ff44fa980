"""What is in the two programs: every crate with its licence, as text or as a CycloneDX list.

Usage: python3 components.py licences|sbom [options of cargo build] > FILE

Run it in the repository, with the options with which the programs were built. Crates that only run
while they are built are listed too. Needs cargo and Python 3.11.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

PROGRAMS = ("coordinator", "site-agent")
#: Beginnings of the names of files that hold a licence or a notice.
LEGAL = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT")


def metadata() -> dict:
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    return json.loads(subprocess.check_output(command))


def linked(found: dict, options: list[str]) -> list[dict]:
    """The packages below the two programs, without what only tests use, by name and version."""
    command = ["cargo", "tree", "--locked", "--edges", "normal,build", "--prefix", "none"]
    command += ["--format", "{p}", *options]
    for program in PROGRAMS:
        command += ["--package", program]
    names = set()
    for line in subprocess.check_output(command, text=True).splitlines():
        # Such as "serde v1.0.229" or "metrics v0.1.0 (/folder)".
        if line:
            name, version = line.split()[:2]
            names.add((name, version.removeprefix("v")))
    chosen = []
    for package in found["packages"]:
        if (package["name"], package["version"]) in names:
            chosen.append(package)
    return sorted(chosen, key=lambda package: (package["name"], package["version"]))


def licence(package: dict) -> str:
    # Old manifests separate alternatives by a slash.
    return (package["license"] or "see its files").replace("/", " OR ")


def licences(packages: list[dict]) -> str:
    """Each crate, and each text once, with the crates that it belongs to."""
    lines = ["Lacuna contains these libraries. Their licence texts follow the list.", ""]
    crates_of_text: dict[str, list[str]] = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        source = package["repository"] or package["homepage"] or ""
        lines.append(f"{name}: {licence(package)} {source}".rstrip())
        folder = Path(package["manifest_path"]).parent
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.upper().startswith(LEGAL):
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                crates_of_text.setdefault(text, []).append(name)
    for text, crates in crates_of_text.items():
        lines += ["", "=" * 80, ", ".join(crates), "=" * 80, "", text]
    return "\n".join(lines)


def sbom(found: dict, packages: list[dict]) -> str:
    checksums = {}
    with open(Path(found["workspace_root"], "Cargo.lock"), "rb") as file:
        for package in tomllib.load(file)["package"]:
            checksums[package["name"], package["version"]] = package.get("checksum")
    components = []
    versions = set()
    for package in packages:
        name, version = package["name"], package["version"]
        if name in PROGRAMS:
            versions.add(version)
        component = {
            "type": "application" if name in PROGRAMS else "library",
            "name": name,
            "version": version,
            "purl": f"pkg:cargo/{name}@{version}",
            "bom-ref": f"{name}@{version}",
        }
        if package["license"]:
            component["licenses"] = [{"expression": licence(package)}]
        checksum = checksums.get((name, version))
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
    [version] = versions
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "lacuna", "version": version}},
        "components": components,
    }
    # The same content has the same number, so that a release can be built again bit by bit.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    content["serialNumber"] = f"urn:uuid:{number}"
    return json.dumps(content, indent=1)


def main() -> None:
    if sys.argv[1:2] not in (["licences"], ["sbom"]):
        sys.exit(__doc__)
    found = metadata()
    packages = linked(found, sys.argv[2:])
    print(licences(packages) if sys.argv[1] == "licences" else sbom(found, packages))


if __name__ == "__main__":
    main()
