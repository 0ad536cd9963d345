"""AssignCut: the attribute on every layer, and the cuts that it must refuse."""

import pytest
import tvm
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.errors import GraphError
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import RESULT_AT
from tvm_split.passes.partition import side_outputs, sides


@I.ir_module
class Chain:
    @R.function
    def main(x: R.Tensor((1, 1, 4, 4), "float32")) -> R.Tensor((1, 1, 4, 4), "float32"):
        with R.dataflow():
            a = R.nn.max_pool2d(x)
            b = R.nn.avg_pool2d(a)
            c = R.nn.max_pool2d(b)
            R.output(c)
        return c


LAYERS = FuseActivation()(Chain)


@pytest.mark.parametrize("edge", [(), ("a",), ("a", "b"), ("b", "a"), ("a", "b", "c")])
def test_every_layer_gets_its_side(apply_once, edge):
    marked = apply_once(AssignCut(edge), LAYERS)
    assert sides(marked) == {name: "edge" if name in edge else "cloud" for name in "abc"}


def test_a_second_cut_replaces_the_first():
    tvm.ir.assert_structural_equal(AssignCut({"a"})(AssignCut({"a", "b"})(LAYERS)), AssignCut({"a"})(LAYERS))


def test_the_result_at_the_cloud_is_written_on_main(apply_once):
    at_cloud = apply_once(AssignCut({"a"}, result_at="cloud"), LAYERS)
    assert at_cloud["main"].attrs[RESULT_AT] == "cloud" and sides(at_cloud)["a"] == "edge"
    tvm.ir.assert_structural_equal(apply_once(AssignCut({"a"}), at_cloud), AssignCut({"a"})(LAYERS))


def test_the_result_elsewhere_is_refused():
    with pytest.raises(GraphError, match="result_at is 'fog'; the outputs are wanted at 'edge' or at 'cloud'"):
        AssignCut({"a"}, result_at="fog")


def test_a_generator_of_names_serves_every_run():
    cut = AssignCut(name for name in ["a"])
    assert sides(cut(LAYERS)) == sides(cut(LAYERS)) == {"a": "edge", "b": "cloud", "c": "cloud"}


def test_a_cut_that_is_not_downward_closed_is_refused():
    with pytest.raises(GraphError, match="layer 'b' is on the edge but reads from 'a' in the cloud"):
        AssignCut({"b"})(LAYERS)


def test_an_unknown_layer_is_refused():
    with pytest.raises(GraphError, match="no layer 'z'"):
        AssignCut({"z"})(LAYERS)


def test_a_module_without_sides_says_which_pass_is_missing():
    with pytest.raises(GraphError, match=r"layer 'a' has no attribute tvm_split\.side; run the pass assign-cut first"):
        side_outputs(LAYERS)
