"""What can be told of a request before minutes are spent on it: wrong names, widths, files and functions. No TVM."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_split import strategy, user_function
from tvm_split.assembly.mca import find_tool
from tvm_split.costs import Costs
from tvm_split.data_source import check_source
from tvm_split.errors import CostError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.metrics import NAMES
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.overrides import check_widths
from tvm_split.plan.precision import EDGE_WIDTHS
from tvm_split.plan.problem import Link, Problem, check_sent
from tvm_split.profile.source import Boards, check_boards
from tvm_split.request import FLOAT, Request
from tvm_split.targets import TargetSpec, load_link, load_target


def before_reading(request: Request) -> tuple[Link, TargetSpec, TargetSpec]:
    """The request's link, edge and cloud. SplitError for what is wrong whatever the network is."""
    strategy.check(request)
    link, edge, cloud = load_link(request.link), load_target(request.edge), load_target(request.cloud)
    strategy.check_power(request, edge, link)
    floats = tuple(request.edge_bits) == FLOAT
    check_widths(request.edge_bits, {} if floats else request.tensor_bits, EDGE_WIDTHS, edge.name, edge.bits)
    check_sent((*request.cut_bits, *request.tensor_bits.values()))
    check_boards(request.costs, Boards(request.tracker, request.edge_key, request.cloud_key), request.measure)
    if request.measure and request.edge_key is None and request.edge != "host":
        raise CostError(
            f"the edge '{request.edge}' cannot be timed, which --measure is to do: give --tracker HOST:PORT and "
            "--edge-key KEY of such a board, or plan for this machine with --edge host"
        )
    if request.costs == "mca":
        find_tool()
    if request.preprocess:
        PreprocessSpec.named(request.preprocess)
    if request.data is not None and not isinstance(request.data, Mapping):
        check_source(request.data)
    if request.wanted_metric not in (None, *NAMES):
        user_function.loaded(str(request.wanted_metric))
    return link, edge, cloud


def check_names(request: Request, graph: Graph) -> None:
    """PlanError for pins and bits that name nothing in the network or contradict each other."""
    free = Costs("any", "none", {layer.name: 0.0 for layer in graph.layers})
    forced_sides(Problem(graph, free, free, Link("any", 1.0, 1.0), request.cut_bits, pins=request.pins,
                   tensor_bits=request.tensor_bits))  # fmt: skip
