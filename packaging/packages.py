"""Wraps one built binary: a tarball with SHA256SUMS, a Python wheel, an npm package and the context of a container image.

    packages.py BINARY TARGET FOLDER    all that this one binary gives; TARGET is a Rust target triple
    packages.py FOLDER                  the npm package and SHA256SUMS, from the tarballs that several machines put there

Needs nothing but Python's standard library. The same binary and version give the same bytes: names are sorted, times and owners fixed.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "packaging"

# What each registry calls a Rust target: the wheel's platform tag, and Node's platform and processor. A static binary for Linux runs on
# any libc, so its wheel has the tags of both.
LINUX = "manylinux_2_17_{0}.manylinux2014_{0}.musllinux_1_1_{0}"
PLATFORMS = {
    "x86_64-unknown-linux-gnu": (LINUX.format("x86_64"), "linux", "x64"),
    "x86_64-unknown-linux-musl": (LINUX.format("x86_64"), "linux", "x64"),
    "aarch64-unknown-linux-gnu": (LINUX.format("aarch64"), "linux", "arm64"),
    "aarch64-unknown-linux-musl": (LINUX.format("aarch64"), "linux", "arm64"),
    "x86_64-apple-darwin": ("macosx_10_12_x86_64", "darwin", "x64"),
    "aarch64-apple-darwin": ("macosx_11_0_arm64", "darwin", "arm64"),
}
PAPERS = ["LICENSE", "README.md"]
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))
ZIP_TIME = (2020, 1, 1, 0, 0, 0)


def manifest(name):
    """A text of the [package] table of Cargo.toml; enough of TOML for one line of it."""
    table = (ROOT / "Cargo.toml").read_text().split("[package]", 1)[1].split("\n[", 1)[0]
    found = re.search(rf'^{name} = "(.*)"$', table, re.M)
    if not found:
        sys.exit(f"Cargo.toml: no {name}")
    return found[1]


def keywords():
    table = (ROOT / "Cargo.toml").read_text()
    return re.findall(r'"([^"]+)"', re.search(r"^keywords = \[(.*)\]$", table, re.M)[1])


NAME, VERSION, ABOUT, REPOSITORY = manifest("name"), manifest("version"), manifest("description"), manifest("repository")


def tarball(path, files):
    """`files` maps names to (bytes, mode)."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, EPOCH) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, (data, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), mode, EPOCH
            archive.addfile(entry, io.BytesIO(data))
    return path


def papers():
    return {name: (ROOT / name).read_bytes() for name in PAPERS}


def release(binary, target, folder):
    """What `cargo binstall` and people download."""
    base = f"{NAME}-v{VERSION}-{target}"
    files = {f"{base}/{name}": (data, 0o644) for name, data in papers().items()}
    files[f"{base}/{NAME}"] = (binary, 0o755)
    return tarball(folder / f"{base}.tar.gz", files)


def wheel(binary, target, folder):
    """The binary as a script of the wheel, so that installers put it on PATH (binary distribution format, PyPA)."""
    platform = PLATFORMS[target][0]
    snake = NAME.replace("-", "_")
    info = f"{snake}-{VERSION}.dist-info"
    metadata = [
        "Metadata-Version: 2.4",
        f"Name: {NAME}",
        f"Version: {VERSION}",
        f"Summary: {ABOUT}",
        f"Keywords: {','.join(keywords())}",
        "License-Expression: MIT",
        "License-File: LICENSE",
        "Requires-Python: >=3.7",
        f"Project-URL: Repository, {REPOSITORY}",
        "Description-Content-Type: text/markdown",
    ]
    tags = [f"Tag: py3-none-{part}" for part in platform.split(".")]
    about = ["Wheel-Version: 1.0", "Generator: packages.py", "Root-Is-Purelib: false", *tags]
    # PyPI shows it far from the files that it points to.
    readme = re.sub(r"\]\(([^):#]+)\)", rf"]({REPOSITORY}/blob/v{VERSION}/\1)", (ROOT / "README.md").read_text())
    readme = re.sub(r'src="([^":]+)"', rf'src="{REPOSITORY}/raw/v{VERSION}/\1"', readme)
    files = {
        f"{snake}-{VERSION}.data/scripts/{NAME}": (binary, 0o755),
        f"{info}/licenses/LICENSE": ((ROOT / "LICENSE").read_bytes(), 0o644),
        f"{info}/METADATA": (("\n".join(metadata) + "\n\n" + readme).encode(), 0o644),
        f"{info}/WHEEL": (("\n".join(about) + "\n").encode(), 0o644),
    }
    rows = []
    for name, (data, _) in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    record = f"{info}/RECORD"
    files[record] = (("\n".join([*rows, f"{record},,"]) + "\n").encode(), 0o644)
    path = folder / f"{snake}-{VERSION}-py3-none-{platform}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (data, mode) in files.items():
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, (0o100000 | mode) << 16
            archive.writestr(entry, data)
    return path


def npm(binaries, folder):
    """One package with the binaries of all targets built, and a launcher that picks one. `binaries` maps targets to bytes."""
    places = {target: f"{PLATFORMS[target][1]}-{PLATFORMS[target][2]}" for target in binaries}
    about = {
        "name": NAME,
        "version": VERSION,
        "description": ABOUT,
        "keywords": keywords(),
        "license": "MIT",
        "repository": {"type": "git", "url": f"git+{REPOSITORY}.git"},
        "bin": {NAME: "launch.js"},
        "files": ["launch.js", "bin"],
        "os": sorted({place.split("-")[0] for place in places.values()}),
        "cpu": sorted({place.split("-")[1] for place in places.values()}),
        "engines": {"node": ">=18"},
    }
    files = {f"package/{name}": (data, 0o644) for name, data in papers().items()}
    files["package/package.json"] = ((json.dumps(about, indent=2) + "\n").encode(), 0o644)
    files["package/launch.js"] = ((HERE / "npm/launch.js").read_bytes(), 0o755)
    for target, place in places.items():
        files[f"package/bin/{place}/{NAME}"] = (binaries[target], 0o755)
    return tarball(folder / f"{NAME}-{VERSION}.tgz", files)


def image(binary, folder):
    """The folder to build the container image from: `docker build FOLDER`."""
    context = folder / "image"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    (context / NAME).write_bytes(binary)
    (context / NAME).chmod(0o755)
    for name in ["LICENSE", "packaging/Dockerfile"]:
        shutil.copyfile(ROOT / name, context / Path(name).name)
    return context


def sums(folder):
    """SHA256SUMS of every file in `folder`, for `sha256sum -c`."""
    rows = [(hashlib.sha256(file.read_bytes()).hexdigest(), file.name) for file in sorted(folder.iterdir()) if file.is_file() and file.name != "SHA256SUMS"]
    path = folder / "SHA256SUMS"
    path.write_text("".join(f"{digest}  {name}\n" for digest, name in rows))
    return path


def joined(folder):
    """What is made of all tarballs in `folder` together."""
    binaries = {}
    for target in sorted(PLATFORMS):
        base = f"{NAME}-v{VERSION}-{target}"
        if (folder / f"{base}.tar.gz").is_file():
            with tarfile.open(folder / f"{base}.tar.gz") as packed:
                binaries[target] = packed.extractfile(f"{base}/{NAME}").read()
    return [npm(binaries, folder), sums(folder)]


def main():
    words, made = sys.argv[1:], []
    folder = Path(words[-1]) if words else None
    if len(words) == 3 and words[1] in PLATFORMS:
        target = words[1]
        folder.mkdir(parents=True, exist_ok=True)
        binary = Path(words[0]).read_bytes()
        made = [release(binary, target, folder), wheel(binary, target, folder)]
        made += [image(binary, folder)] if "linux" in target else []
    elif len(words) != 1 or not any(folder.glob("*.tar.gz")):
        sys.exit(f"{__doc__}\ntargets: {' '.join(PLATFORMS)}")
    for path in made + joined(folder):
        size = f"{path.stat().st_size:>9} bytes" if path.is_file() else " " * 15
        print(f"{size}  {path}")


if __name__ == "__main__":
    main()
