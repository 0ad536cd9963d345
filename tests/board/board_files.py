"""Fetch what an emulated aarch64 board is made of. No root needed, nothing outside the board's folder changes.

    qemu/   qemu-aarch64-static, from Debian's qemu-user-static of this machine's architecture
    root/   Debian bookworm's python3.11:arm64 and the libraries it loads, unpacked
    site/   aarch64 wheels of TVM's runtime and of what its RPC server imports

apt-get runs on lists, status and cache inside the folder, for both architectures, so `dpkg --add-architecture` is not
needed. Every part is made beside its place and renamed when whole: an interrupted run goes on with the first missing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CODENAME = "bookworm"
QEMU = "qemu-user-static"
DEBIAN = (
    "libc6 libstdc++6 libgcc-s1 libgomp1 python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib "
    "zlib1g libssl3 libffi8 libexpat1 liblzma5 libbz2-1.0 libsqlite3-0 libncursesw6 libtinfo6 libreadline8 "
    "libuuid1 libcrypt1"
).split()
WHEELS = (
    "apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6 ml_dtypes==0.6.0 typing_extensions==4.16.0 "
    "psutil==7.2.2 cloudpickle==3.1.2 tornado==6.6.1"
).split()
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)] + ["manylinux2014_aarch64"]


class BoardError(Exception):
    """The board cannot be brought up; the message says what to do."""


def call(command: list[str], what: str, cwd: Path | None = None) -> str:
    """Run a command and return its output. BoardError with the command and the end of its output when it fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise BoardError(f"{what} failed with exit status {done.returncode}:\n  {' '.join(command)}\n{tail}")
    return done.stdout


def check_debian() -> None:
    """BoardError unless this is Debian bookworm, whose python3.11:arm64 the board runs."""
    release = Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing or f"VERSION_CODENAME={CODENAME}" not in text.splitlines():
        name = next((line for line in text.splitlines() if line.startswith("PRETTY_NAME=")), "PRETTY_NAME=unknown")
        raise BoardError(
            f"the emulated board is made of Debian {CODENAME}'s packages by apt-get and dpkg; this system says {name}"
            + (f" and lacks {', '.join(missing)}" if missing else "")
            + f". Run this in a Debian {CODENAME} container, or set TVM_SPLIT_TRACKER to the tracker of a real board"
        )


def prepare(folder: Path, say: Callable[[str], None]) -> None:
    """Make the parts that are missing or of another recipe. Safe to repeat and to interrupt."""
    for name, recipe, make in (
        ("qemu", QEMU, _make_qemu),
        ("root", " ".join(DEBIAN), _make_root),
        ("site", " ".join(WHEELS + PLATFORMS), _make_site),
    ):
        place, marker = folder / name, folder / name / ".recipe"
        if marker.exists() and marker.read_text() == recipe:
            continue
        check_debian()
        say(f"{name}: fetching")
        partial = folder / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(folder, partial)
        (partial / ".recipe").write_text(recipe)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)


def _download(folder: Path, packages: list[str]) -> list[Path]:
    """The .deb files of `package:arch` names, fetched and verified by apt into the folder's debs/."""
    apt, debs = folder / "apt", folder / "debs"
    host = call(["dpkg", "--print-architecture"], "asking dpkg for this machine's architecture").strip()
    for inner in ("lists/partial", "cache/archives/partial"):
        (apt / inner).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    debs.mkdir(exist_ok=True)
    settings = {
        "APT::Architecture": host,
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Retries": 3,
        "APT::Architectures::": "arm64",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    # One of this machine's sources may fail without harm: what counts is whether the packages are found afterwards.
    update = subprocess.run(
        ["apt-get", *options, "update"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        found = []
        for package in packages:
            listing = call(["apt-get", *options, "--print-uris", "download", package], f"finding {package}", cwd=debs)
            found.append(debs / listing.splitlines()[-1].split()[1])
        call(["apt-get", *options, "download", *packages], "downloading Debian packages", cwd=debs)
    except BoardError as error:
        raise BoardError(f"{error}\n`apt-get update` before it said:\n{update.stdout[-1500:]}") from error
    return found


def _make_qemu(folder: Path, into: Path) -> None:
    host = call(["dpkg", "--print-architecture"], "asking dpkg for this machine's architecture").strip()
    (deb,) = _download(folder, [f"{QEMU}:{host}"])
    unpacked = into / "unpacked"
    call(["dpkg", "-x", str(deb), str(unpacked)], f"unpacking {deb.name}")
    (unpacked / "usr/bin/qemu-aarch64-static").rename(into / "qemu-aarch64-static")
    shutil.rmtree(unpacked)


def _make_root(folder: Path, into: Path) -> None:
    for deb in _download(folder, [f"{name}:arm64" for name in DEBIAN]):
        call(["dpkg", "-x", str(deb), str(into)], f"unpacking {deb.name}")


def _make_site(folder: Path, into: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(into), "--no-deps", "--no-compile"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    call([*command, *WHEELS], "installing the aarch64 wheels")
