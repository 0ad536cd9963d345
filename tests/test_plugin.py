"""`import tvm` alone, in a fresh process, brings the tags and the pipeline, without a warning."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tvm_split.targets

TARGETS = Path(tvm_split.targets.__file__).parent
COMPILABLE = [path.stem for path in sorted(TARGETS.glob("*.toml")) if "tvm_target" in tomllib.loads(path.read_text())]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd="/")


@pytest.fixture(scope="module")
def fresh() -> subprocess.CompletedProcess[str]:
    return _python(
        "import sys, tvm\n"
        "from tvm.relax.pipeline import PIPELINE_MAP\n"
        "print('\\n'.join(n for n in map(str, tvm.target.list_tags()) if n.startswith('tvm-split/')))\n"
        "print('tvm_split.cpu' in PIPELINE_MAP)\n"
        "print(sorted(m for m in sys.modules if m.startswith('tvm_split')))\n"
        "t = tvm.target.Target('tvm-split/raspberry-pi-5')\n"
        "print(t.attrs['mcpu'], t.attrs['num-cores'])\n"
        "print(tvm.target.Target('tvm-split/c5.xlarge').attrs['num-cores'])\n"
    )


def test_import_tvm_registers_tags_and_pipeline_without_a_warning(fresh: subprocess.CompletedProcess[str]) -> None:
    assert fresh.returncode == 0, fresh.stderr
    assert fresh.stderr == ""
    *tags, pipeline, modules, board, cloud = fresh.stdout.splitlines()
    assert sorted(tags) == sorted(f"tvm-split/{name}" for name in [*COMPILABLE, "host"])
    assert pipeline == "True"
    assert modules == "['tvm_split', 'tvm_split.caches', 'tvm_split.plugin']"
    assert board == "cortex-a76 4"
    assert cloud == "2"


def test_register_twice_is_harmless() -> None:
    done = _python("import tvm\nfrom tvm_split import plugin\nplugin.register()\nplugin.register()\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_pipeline_compiles_a_module_by_its_name() -> None:
    np = pytest.importorskip("numpy")
    import tvm
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.nn.relu(x))
        builder.emit_func_output(y)
    built = tvm.compile(builder.get(), "llvm", relax_pipeline="tvm_split.cpu")
    machine = relax.VirtualMachine(built, tvm.cpu())
    given = np.array([-1, 2, -3, 4], "float32")
    np.testing.assert_array_equal(machine["main"](tvm.runtime.tensor(given)).numpy(), np.maximum(given, 0))
