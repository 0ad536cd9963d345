"""What the benchmarks share: figures printed at the end of a run, and the versions in its JSON."""

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

PACKAGES = ("tvm-split", "apache-tvm", "apache-tvm-ffi", "networkx", "numpy", "scipy")
#: counted at the start: a thread pool of one thread binds the process to a core
CORES = len(os.sched_getaffinity(0))
LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Keeps a line to be printed below the results."""
    return pytestconfig.stash.setdefault(LINES, []).append


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["cores"] = CORES
    machine_info["versions"] = {name: version(name) for name in PACKAGES}
