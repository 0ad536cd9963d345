"""A half on this machine: its outputs, its threads, its errors."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tvm_split.errors import BundleError
from tvm_split.runtime.executor import Half


def test_outputs_in_order(libraries, x, right):
    codes, doubled = Half(libraries["edge"]).run([x])
    assert codes.dtype == np.uint8 and (doubled == right["doubled"]).all()


def test_the_half_names_its_bundle(libraries):
    assert Half(libraries["edge"], fingerprint="ab" * 32).fingerprint() == "ab" * 32
    with pytest.raises(BundleError, match="not to"):
        Half(libraries["edge"], fingerprint="cd" * 32)


def test_a_half_that_names_no_bundle_is_refused(libraries):
    assert Half(libraries["anonymous"]).fingerprint() is None
    with pytest.raises(BundleError, match=f"belongs to no bundle by itself, not to {'ab' * 32}"):
        Half(libraries["anonymous"], fingerprint="ab" * 32)


def test_another_architecture(libraries, tmp_path):
    data = bytearray(libraries["edge"].read_bytes())
    data[18:20] = (243).to_bytes(2, "little")  # RISC-V
    (tmp_path / "foreign.so").write_bytes(data)
    with pytest.raises(BundleError, match=r"foreign\.so is compiled for ELF machine 243 and this machine is"):
        Half(tmp_path / "foreign.so")


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_pool_has_the_threads_asked_for(libraries, threads):
    """In a process of its own: a pool that runs cannot grow."""
    code = (
        "import sys; from tvm_split.runtime.executor import Half; print(Half(sys.argv[1], eval(sys.argv[2])).threads)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:tvm_split", "-c", code, str(libraries["edge"]), repr(threads)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) == (threads or len(os.sched_getaffinity(0)))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to choose from")
def test_a_process_stays_on_the_cores_that_it_was_given(libraries):
    """TVM would bind its threads to the machine's first cores."""
    code = (
        "import os, sys; cores = {max(os.sched_getaffinity(0))}; os.sched_setaffinity(0, cores);"
        "from tvm_split.runtime.executor import Half; print(Half(sys.argv[1]).threads);"
        "sys.exit(os.sched_getaffinity(0) != cores)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(libraries["edge"])], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_wrong_calls(libraries, x, tmp_path):
    half = Half(libraries["edge"])
    with pytest.raises(BundleError, match="main takes 1 inputs, 2 were given"):
        half.run([x, x])
    with pytest.raises(BundleError, match=r"failed on \(float32\[5\]\)"):
        half.run([x[:5]])
    with pytest.raises(BundleError, match="is no file"):
        Half(tmp_path / "none.so")
    with pytest.raises(BundleError, match="threads is 0"):
        Half(libraries["edge"], threads=0)
