"""Builds the function for Lambda and makes of it what a release consists of: `make package`.

For each architecture: a zip file that Lambda takes as it is, a template that deploys this zip file, a second template
that takes the zip file from a bucket, and a list of what is in the zip file (an SBOM, CycloneDX). What would not start
on Lambda, or is larger than it may be, fails. docs/install.md says how each file is used.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

NAME = "erase-user-files"
PROJECT = Path(__file__).resolve().parents[2]

# What a cold start has to load: https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html
# A little more than the x86_64 package of 2026-11-30: a larger jump needs a reason.
BINARY_BYTES_MAX = 9_000_000
ZIP_BYTES_MAX = 4_400_000

# The runtime provided.al2023 has this one: https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html
GLIBC_MAX = (2, 34)
# All of them are parts of glibc. That the runtime has another one is nowhere promised.
LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt|libutil)\.so\.\d|ld-linux-\S+")

# In std, and only in programs whose panics unwind. With "abort", one panic would take the whole batch of messages.
UNWINDS = b"Rust panics must be rethrown"

# https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html
MACHINES = {"arm64": 183, "x86_64": 62}
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
SECTION_SYMBOLS, SECTION_DYNAMIC, SECTION_NEEDED_VERSIONS = 2, 6, 0x6FFFFFFE
DYNAMIC_NEEDED = 1

# Lines of template.yaml that a packaged template has otherwise, each of them exactly once.
CODE = re.compile(r"^      CodeUri: \.$", re.M)
ARCHITECTURE = re.compile(r"^      Architectures: \[(.*)\]$", re.M)
METADATA, PARAMETERS = re.compile(r"^Metadata:$", re.M), re.compile(r"^Parameters:$", re.M)
LICENCE_FILES = re.compile(r"(?i)(licen[cs]e|copying|copyright|notice|unlicense)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("architectures", nargs="+", metavar="ARCH", help=" or ".join(TARGETS), choices=list(TARGETS))
    parser.add_argument("--author", help="author in the Serverless Application Repository, [a-z0-9-]")
    parser.add_argument("--binary", type=Path, help="a binary of one ARCH, without build, SBOM and limits: for tests")
    parser.add_argument("--into", type=Path, help="another folder than target/package")
    given = parser.parse_args()
    if given.binary and len(given.architectures) != 1:
        parser.error("--binary is of one ARCH")
    if given.author and not re.fullmatch(r"[a-z0-9](-?[a-z0-9]){0,126}", given.author):
        parser.error("--author must be lower-case letters and digits, with single hyphens between them")
    binary = given.binary and given.binary.resolve()
    into = given.into and given.into.resolve()
    os.chdir(PROJECT)
    target_folder, version = about_project()
    folder = into or target_folder / "package"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, faults = [], []
    for architecture in given.architectures:
        built = binary or build(architecture, target_folder)
        stem = f"{NAME}-{version}-{architecture}"
        package = folder / f"{stem}.zip"
        write_zip(package, built)
        write_templates(folder, stem, architecture, version, given.author)
        checked = Binary(built.read_bytes())
        found = [*different_architectures(folder, stem)]
        if not binary:
            write_bill(folder / f"{stem}.cdx.json", architecture, checked.data)
            found += checked.faults(package.stat().st_size)
        faults += [f"{architecture}: {fault}" for fault in found]
        rows.append((architecture, len(checked.data), package.stat().st_size, checked.glibc_text()))
    write_licences(folder, given.architectures)
    report(folder, rows)
    if faults:
        sys.exit("\nNot fit for Lambda, or not for this project:\n" + "\n".join(f"  {fault}" for fault in faults))


def about_project():
    about = json.loads(run("cargo", "metadata", "--no-deps", "--locked", "--format-version", "1", capture=True))
    (version,) = (package["version"] for package in about["packages"] if package["name"] == NAME)
    return Path(about["target_directory"]), version


def build(architecture, target_folder):
    """In a folder of its own: other flags than those of `make build` would make each build the other's again."""
    print(f"Building for {architecture}; the first time takes many minutes.", flush=True)
    folder = target_folder / "package-build"
    options = ["--release", "--locked", "--quiet", "--target", TARGETS[architecture], "--bin", NAME]
    options += ["--lambda-dir", str(folder / architecture)]
    # Makes the folders that are to be hidden.
    run("cargo", "fetch", "--locked", "--quiet", "--target", TARGETS[architecture])
    options += ["--config", f"build.rustflags={json.dumps(hidden_folders())}"]
    # Flags of the environment would take the place of these, and of the processor that cargo-lambda builds for.
    given = {"CARGO_TARGET_DIR": str(folder)}
    run("cargo", "lambda", "build", *options, given=given, without=("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"))
    return folder / architecture / NAME / "bootstrap"


def hidden_folders():
    """Takes the folders of this machine out of the binary, so that another one builds the same bytes."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    # One for each registry or mirror. Of several flags that fit, the last counts.
    registries = sorted((home / "registry" / "src").glob("*/"))
    folders = [(home, "/cargo"), *((folder, "/cargo/registry") for folder in registries), (PROJECT, "/project")]
    return [f"--remap-path-prefix={folder}={name}" for folder, name in folders]


def write_zip(path, binary):
    """Write the same bytes for the same binary: without the time and the owner of this machine."""
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix: the mode counts, and Lambda must be allowed to run it.
    entry.external_attr = 0o100755 << 16
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(entry, binary.read_bytes(), compresslevel=9)


def write_templates(folder, stem, architecture, version, author):
    """Write template.yaml for this zip file: one refers to the file next to it, the other to an object in a bucket."""
    template = (PROJECT / "template.yaml").read_text()
    template = replaced(template, ARCHITECTURE, f"      Architectures: [{architecture}]")
    application = f"""\
Metadata:
  # For `sam publish`: https://docs.aws.amazon.com/serverlessrepo/latest/devguide/
  AWS::ServerlessRepo::Application:
    Name: {NAME}
    Description: Deletes everything that one user stored in S3, in as many invocations as necessary, and verifies the result.
    SpdxLicenseId: Apache-2.0
    LicenseUrl: LICENSE
    ReadmeUrl: README.md
    Labels: [s3, gdpr, erasure, sqs, lambda]
    SemanticVersion: {version}
    {f"Author: {author}" if author else "# Author is missing. The publisher sets it: make package AUTHOR=..."}"""
    nearby = replaced(template, CODE, f"      CodeUri: {stem}.zip")
    (folder / f"{stem}.yaml").write_text(replaced(nearby, METADATA, application))
    parameters = f"""\
Parameters:
  CodeBucket:
    Type: String
    Description: Name of the bucket that contains the function's zip file, in the region of the stack.
    AllowedPattern: '[a-z0-9][a-z0-9.\\-]{{1,61}}[a-z0-9]'
    ConstraintDescription: must be a bucket name.
  CodeKey:
    Type: String
    Default: {stem}.zip
    Description: Key of the zip file in CodeBucket. Like the file of the release, it must end with the architecture.
    AllowedPattern: '.*-{architecture}\\.zip'
    ConstraintDescription: must end with -{architecture}.zip."""
    apart = replaced(template, CODE, "      CodeUri: {Bucket: !Ref CodeBucket, Key: !Ref CodeKey}")
    (folder / f"{stem}-bucket.yaml").write_text(replaced(apart, PARAMETERS, parameters))
    for name in ("LICENSE", "README.md", "alerts-slack.yaml"):
        shutil.copyfile(PROJECT / name, folder / name)


def replaced(text, pattern, new):
    text, count = pattern.subn(lambda _: new, text)
    if count != 1:
        sys.exit(f"expected one line {pattern.pattern} in template.yaml, found {count}")
    return text


def different_architectures(folder, stem):
    """Reads what was written: a template that says another architecture than its zip file deploys, and never runs."""
    with zipfile.ZipFile(folder / f"{stem}.zip") as package:
        machine = Binary(package.read("bootstrap")).machine
    for path in sorted(folder.glob(f"{stem}*.yaml")):
        (said,) = ARCHITECTURE.findall(path.read_text())
        if MACHINES.get(said) != machine:
            yield f"{path.name} says {said}, and the number of the binary's machine in ELF is {machine}"


def write_licences(folder, architectures):
    """The licences of all crates that are linked, with the texts that their packages hold, each text once."""
    crates, texts = {}, {}
    for architecture in architectures:
        options = ["--locked", "--format-version", "1", "--filter-platform", TARGETS[architecture]]
        known = json.loads(run("cargo", "metadata", *options, capture=True))["packages"]
        linked = linked_crates(architecture)
        crates |= {(one["name"], one["version"]): one for one in known if (one["name"], one["version"]) in linked}
    for (name, version), crate in sorted(crates.items()):
        if not (crate["license"] or crate["license_file"]):
            sys.exit(f"{name} {version} names no licence")
        for path in sorted(Path(crate["manifest_path"]).parent.iterdir()):
            if path.is_file() and (LICENCE_FILES.match(path.name) or path.name == crate["license_file"]):
                texts.setdefault(path.read_text(errors="replace").strip(), []).append(f"{name} {version}")
    having = {name for names in texts.values() for name in names}
    lines = [
        f"Software of others in {NAME}.",
        "The Rust standard library is linked as well: MIT OR Apache-2.0, https://www.rust-lang.org/policies/licenses",
        "",
    ]
    for (name, version), crate in sorted(crates.items()):
        note = "" if f"{name} {version}" in having else " (its package holds no text of the licence)"
        lines.append(f"{name} {version}: {crate['license'] or crate['license_file']}{note}")
    for text, names in texts.items():
        lines += ["", "=" * 80, *sorted(set(names)), "-" * 80, text]
    (folder / "THIRD-PARTY-LICENSES.txt").write_text("\n".join(lines) + "\n")


def write_bill(path, architecture, binary):
    """What the binary is made of. cargo-cyclonedx writes it beside Cargo.toml."""
    written = PROJECT / f"{NAME}_bin.cdx.json"
    options = ["--describe", "binaries", "--format", "json", "--spec-version", "1.5", "--no-build-deps", "--quiet"]
    # With a time given, it takes no random serial number either: the same commit has the same bill.
    time = os.environ.get("SOURCE_DATE_EPOCH") or commit_time()
    run("cargo", "cyclonedx", *options, "--target", TARGETS[architecture], given={"SOURCE_DATE_EPOCH": time})
    bill = json.loads(written.read_text().replace(f"file://{PROJECT}", "file:///project"))
    written.unlink()
    # It also lists what some feature of some package would bring. Cargo's own resolver knows what is linked.
    linked = linked_crates(architecture)
    bill["components"] = [crate for crate in bill["components"] if (crate["name"], crate["version"]) in linked]
    if len(bill["components"]) != len(linked):
        sys.exit(f"{path.name} lists {len(bill['components'])} crates, but {len(linked)} are linked")
    product = bill["metadata"]["component"]
    product["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(binary).hexdigest()}]
    known = {product["bom-ref"], *(crate["bom-ref"] for crate in bill["components"])}
    bill["dependencies"] = [
        {"ref": edge["ref"], "dependsOn": [to for to in edge.get("dependsOn", []) if to in known]}
        for edge in bill["dependencies"]
        if edge["ref"] in known
    ]
    path.write_text(json.dumps(bill, indent=2) + "\n")


def commit_time():
    """Of an unpacked archive nothing tells a time."""
    try:
        asked = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True)
    except FileNotFoundError:
        return "0"
    return asked.stdout.strip() or "0"


def linked_crates(architecture):
    """Name and version of each, without procedural macros and build dependencies: they run at build time only."""
    options = ["--locked", "--edges", "normal,no-proc-macro", "--target", TARGETS[architecture]]
    lines = run("cargo", "tree", *options, "--package", NAME, "--prefix", "none", "--no-dedupe", capture=True)
    crates = {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, lines.splitlines())}
    return {crate for crate in crates if crate[0] != NAME}


class Binary:
    """What the system that starts a program would read of it."""

    def __init__(self, data):
        self.data = data
        if data[:6] != b"\x7fELF\x02\x01":
            sys.exit("bootstrap is no 64-bit little-endian ELF file")
        (self.machine,) = struct.unpack_from("<H", data, 18)
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        # Name, type, flags, address, offset, size, link, information, alignment, size of an entry.
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + number * size) for number in range(count)]

    def faults(self, zip_bytes):
        if too_new := [name for name in self.glibc() if version_of(name) > GLIBC_MAX]:
            yield f"needs {', '.join(too_new)}; provided.al2023 has glibc {dotted(GLIBC_MAX)}"
        if others := [name for name in self.libraries() if not LIBRARIES.fullmatch(name)]:
            yield f"needs {', '.join(others)}, which provided.al2023 may not have"
        if any(section[1] == SECTION_SYMBOLS for section in self.sections):
            yield "has its symbols: strip is not set in profile.release"
        if UNWINDS not in self.data:
            yield "aborts when it panics: profile.release must say panic = \"unwind\""
        if len(self.data) > BINARY_BYTES_MAX:
            yield f"the binary has {len(self.data):,} bytes, at most {BINARY_BYTES_MAX:,} are allowed"
        if zip_bytes > ZIP_BYTES_MAX:
            yield f"the zip file has {zip_bytes:,} bytes, at most {ZIP_BYTES_MAX:,} are allowed"

    def libraries(self):
        for _, kind, _, _, offset, size, link, *_ in self.sections:
            if kind == SECTION_DYNAMIC:
                for tag, value in struct.iter_unpack("<QQ", self.data[offset : offset + size]):
                    if tag == DYNAMIC_NEEDED:
                        yield self.text(link, value)

    def glibc(self):
        """Names of versions that some symbol needs, as in GLIBC_2.28."""
        names = set()
        for _, kind, _, _, offset, _, link, files, *_ in self.sections:
            if kind == SECTION_NEEDED_VERSIONS:
                for _ in range(files):
                    _, count, _, first, following = struct.unpack_from("<HHIII", self.data, offset)
                    place = offset + first
                    for _ in range(count):
                        _, _, _, name, after = struct.unpack_from("<IHHII", self.data, place)
                        names.add(self.text(link, name))
                        place += after
                    offset += following
        return sorted((name for name in names if name.startswith("GLIBC_")), key=version_of)

    def glibc_text(self):
        return dotted(version_of(self.glibc()[-1])) if self.glibc() else "none"

    def text(self, section, offset):
        start = self.sections[section][4] + offset
        return self.data[start : self.data.index(b"\0", start)].decode()


def version_of(name):
    """GLIBC_PRIVATE and GLIBC_ABI_DT_RELR are no numbers: never assume that they are there."""
    numbers = name.removeprefix("GLIBC_").split(".")
    return tuple(map(int, numbers)) if all(number.isdigit() for number in numbers) else (99,)


def dotted(version):
    return ".".join(map(str, version))


def report(folder, rows):
    print(f"\n{'':8} {'binary':>13} {'zip':>13}  glibc")
    for architecture, binary_bytes, zip_bytes, glibc in rows:
        print(f"{architecture:8} {binary_bytes:>13,} {zip_bytes:>13,}  {glibc}")
    print(f"{'at most':8} {BINARY_BYTES_MAX:>13,} {ZIP_BYTES_MAX:>13,}  {dotted(GLIBC_MAX)}\n")
    files = sorted(folder.iterdir())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    print(f"In {os.path.relpath(folder)}/, also as SHA256SUMS:", *lines, sep="\n", flush=True)


def run(*parts, capture=False, given=None, without=()):
    environment = {name: value for name, value in os.environ.items() if name not in without} | (given or {})
    # Cargo's own variable: within `cargo test`, it is the cargo that runs the tests.
    program = os.environ.get("CARGO", "cargo") if parts[0] == "cargo" else parts[0]
    done = subprocess.run([program, *parts[1:]], env=environment, stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode:
        sys.exit(f"failed: {' '.join(parts)}")
    return done.stdout


if __name__ == "__main__":
    main()
