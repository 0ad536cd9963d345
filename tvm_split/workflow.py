"""The whole way through, as the command line and build scripts call it: model -> plan -> bundle."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tvm_split import early, strategy
from tvm_split.bundle import Bundle
from tvm_split.bundle_folder import check_free
from tvm_split.calibration.output_table import OutputTable, predicted_agreement
from tvm_split.cautions import constants, few_samples, fixed_widths, unfit_labels, without_classes
from tvm_split.choice import SWEEP, Scored, baselines, choose, in_order, no_split_warnings
from tvm_split.contest import Contest
from tvm_split.edge_half import rounded_module
from tvm_split.edge_kernels import edge_integers, with_edge_scratch
from tvm_split.errors import PlanError
from tvm_split.extract import output_names
from tvm_split.graph import Graph
from tvm_split.held_back import Divided, samples_of
from tvm_split.inside import Inside
from tvm_split.metrics import NAMES, Judge, class_count, metric_of
from tvm_split.plan.bandwidths import Span, envelope
from tvm_split.plan.baselines import UNIFORM
from tvm_split.plan.energy import energy_j, watts_of
from tvm_split.plan.interval import Interval, interval_of
from tvm_split.plan.memory import smallest_split_bytes
from tvm_split.plan.problem import AS_IT_IS, Candidate, Problem
from tvm_split.prepare import model_name, prepare
from tvm_split.profile.queueing import under_load
from tvm_split.profile.source import Boards, costs_of, integer_costs
from tvm_split.progress import Progress, quiet
from tvm_split.quantised import Quantised
from tvm_split.quantizer import Quantizer
from tvm_split.request import FLOAT, Request
from tvm_split.tune.apply import database_of

if TYPE_CHECKING:
    import tvm

    from tvm_split.finals import Final
    from tvm_split.targets import TargetSpec

#: TVM's tensor expressions and importers keep state of their own: two plans at once would mix theirs
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True, repr=False)
class PlanResult:
    """A plan: the chosen answer among those compared. `print` shows the table that the command line shows.

    checking: samples that accuracy was measured on; calibrating: others that set the quantisers, 0 if they are one.
    front, solutions: as predicted, if the request asks for them (pareto, every_solution); front_is_whole: no limit is
    left that might have another answer. edge_w: the edge's power.
    """

    request: Request
    graph: Graph
    problem: Problem
    chosen: Scored
    candidates: tuple[Scored, ...]
    spans: tuple[Span, ...]
    warnings: tuple[str, ...]
    module: tvm.IRModule
    quantised: Mapping[Candidate, Quantised]
    calibrating: int = 0
    checking: int = 1
    front: tuple[Scored, ...] = ()
    front_is_whole: bool = True
    solutions: tuple[Scored, ...] = ()
    edge_w: float | None = None

    def energy_j(self, candidate: Candidate) -> float | None:
        """Joules of the edge, as predicted; None where target or link state no power."""
        watts = watts_of(self.edge_w, self.problem.link)
        return None if watts is None else energy_j(candidate.predicted, watts)

    @property
    def interval(self) -> Interval | None:
        """Of the chosen answer's predicted total; None where times have none."""
        return interval_of(self.problem, self.chosen.candidate)

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
    """finals: those timed whole, soonest first, where the request measures some."""

    plan: PlanResult
    bundle: Bundle
    finals: tuple[Final, ...] = ()


def plan(request: Request, progress: Progress = quiet) -> PlanResult:
    """Plan the request: every kind of answer priced in one table, the finalists' accuracy measured, one chosen.

    Threads take turns. PlanError when the planner is unknown or nothing satisfies memory and pins; ModelError,
    TargetError, CostError and DataError for the inputs that are wrong.
    """
    with _ONE_AT_A_TIME, database_of(request):
        return _plan(request, progress)


def _plan(request: Request, progress: Progress) -> PlanResult:
    link, edge, cloud = early.before_reading(request)
    has_bits_to_choose = tuple(request.edge_bits) != FLOAT
    progress(f"reading {model_name(request.model)}")
    mod, graph = prepare(request)
    early.check_names(request, graph)
    samples, warnings = samples_of(request, graph)
    judge = _judge(request, mod, graph, samples)
    if judge is None:
        warnings += without_classes(graph, request.max_drop)
    boards = Boards(request.tracker, request.edge_key, request.cloud_key)
    edge_costs, cloud_costs, notes = costs_of(request.costs, graph, mod, edge, cloud, boards)
    warnings += notes
    cloud_costs = under_load(cloud_costs, request.cloud_load)
    progress("measuring the scratch memory of each layer, as compiled for the edge")
    graph, notes = with_edge_scratch(mod, graph, edge, progress)
    warnings += notes
    inside = Inside(mod, graph, samples, progress, judge, request.rounding)
    calibrated = inside.calibrated() if has_bits_to_choose or request.baselines else None
    integer = None if calibrated is None else integer_costs(request.costs, edge_costs, mod, graph, edge)
    as_integers = (
        {}
        if calibrated is None
        else edge_integers(mod, graph, edge, calibrated, weight_widths(request, edge), progress)
    )
    precision, outputs, notes = inside.precision(request, calibrated, integer, as_integers)
    warnings += notes
    problem = Problem(
        graph, edge_costs, cloud_costs, link, cut_bits=request.cut_bits, memory_bytes=request.memory_bytes,
        pins=request.pins, tensor_bits=request.tensor_bits, result_at=request.result_at,
        precision=precision,
    )  # fmt: skip
    progress(f"planning {len(graph.layers)} layers with {request.strategy}")
    planner = strategy.planner_of(request, edge)
    planned = planner(problem)
    splits = strategy.splits_of(request, problem, planned)
    if not splits:
        warnings += no_split_warnings(problem)
    predict = partial(_predicted_drop, outputs, judge)
    look = partial(inside.look, result_at=request.result_at, calibrated=calibrated)
    contest = Contest(problem, look, predict)
    contest.add([*splits, *baselines(problem, samples.checking)])
    if precision is not None:
        contest.search_budget(planner, planned, request.tolerance, progress)
    if calibrated is not None and request.baselines:
        uniform = calibrated.precision(_uniform_widths(edge), request.cut_bits, integer, {})
        contest.add_baselines(replace(uniform, integer_layers=as_integers))
    scored, quantised = contest.named(), contest.quantised
    lossless = partial(_lossless_bytes, problem)
    chosen = choose(scored, request.tolerance, strategy.cost_of(request, problem, edge), lossless)
    allowed = [item.candidate for item in scored if request.tolerance.allows(item)]
    spans = envelope(problem, allowed, *SWEEP)
    own = [item for item in in_order(scored) if not item.baseline]
    warnings += constants(quantised[chosen.candidate]) + fixed_widths(problem, [item.candidate for item in own])
    front, front_is_whole = strategy.front_of(request, problem, scored)
    calibrating = 0 if samples.shared else len(samples.calibrating)
    warnings += unfit_labels(chosen, class_count(graph))
    if request.data is not None:  # of random inputs `samples_of` says worse
        warnings += few_samples(own, chosen, request.tolerance.max_drop, calibrating, samples.shared)
    return PlanResult(
        request, graph, problem, chosen, in_order(scored), spans, tuple(warnings), mod, quantised,
        calibrating, len(samples.checking),
        front=front, front_is_whole=front_is_whole, solutions=strategy.solutions_of(request, planned),
        edge_w=edge.active_w,
    )  # fmt: skip


def weight_widths(request: Request, edge: TargetSpec) -> tuple[int, ...]:
    """Widths that the weights of an answer may have, baselines included. With floats on the edge, `tensor_bits` are
    only those of what is sent."""
    fixed = () if tuple(request.edge_bits) == FLOAT else tuple(request.tensor_bits.values())
    return (*request.edge_bits, *fixed, *(_uniform_widths(edge) if request.baselines else ()))


def _uniform_widths(edge: TargetSpec) -> tuple[int, ...]:
    """Of the uniform baselines: the target's own, all of them where it has none of these."""
    return tuple(bits for bits in UNIFORM if edge.bits is None or bits in edge.bits) or UNIFORM


def _lossless_bytes(problem: Problem) -> int | None:
    """Edge memory that an answer takes which quantises nothing; None without a limit, or where pins forbid all."""
    if problem.memory_bytes is None:
        return None
    try:
        return smallest_split_bytes(replace(problem, precision=None, cut_bits=(AS_IT_IS,), tensor_bits={}))
    except PlanError:
        return None


def _predicted_drop(outputs: OutputTable | None, judge: Judge | None, candidate: Candidate) -> float | None:
    """What the candidate's bits lose of the agreement, if each did by itself; None where that was not measured, and for
    a metric of the user's, which it does not tell of."""
    is_ours = judge is not None and judge.metric.name in NAMES
    agreement = predicted_agreement(outputs, candidate) if outputs is not None and is_ours else None
    return None if agreement is None else 1 - agreement


def _judge(request: Request, mod: tvm.IRModule, graph: Graph, samples: Divided) -> Judge | None:
    """What scores answers; None for a network without class scores, unless the user has a metric."""
    read = samples.read
    labels, places = (None, ()) if read is None else (read.labels, read.places)
    metric = metric_of(request.wanted_metric, labels, class_count(graph), places)
    return None if metric is None else Judge(metric, samples.labels, output_names(mod))


def compile(request: Request, out: Path, progress: Progress = quiet, force: bool = False) -> CompileResult:
    """`plan`, then `assemble.compile_plan`. BundleError before any work when `out` cannot be the bundle's folder."""
    from tvm_split.assemble import compile_plan

    check_free(out, force)
    with _ONE_AT_A_TIME:
        result = plan(request, progress)
        if not request.measure:
            return CompileResult(result, compile_plan(result, out, progress, force))
        from tvm_split.finals import by_the_clock

        with TemporaryDirectory(prefix="tvm-split-finals-") as folder:
            result, finals, made = by_the_clock(result, Path(folder), progress)
            return CompileResult(result, compile_plan(result, out, progress, force, made), finals)
