"""benchmarks/board_payload.py up to the board: all of it runs, with this machine's library in the board's place."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tvm_split.errors import BuildError
from tvm_split.linker import find_linker
from tvm_split.runtime.executor import Half

AARCH64 = b"\xb7\x00"  # ELF's e_machine
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "board_payload.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("board_payload", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its own module up
    spec.loader.exec_module(module)
    return module


def test_every_row_up_to_the_board(script, capsys):
    try:
        find_linker("aarch64")
    except BuildError as error:
        pytest.skip(str(error))
    asked = []

    def board(library, inputs):
        assert library.read_bytes()[18:20] == AARCH64
        asked.append(library)
        return Half(library.with_name("host.so")).run(inputs)[0]

    rows = script.compare("magika", None, cuts=1, widths=[8, 4], board=board)
    assert len(asked) == len(rows) == 2
    wide, narrow = rows
    assert (wide["bits"], narrow["bits"]) == (8, 4) and wide["payload_bytes"] == 2 * narrow["payload_bytes"] > 0
    assert all(row["bytes_different"] == row["largest_step"] == 0 for row in rows)
    assert capsys.readouterr().out.count("\n") == len(rows)


def test_integer_halves_with_weights_of_few_bits(script):
    """Halves that compute on integers: other codes than the float half's, and many of them."""
    halves = []

    def board(library, inputs):
        halves.append(Half(library.with_name("host.so")).run(inputs)[0])
        wrong = halves[-1].copy()
        wrong[3] ^= 1
        return wrong

    (row,) = script.compare("magika", None, cuts=1, widths=[8], board=board, weights=[2, 4, 8])
    (floats,) = script.compare("magika", None, cuts=1, widths=[8], board=board)
    assert row["bytes_different"] == row["largest_step"] == 1, "the board's one wrong bit"
    assert (row["weights"], floats["weights"]) == ("2,4,8", "float32")
    assert len(np.unique(halves[0])) > 16 and not np.array_equal(*halves), "weights of 2 bits lose something"


def test_without_a_board_it_says_how_to_get_one(script, monkeypatch, capsys):
    monkeypatch.delenv("TVM_SPLIT_TRACKER", raising=False)
    monkeypatch.setattr("sys.argv", ["board_payload.py"])
    assert script.main() == 2
    assert "emulated_board.py up" in capsys.readouterr().err
