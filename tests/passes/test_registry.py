"""Every pass's file is in PASSES under its own name; helper modules define no pass. Our errors leave every pass."""

import subprocess
import sys
from pathlib import Path

import pytest
import tvm

import tvm_split.passes
from tvm_split.errors import SplitError
from tvm_split.passes import PASSES, load_pass


def test_one_name_in_three_spellings():
    files = [path for path in Path(tvm_split.passes.__file__).parent.glob("*.py") if path.stem != "__init__"]
    decorated = {path.stem for path in files if "\n@tvm.transform.module_pass(" in path.read_text()}
    assert decorated == {name.replace("-", "_") for name in PASSES}
    assert all(PASSES[name] == "".join(map(str.capitalize, name.split("-"))) for name in PASSES)
    assert all(load_pass(name).__module__ == f"tvm_split.passes.{name.replace('-', '_')}" for name in PASSES)


def test_the_list_of_passes_does_not_import_tvm():
    code = "import sys, tvm_split.passes; sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("kind", [SplitError, *SplitError.__subclasses__()])
def test_our_errors_leave_a_pass_as_they_are(kind):
    @tvm.transform.module_pass(opt_level=0, name="Refuse")
    def refuse(mod, _ctx):
        raise kind("no")

    with pytest.raises(SplitError, match=r"^no$") as caught:
        tvm.transform.Sequential([refuse])(tvm.IRModule())
    assert caught.type is kind
