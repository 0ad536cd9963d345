"""The whole way through, as the command line and build scripts call it: model -> plan -> bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_split import accuracy, calibrate, data, frontend, pipeline
from tvm_split.accuracy import Accuracy
from tvm_split.bundle import Bundle
from tvm_split.choice import (
    SWEEP,
    Scored,
    acceptable,
    baselines,
    choose,
    in_order,
    label_of,
    no_split_warnings,
    shortlist,
)
from tvm_split.errors import PlanError
from tvm_split.extract import graph as extract_graph
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.preprocess import Preprocess
from tvm_split.plan import PLANNERS
from tvm_split.plan.bandwidths import Span, envelope
from tvm_split.plan.problem import Candidate, Problem, Side
from tvm_split.profile.source import costs_of
from tvm_split.targets import load_link, load_target

if TYPE_CHECKING:
    import tvm

Progress = Callable[[str], None]
Batches = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Request:
    """What a user asks for. `costs` is "roofline", "measured" (this machine stands for both sides, stated in a
    warning), or two costs files for edge and cloud."""

    model: Any
    edge: str = "raspberry-pi-4"
    cloud: str = "c5.xlarge"
    link: str = "4g"
    data: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preprocess: str | None = None
    cut_bits: tuple[int, ...] = (2, 4, 8)
    memory_bytes: int | None = None
    pins: Mapping[str, Side] = field(default_factory=dict)
    tensor_bits: Mapping[str, int] = field(default_factory=dict)
    strategy: str = "auto-split"
    result_at: Side = "edge"
    costs: str | tuple[Path, Path] = "roofline"
    min_agreement: float = 0.95
    samples: int = 8
    seed: int = 0


@dataclass(frozen=True)
class PlanResult:
    request: Request
    graph: Graph
    problem: Problem
    chosen: Scored
    candidates: tuple[Scored, ...]
    spans: tuple[Span, ...]
    warnings: tuple[str, ...]
    module: tvm.IRModule
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class CompileResult:
    plan: PlanResult
    bundle: Bundle


def quiet(_text: str) -> None:
    """No progress wanted."""


def prepare(request: Request) -> tuple[tvm.IRModule, Graph]:
    """The module of layers of the request's model, and its graph."""
    mod = frontend.load(request.model, shapes=request.shapes)
    if request.preprocess:
        mod = Preprocess(PreprocessSpec.named(request.preprocess))(mod)
    mod = pipeline.layers()(mod)
    return mod, extract_graph(mod, model_name(request.model))


def model_name(model: Any) -> str:
    return str(model).removeprefix("zoo:").split("/")[-1] if isinstance(model, str | Path) else "network"


def plan(request: Request, progress: Progress = quiet) -> PlanResult:
    """Plan the request: every kind of answer priced in one table, the finalists' accuracy measured, one chosen.

    PlanError when the planner is unknown or nothing satisfies memory and pins; ModelError, TargetError, CostError and
    DataError for the inputs that are wrong.
    """
    if request.strategy not in PLANNERS:
        raise PlanError(f"there is no planner '{request.strategy}'; the planners are {', '.join(sorted(PLANNERS))}")
    link = load_link(request.link)
    edge, cloud = load_target(request.edge), load_target(request.cloud)  # a wrong name is told before any work
    progress(f"reading {model_name(request.model)}")
    mod, graph = prepare(request)
    batches, warnings = _batches(request, graph)
    edge_costs, cloud_costs, notes = costs_of(request.costs, graph, mod, edge, cloud)
    warnings += notes
    problem = Problem(
        graph, edge_costs, cloud_costs, link, cut_bits=request.cut_bits, memory_bytes=request.memory_bytes,
        pins=request.pins, tensor_bits=request.tensor_bits, result_at=request.result_at,
    )  # fmt: skip
    progress(f"planning {len(graph.layers)} layers with {request.strategy}")
    splits = shortlist(problem, PLANNERS[request.strategy])
    if not splits:
        warnings += no_split_warnings(problem)
    candidates = [*splits, *baselines(problem, batches)]
    ranges, found = _look_inside(mod, graph, candidates, batches, progress)
    scored = [Scored(c, label_of(c), a) for c, a in zip(candidates, found, strict=True)]
    chosen = choose(scored, request.min_agreement)
    allowed = [item.candidate for item in scored if acceptable(item, request.min_agreement)]
    spans = envelope(problem, allowed, *SWEEP)
    return PlanResult(request, graph, problem, chosen, in_order(scored), spans, tuple(warnings), mod, ranges)


def _look_inside(
    mod: tvm.IRModule, graph: Graph, candidates: list[Candidate], batches: Batches, progress: Progress
) -> tuple[dict[str, calibrate.Range], list[Accuracy | None]]:
    """Ranges of the tensors that the candidates quantise, and each candidate's accuracy (None: none can lose any)."""
    crossing = dict.fromkeys(part.tensor for candidate in candidates for part in candidate.crossing)
    quantisable = [name for name in crossing if graph.tensor[name].is_float and name not in graph.inputs]
    if not quantisable and not any(candidate.is_coded for candidate in candidates):
        return {}, [None] * len(candidates)
    progress("compiling each layer for this machine, to look inside the network")
    runner = LayerRunner(mod)
    progress(f"calibrating {len(quantisable)} tensors on {len(batches)} samples")
    ranges = calibrate.ranges(runner, quantisable, batches)
    return ranges, list(accuracy.measure(runner, candidates, ranges, batches, progress=progress))


def _batches(request: Request, graph: Graph) -> tuple[Batches, list[str]]:
    if request.data is not None:
        return list(data.load_batches(request.data, graph))[: request.samples], []
    return list(calibrate.random_batches(graph, min(request.samples, 4), request.seed)), [
        "No --data was given: ranges were calibrated on random inputs, and agreement says little. Give --data."
    ]


def compile(request: Request, out: Path, progress: Progress = quiet, force: bool = False) -> CompileResult:
    """`plan`, then `assemble.compile_plan`."""
    from tvm_split.assemble import compile_plan

    result = plan(request, progress)
    return CompileResult(result, compile_plan(result, out, progress, force))
