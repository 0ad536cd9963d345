"""Hidden folders of bundles: a killed process leaves one, the next bundle removes it; a living one's is spared."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tvm_split import scratch_folder
from tvm_split.bundle_folder import new_folder
from tvm_split.manifest import MANIFEST
from tvm_split.scratch_folder import locked_folder, remove_stale

WRITE = """
import sys, time
from pathlib import Path
from tvm_split.bundle_folder import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "edge.so").write_text("half of it")
    print(folder, flush=True)
    time.sleep(600)
"""


def write(path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing a bundle at `path`, and its folder."""
    made = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    return made, Path(made.stdout.readline().strip())


def test_a_killed_process_s_folder_goes_with_the_next_bundle_and_a_living_one_s_stays(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    first, dead = write(path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second, alive = write(path)
    try:
        assert not dead.exists() and (alive / "edge.so").is_file()
        with new_folder(path) as folder:
            (folder / "manifest.json").write_text("{}")
        assert (alive / "edge.so").is_file() and sorted(tmp_path.iterdir()) == sorted([alive, path])
    finally:
        second.kill()
        second.wait()


@pytest.fixture
def attic(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's name, as this process sees it."""
    monkeypatch.setattr(scratch_folder.os, "uname", lambda: SimpleNamespace(nodename="attic"))


@pytest.mark.usefixtures("attic")
@pytest.mark.parametrize(
    "name",
    [
        ".bundle.backup12",
        ".bundle.tvm-split-new-attic-",
        ".bundle.tvm-split-new-attic-k3x9q0ab.kept",
        ".other.tvm-split-new-attic-k3x9q0ab",
        ".bundle.tvm-split-new-cellar-k3x9q0ab",
        ".bundle.tvm-split-new-attic-2-k3x9q0ab",
    ],
)
def test_folders_of_another_name_or_machine_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / ".bundle.tvm-split-new-attic-k3x9q0ab").mkdir()
    remove_stale(tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.usefixtures("attic")
def test_the_only_whole_bundle_is_not_removed(tmp_path: Path) -> None:
    path, old = tmp_path / "bundle", tmp_path / ".bundle.tvm-split-old-attic-k3x9q0ab"
    (old / "bundle").mkdir(parents=True)
    remove_stale(path)
    path.mkdir()
    remove_stale(path)
    assert old.is_dir(), "an empty folder is no whole bundle"
    (path / MANIFEST).write_text("{}")
    remove_stale(path)
    assert not old.exists() and path.is_dir()


def test_a_folder_that_is_removed_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the first for a stale one before it is opened, the second before it is locked."""
    really, made = os.open, []

    def slow(folder: Path, flags: int) -> int:
        made.append(folder)
        if len(made) == 1:
            folder.rmdir()
        opened = really(folder, flags)
        if len(made) == 2:
            folder.rmdir()
        return opened

    monkeypatch.setattr(scratch_folder.os, "open", slow)
    with locked_folder(tmp_path / "bundle", "new") as folder:
        assert folder.is_dir() and folder == made[2] and [*tmp_path.iterdir()] == [folder]


@pytest.mark.usefixtures("attic")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".bundle.tvm-split-new-attic-k3x9q0ab").symlink_to(tmp_path / "mine")
    remove_stale(tmp_path / "bundle")
    assert (tmp_path / "mine").is_dir()


def test_a_folder_is_free_once_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    with locked_folder(path, "new") as folder:
        remove_stale(path)
        assert folder.is_dir()
    remove_stale(path)
    assert not folder.exists()
