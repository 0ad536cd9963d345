"""What the tests of targets and links share: a user's own folder of files."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_split.targets.load import ENVIRONMENT, PACKAGED


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A user's folder, named in the environment; returns a function that writes a target, or `text`, under a name."""
    (tmp_path / "home").mkdir()
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "own"))
    packaged = (PACKAGED / "raspberry-pi-4.toml").read_text()

    def write(name: str, folder: str = "own", text: str = packaged) -> Path:
        path = tmp_path / folder / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"(?m)^name = .*$", f'name = "{name}"', text))
        return path

    return write
