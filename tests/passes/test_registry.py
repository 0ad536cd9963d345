"""Every pass's file is in PASSES under its own name; helper modules define no pass."""

from pathlib import Path

import tvm_split.passes
from tvm_split.passes import PASSES, load_pass


def test_one_name_in_three_spellings():
    files = [path for path in Path(tvm_split.passes.__file__).parent.glob("*.py") if path.stem != "__init__"]
    decorated = {path.stem for path in files if "\n@tvm.transform.module_pass(" in path.read_text()}
    assert decorated == {name.replace("-", "_") for name in PASSES}
    assert all(PASSES[name] == "".join(map(str.capitalize, name.split("-"))) for name in PASSES)
    assert all(load_pass(name).__module__ == f"tvm_split.passes.{name.replace('-', '_')}" for name in PASSES)
