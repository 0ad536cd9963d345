"""Refuse to test another checkout's packages, and check every pass's result."""

from pathlib import Path

import pytest

import tvm_split
import tvm_split.passes
import tvm_split.targets

ROOT = Path(__file__).resolve().parent.parent
PLACES = {tvm_split: "tvm_split", tvm_split.passes: "passes", tvm_split.targets: "targets"}

for _package, _folder in PLACES.items():
    _found = Path(_package.__file__).resolve().parent
    if _found != ROOT / _folder:
        pytest.exit(
            f"{_package.__name__} comes from {_found}, not {ROOT / _folder}: run `pip install -e .`", returncode=2
        )
