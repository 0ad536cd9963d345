"""Packaging. The folders `passes/` and `targets/` install as `tvm_split.passes` and `tvm_split.targets`."""

from setuptools import find_packages, setup

FOLDERS = {"tvm_split.passes": "passes", "tvm_split.targets": "targets"}

setup(
    packages=[
        "tvm_split",
        *(f"tvm_split.{name}" for name in find_packages("tvm_split")),
        *FOLDERS,
        *(f"{package}.{name}" for package, folder in FOLDERS.items() for name in find_packages(folder)),
    ],
    package_dir=FOLDERS,
    package_data={
        "tvm_split": ["py.typed", "*.json", "zoo/*.toml"],
        "tvm_split.targets": ["*.toml", "links/*.toml"],
    },
)
