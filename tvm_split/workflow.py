"""The whole way through, as the command line and build scripts call it: model -> plan -> bundle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_split import accuracy, calibrate, data, frontend, pipeline
from tvm_split.accuracy import Accuracy
from tvm_split.bundle import Bundle
from tvm_split.bundle_folder import check_free
from tvm_split.calibration.equalized import better_of
from tvm_split.calibration.finalists import Finalists
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, is_quantisable
from tvm_split.cautions import constants, few_samples, fixed_widths
from tvm_split.choice import (
    SWEEP,
    Scored,
    baselines,
    choose,
    in_order,
    label_of,
    no_split_warnings,
    shortlist,
)
from tvm_split.edge_half import EdgeHalf, has_bits, rounded_module
from tvm_split.errors import PlanError
from tvm_split.extract import graph as extract_graph
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_weights import channel_axes, layer_weights
from tvm_split.passes.preprocess import Preprocess
from tvm_split.plan import PLANNERS, WITH_BITS
from tvm_split.plan.bandwidths import Span, envelope
from tvm_split.plan.memory import fits
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.plan.problem import Candidate, Problem, Side
from tvm_split.profile.source import Boards, costs_of, integer_costs
from tvm_split.quantised import Quantised
from tvm_split.quantizer import Quantizer
from tvm_split.request import FLOAT, Request
from tvm_split.scratch import with_scratch
from tvm_split.targets import TargetSpec, load_link, load_target
from tvm_split.tune.apply import database_of
from tvm_split.tvm_target import resolve

if TYPE_CHECKING:
    import tvm

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
Batches = list[Mapping[str, Any]]

#: TVM's tensor expressions and importers keep state of their own: two plans at once would mix theirs
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True, repr=False)
class PlanResult:
    """A plan: the chosen answer among those compared. `print` shows the table that the command line shows."""

    request: Request
    graph: Graph
    problem: Problem
    chosen: Scored
    candidates: tuple[Scored, ...]
    spans: tuple[Span, ...]
    warnings: tuple[str, ...]
    module: tvm.IRModule
    quantised: Mapping[Candidate, Quantised]

    def quantizers(self, candidate: Candidate) -> tuple[dict[str, Quantizer], dict[str, Quantizer]]:
        """By tensor: of those that the edge holds as integers, and of those that cross at fewer bits than their own."""
        return self.quantised[candidate].quantizers()

    def module_of(self, candidate: Candidate) -> tvm.IRModule:
        """`module` with the weights of the candidate's integer layers as they were rounded."""
        return rounded_module(self.module, self.quantised[candidate])

    def __str__(self) -> str:
        from tvm_split import report  # rich is imported for people only

        return report.plan_text(self)

    def __repr__(self) -> str:
        return f"<plan for {self.graph.name}: {self.chosen.label}, {self.chosen.candidate.predicted.total_s:.3g} s>"


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
    mod = layered(mod, request)
    return mod, extract_graph(mod, model_name(request.model))


def layered(mod: tvm.IRModule, request: Request) -> tvm.IRModule:
    """The layers of a network, as the request wants them: balanced (`equalize`) where that makes few bits lose less."""
    plain = pipeline.layers(request.winograd)(mod)
    if not request.equalize:
        return plain
    return better_of(plain, pipeline.layers(request.winograd, True)(mod), min(*request.edge_bits, INTEGER_BITS))


def model_name(model: Any) -> str:
    return str(model).removeprefix("zoo:").split("/")[-1] if isinstance(model, str | Path) else "network"


def plan(request: Request, progress: Progress = quiet) -> PlanResult:
    """Plan the request: every kind of answer priced in one table, the finalists' accuracy measured, one chosen.

    Threads take turns. PlanError when the planner is unknown or nothing satisfies memory and pins; ModelError,
    TargetError, CostError and DataError for the inputs that are wrong.
    """
    with _ONE_AT_A_TIME, database_of(request):
        return _plan(request, progress)


def _plan(request: Request, progress: Progress) -> PlanResult:
    if request.strategy not in PLANNERS:
        raise PlanError(f"there is no planner '{request.strategy}'; the planners are {', '.join(sorted(PLANNERS))}")
    if tuple(request.edge_bits) != FLOAT and request.strategy not in WITH_BITS:
        raise PlanError(
            f"the planner '{request.strategy}' chooses no bits, but edge_bits is {tuple(request.edge_bits)}; plan with "
            f"{' or '.join(WITH_BITS)} (--strategy), or leave edge_bits (--edge-bits) at 32"
        )
    link = load_link(request.link)
    edge, cloud = load_target(request.edge), load_target(request.cloud)  # a wrong name is told before any work
    progress(f"reading {model_name(request.model)}")
    mod, graph = prepare(request)
    progress("measuring the scratch memory of each layer, as compiled for the edge")
    graph, warnings = _as_compiled(mod, graph, edge)
    batches, notes = _batches(request, graph)
    warnings += notes
    boards = Boards(request.tracker, request.edge_key, request.cloud_key)
    edge_costs, cloud_costs, notes = costs_of(request.costs, graph, mod, edge, cloud, boards)
    warnings += notes
    inside = _Inside(mod, graph, batches, progress, request.rounding)
    calibrated = inside.calibrated() if tuple(request.edge_bits) != FLOAT else None
    precision = None
    if calibrated is not None:
        integer = integer_costs(edge_costs, graph, edge)
        precision = calibrated.precision(request.edge_bits, request.cut_bits, integer, {})
    problem = Problem(
        graph, edge_costs, cloud_costs, link, cut_bits=request.cut_bits, memory_bytes=request.memory_bytes,
        pins=request.pins, tensor_bits=request.tensor_bits, result_at=request.result_at,
        precision=precision,
    )  # fmt: skip
    progress(f"planning {len(graph.layers)} layers with {request.strategy}")
    splits = shortlist(problem, PLANNERS[request.strategy])
    if not splits:
        warnings += no_split_warnings(problem)
    candidates = [*splits, *baselines(problem, batches)]
    quantised, found = inside.look(candidates, request.result_at, calibrated)
    scored = [Scored(c, label_of(c), a, fits=fits(problem, c)) for c, a in zip(candidates, found, strict=True)]
    chosen = choose(scored, request.tolerance)
    allowed = [item.candidate for item in scored if request.tolerance.allows(item)]
    spans = envelope(problem, allowed, *SWEEP)
    warnings += constants(quantised[chosen.candidate]) + fixed_widths(problem, candidates)
    if request.data is not None:  # of random inputs `_batches` says worse
        warnings += few_samples(found, request.min_agreement)
    return PlanResult(
        request, graph, problem, chosen, in_order(scored), spans, tuple(warnings), mod, quantised
    )  # fmt: skip


@dataclass
class _Inside:
    """The network run on the samples, layer by layer; compiled when it is first asked for."""

    mod: tvm.IRModule
    graph: Graph
    batches: Batches
    progress: Progress
    rounding: str

    @cached_property
    def runner(self) -> LayerRunner:
        self.progress("compiling each layer for this machine, to look inside the network")
        return LayerRunner(self.mod)

    def calibrated(self) -> Calibrated:
        """Statistics of every tensor that an edge may quantise."""
        graph = self.graph
        names = [t.name for t in graph.tensors if t.dtype == "float32" and t.elements and graph.readers[t.name]]
        return self.known(Calibrated.of(self.mod, graph, {}), names)

    def known(self, calibrated: Calibrated, names: list[str]) -> Calibrated:
        """With statistics of these tensors as well."""
        wanted = [name for name in names if name not in calibrated.statistics]
        if not wanted:
            return calibrated
        self.progress(f"calibrating {len(wanted)} tensors on {len(self.batches)} samples")
        found = gather(self.runner, wanted, self.batches, channel_axes(layer_weights(self.mod)))
        return replace(calibrated, statistics={**calibrated.statistics, **found})

    def look(
        self, candidates: list[Candidate], result_at: Side, calibrated: Calibrated | None
    ) -> tuple[dict[Candidate, Quantised], list[Accuracy | None]]:
        """How the candidates' numbers are held, and each one's accuracy (None: none can lose any)."""
        crossing = dict.fromkeys(part.tensor for candidate in candidates for part in candidate.crossing)
        quantisable = [name for name in crossing if is_quantisable(self.graph.tensor[name], self.graph)]
        if not quantisable and not any(candidate.is_coded or has_bits(candidate) for candidate in candidates):
            return {candidate: Quantised() for candidate in candidates}, [None] * len(candidates)
        calibrated = self.known(calibrated or Calibrated.of(self.mod, self.graph, {}), quantisable)
        finalists = Finalists(self.mod, self.runner, self.batches, calibrated, self.rounding)
        quantised: dict[Candidate, Quantised] = {}
        halves: list[EdgeHalf | None] = []
        for candidate in candidates:
            if has_bits(candidate):
                self.progress(f"rounding the weights of '{label_of(candidate)}' and compiling it for this machine")
            found = quantised[candidate] = finalists.of(candidate)
            half = None
            if has_bits(candidate):
                half = EdgeHalf(rounded_module(self.mod, found), candidate, *found.quantizers(), result_at)
            halves.append(half)
        sent = [quantised[candidate].quantizers()[1] for candidate in candidates]
        measured = accuracy.measure(self.runner, candidates, sent, self.batches, self.progress, halves)
        return quantised, list(measured)


def _as_compiled(mod: tvm.IRModule, graph: Graph, edge: TargetSpec) -> tuple[Graph, list[str]]:
    """The graph with each layer's scratch on the edge, where code for it can be made."""
    if edge.simulated:
        return graph, []
    target = resolve(edge)
    if target.kind.name != "llvm":
        return graph, [f"'{edge.name}' is no CPU target, so the scratch memory of its kernels is not known or counted."]
    log.info("each layer as compiled for the edge, %s:", edge.name)
    return with_scratch(mod, graph, target), []


def _batches(request: Request, graph: Graph) -> tuple[Batches, list[str]]:
    if request.data is not None:
        found = data.load_labelled(request.data, graph, request.samples)
        used, total = found.batches, found.total
        cut = f"{len(used)} of the {total} samples are used; give --samples {total} for all."
        return list(used), [cut] if total is not None and len(used) < total else []
    return list(calibrate.random_batches(graph, min(request.samples, 4), request.seed)), [
        "No --data was given: ranges were calibrated on random inputs, and agreement says little. Give --data."
    ]


def compile(request: Request, out: Path, progress: Progress = quiet, force: bool = False) -> CompileResult:
    """`plan`, then `assemble.compile_plan`. BundleError before any work when `out` cannot be the bundle's folder."""
    from tvm_split.assemble import compile_plan

    check_free(out, force)
    with _ONE_AT_A_TIME:
        result = plan(request, progress)
        return CompileResult(result, compile_plan(result, out, progress, force))
