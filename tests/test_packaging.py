"""An installed copy has every package: an editable one would not show what is missing."""

import sys
from pathlib import Path

from setuptools import distutils  # noqa: F401  # setuptools' own copy answers `distutils` from here on

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"tvm_split": "tvm_split", "passes": "tvm_split.passes", "targets": "tvm_split.targets"}


def test_every_package_is_installed(monkeypatch):
    from distutils.core import run_setup

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    listed = set(run_setup(str(ROOT / "setup.py"), stop_after="init").packages)
    for folder, package in PLACES.items():
        for file in (ROOT / folder).rglob("__init__.py"):
            below = file.parent.relative_to(ROOT / folder).parts
            assert ".".join((package, *below)) in listed
