"""Which things `load` takes, what it asks of a module, and how it refuses the rest."""

import sys

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, pipeline
from tvm_split.errors import ModelError
from tvm_split.frontend import load
from tvm_split.frontend.names import Names


@I.ir_module
class Good:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            y = R.nn.relu(x)
            R.output(y)
        return y


@I.ir_module
class Symbolic:
    @R.function
    def main(x: R.Tensor(("n", 3), "float32")) -> R.Tensor(("n", 3), "float32"):
        with R.dataflow():
            y = R.nn.relu(x)
            R.output(y)
        return y


@I.ir_module
class Loose:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        y = R.nn.relu(x)
        return y


@I.ir_module
class Nameless:
    @R.function
    def network(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        return x


def test_a_module_is_checked_and_marked_and_its_original_untouched():
    before = Good.script()
    assert int(load(Good)["main"].attrs["num_input"]) == 1
    assert Good.script() == before


@pytest.mark.parametrize(
    ("mod", "message"),
    [
        (Symbolic, "'x' has the shape .*every axis must be a number"),
        (Loose, "work outside a dataflow block .binding 'y'."),
        (Nameless, "no function 'main'"),
    ],
)
def test_a_module_that_cannot_be_cut_is_refused(mod, message):
    with pytest.raises(ModelError, match=message):
        load(mod)


def test_a_module_with_weights_as_parameters_is_refused():
    mod = Good.clone()
    mod["main"] = mod["main"].with_attr("num_input", 0)
    with pytest.raises(ModelError, match="1 parameters but num_input 0: its weights are parameters"):
        load(mod)


def test_paths_and_objects_that_are_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"suffix '.h5' is not known"):
        load("network.h5")
    with pytest.raises(ModelError, match="there is no such file"):
        load(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match=r"a builtins.int is not a model"):
        load(7)
    with pytest.raises(ModelError, match="did you mean 'resnet50'"):
        load("zoo:resnet-50")


def test_a_missing_package_is_named_with_its_install_command(tmp_path, monkeypatch):
    for package, suffix, command in [
        ("tflite", ".tflite", "pip install tflite`"),
        ("torch", ".pt2", "pip install torch`"),
    ]:
        path = tmp_path / f"network{suffix}"
        path.write_bytes(b"0" * 64)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ModelError) as error:
            load(path)
        assert command in str(error.value)


def test_a_file_that_is_not_tflite(tmp_path):
    pytest.importorskip("tflite")
    path = tmp_path / "network.tflite"
    for content in (b"no model at all", b"\x20\x00\x00\x00TFL3\xff\xff"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"not a TFLite model|cut short"):
            load(path)


def test_torch_program(tmp_path, run):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).eval()
    x = torch.linspace(-1, 1, 4).reshape(1, 4)
    program = torch.export.export(network, (x,))
    torch.export.save(program, tmp_path / "network.pt2")
    for mod in (load(program), load(tmp_path / "network.pt2")):
        np.testing.assert_allclose(run(mod, x.numpy())[0], network(x).detach().numpy(), rtol=1e-5)


def test_torch_outputs_are_called_as_the_program_calls_them():
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):
        def forward(self, x):
            return {"logits": torch.relu(x), "parts": (torch.tanh(x), x + 1)}

    x = torch.ones(1, 4)
    mod = pipeline.layers()(load(torch.export.export(Two(), (x,))))
    assert extract.output_names(mod) == ("logits", "parts", "parts_2")
    one = pipeline.layers()(load(torch.export.export(torch.nn.ReLU(), (x,))))
    assert extract.output_names(one) == ("relu",)


def test_a_network_that_computes_nothing_is_refused(build):
    with pytest.raises(ModelError, match="'main' computes nothing"):
        load(build(lambda _emit, x: x, (2, 3)))


def test_names_are_distinct_identifiers():
    names = Names()
    wanted = ["/a/b.0", "a_b_0", "0", "", "é", "a_b_0_1", "a b 0"]
    assert [names.fresh(name) for name in wanted] == [
        "a_b_0",
        "a_b_0_1",
        "n0",
        "unnamed",
        "unnamed_1",
        "a_b_0_1_1",
        "a_b_0_2",
    ]


def test_a_reshaped_constant_becomes_a_constant(build):
    from tvm_split.frontend.constants import fold

    weight = np.arange(6, dtype=np.float32).reshape(2, 3)

    def body(emit, x):
        turned = emit(relax.op.permute_dims(relax.const(weight)))
        return relax.op.add(x, emit(relax.op.reshape(turned, (2, 3))))

    after = fold(build(body, (2, 3)))
    (binding,) = after["main"].body.blocks[0].bindings
    np.testing.assert_array_equal(binding.value.args[1].value.numpy(), weight.T.reshape(2, 3))
    assert isinstance(after, tvm.IRModule)
