"""The integer programme against trying every cut with every choice of bits."""

import itertools
import math
import random
import re
from dataclasses import replace

import pytest

from tvm_split.choice import no_split_warnings
from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.plan.choices import choices
from tvm_split.plan.cuts import every_cut
from tvm_split.plan.evaluate import alive, as_planned
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.exhaustive import plan_exhaustive
from tvm_split.plan.memory import smallest_split_bytes
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.pareto import pareto_front
from tvm_split.plan.precision import IntegerLayer, Precision

SEEDS = range(300)


def every_choice(problem, storages=alive):
    """Every legal cut at every choice of bits, priced. Crossing widths of tensors that cross, others of edge layers."""
    options, graph = choices(problem), problem.graph
    found = []
    for cut in every_cut(problem):
        layers = [layer for layer in graph.layers if layer.name in cut]
        weights = {layer.name: options.weights[layer.name] for layer in layers if options.weights[layer.name]}
        tensors = {name: options.held[name] for layer in layers for name in (*layer.inputs, *layer.outputs)}
        sent = graph.crossing(cut, result_at_cloud=problem.result_at == "cloud")
        crossing = {name: options.crossing[name] for name in sent}
        free = {name: widths for name, widths in tensors.items() if len(widths) > 1}
        every = [[*weights.values()], [*free.values()], [*crossing.values()]]
        only = {name: widths[0] for name, widths in tensors.items() if len(widths) == 1}
        for w, t, c in itertools.product(*(list(itertools.product(*part)) for part in every)):
            bits = Bits(
                dict(zip(weights, w, strict=True)),
                only | dict(zip(free, t, strict=True)),
                dict(zip(crossing, c, strict=True)),
            )
            found.append(evaluate_mixed(problem, cut, bits, storages))
    return found


def limited(problem, seed, every):
    """The problem with a limit on memory, on distortion, on both or on none, each that of some choice."""
    draw = random.Random(seed)
    sizes = sorted(candidate.edge_memory_bytes for candidate in every)
    losses = sorted(candidate.distortion for candidate in every)
    memory = draw.choice(sizes[: len(sizes) // 3 + 1]) if draw.random() < 0.7 else None
    loss = draw.choice(losses[: len(losses) // 3 + 1]) if draw.random() < 0.7 else None
    return replace(problem, memory_bytes=memory, precision=replace(problem.precision, max_distortion=loss))


def within(problem, candidate):
    limit, most = problem.memory_bytes, problem.precision.max_distortion
    fits = limit is None or not candidate.edge_layers or candidate.edge_memory_bytes <= limit
    return fits and (most is None or candidate.distortion <= most * (1 + 1e-9))


def joules(candidate):
    timing = candidate.predicted
    return 2.0 * timing.edge_s + 1.5 * timing.uplink_s + 1.0 * timing.downlink_s


COSTS = {
    "latency": lambda candidate: candidate.predicted.total_s,
    "payload": lambda candidate: candidate.payload_bytes,
    "energy": joules,
}


def test_exact_equals_brute_force_over_cuts_and_bits(make_mixed):
    """Cuts, weight bits, held bits, crossing bits, memory by liveness and distortion, all at once."""
    answers = tight = 0
    for seed in SEEDS:
        problem = make_mixed(seed)
        every = every_choice(problem)
        problem = limited(problem, seed, every)
        name = ("latency", "latency", "payload", "energy")[seed % 4]
        expected = [candidate for candidate in every if within(problem, candidate)]
        if not expected:
            with pytest.raises(PlanError, match="would do"):
                plan_exact(problem, live=True)
            continue
        best = plan_exact(problem, name, live=True, edge_w=2.0)[0]
        least = min(map(COSTS[name], expected))
        assert COSTS[name](best) == pytest.approx(least, rel=1e-7, abs=1e-12), f"seed {seed}, {name}"
        assert within(problem, best) and best.gap <= 1e-6, f"seed {seed}"
        answers += 1
        tight += least > min(map(COSTS[name], every))
    assert answers > 250 and tight > 60


def test_of_equally_soon_answers_the_least_distorted_at_its_cut(make_mixed):
    for seed in range(100):
        problem = make_mixed(seed)
        every = every_choice(problem)
        problem = limited(problem, seed, every)
        allowed = [candidate for candidate in every if within(problem, candidate)]
        if not allowed:
            continue
        best = plan_exact(problem, live=True)[0]
        same = [
            candidate.distortion
            for candidate in allowed
            if (candidate.edge_layers, candidate.crossing) == (best.edge_layers, best.crossing)
            and math.isclose(candidate.predicted.total_s, best.predicted.total_s, rel_tol=1e-9, abs_tol=1e-12)
        ]
        assert best.distortion <= min(same) + 1e-7, f"seed {seed}"


def test_without_precision_exact_equals_trying_every_cut(make_problem):
    for seed in SEEDS:
        problem = make_problem(seed)
        sizes = sorted(candidate.edge_memory_bytes for candidate in plan_exhaustive(problem))
        problem = replace(problem, memory_bytes=sizes[seed * 7 % len(sizes)])
        try:
            expected = plan_exhaustive(problem)[0].predicted.total_s
        except PlanError:
            with pytest.raises(PlanError, match="would do"):
                plan_exact(problem)
            continue
        assert plan_exact(problem)[0].predicted.total_s == pytest.approx(expected, rel=1e-7), f"seed {seed}"


def test_the_front_is_that_of_all_choices(make_mixed):
    """Latency against memory, and against distortion: with enough limits, every answer that no other one beats."""
    longer = 0
    for seed in range(40):
        problem = replace(make_mixed(seed, 3), pins={"l0": "edge"})
        every = every_choice(problem)
        for against, value in (
            ("memory", lambda candidate: candidate.edge_memory_bytes),
            ("distortion", lambda candidate: candidate.distortion),
        ):
            points = [(candidate.predicted.total_s, value(candidate)) for candidate in every]
            expected = []
            for total_s, size in sorted((round(total_s, 12), size) for total_s, size in points):
                if not expected or size < expected[-1][1] * (1 - 2e-5):  # nearer ones fall between two limits
                    expected.append((total_s, size))
            front = pareto_front(problem, against, points=10**6, live=True)
            assert front.is_whole
            found = [(round(candidate.predicted.total_s, 12), value(candidate)) for candidate in front.answers]
            assert [size for _, size in found] == pytest.approx([size for _, size in expected], rel=1e-6), (
                f"seed {seed}"
            )
            assert [s for s, _ in found] == pytest.approx([s for s, _ in expected], rel=1e-6, abs=1e-11)
            longer += len(found) > 2
    assert longer > 10


@pytest.fixture
def needy(make_mixed):
    """A problem whose first layer must run on the edge, with weights to quantise and without other limits."""
    problem = next(p for p in map(make_mixed, itertools.count()) if "l0" in p.precision.weight_matrix and not p.pins)
    return replace(problem, pins={"l0": "edge"})


def test_infeasible_names_what_binds_and_what_would_do(needy):
    """Memory alone, distortion alone, and both together; the numbers that the message gives are enough."""
    every = every_choice(needy, as_planned)
    smallest = min(candidate.edge_memory_bytes for candidate in every)
    finest = min(candidate.distortion for candidate in every)

    def refusal(memory, loss):
        precision = replace(needy.precision, max_distortion=loss)
        with pytest.raises(PlanError) as error:
            plan_exact(replace(needy, memory_bytes=memory, precision=precision))
        return str(error.value)

    assert f"fits in memory_bytes={smallest - 1} (--memory), whatever its bits; {smallest} bytes would do" in refusal(
        smallest - 1, None
    )
    assert f"whatever memory it has; {finest:.6g} would do: raise max_distortion" in refusal(None, finest / 2)
    at_least = min(c.edge_memory_bytes for c in every if c.distortion <= finest * (1 + 1e-9))
    assert at_least > smallest and finest > 0
    message = refusal(smallest, finest)
    assert f"at this distortion {at_least} bytes would do" in message
    loss = float(re.search(r"in this memory a distortion of (\S+) would", message)[1])
    assert loss == pytest.approx(min(c.distortion for c in every if c.edge_memory_bytes <= smallest), rel=1e-5)


def test_the_smallest_answer_of_a_warning_is_one_with_bits(make_mixed):
    """Float layers need more than layers with bits; the warning's bytes are enough, and hardly more than the least."""
    fewer = 0
    for seed in range(12):
        problem = replace(make_mixed(seed, 3), pins={}, memory_bytes=1)
        smallest = min(each.edge_memory_bytes for each in every_choice(problem, as_planned) if each.edge_layers)
        (warning,) = no_split_warnings(problem)
        told = int(re.search(r"the smallest that was found needs (\d+) bytes", warning)[1])
        assert smallest <= told <= 1.01 * smallest, f"seed {seed}"
        assert any(each.edge_layers for each in plan_exact(replace(problem, memory_bytes=told))), f"seed {seed}"
        fewer += smallest < smallest_split_bytes(replace(problem, precision=None))
    assert fewer


def test_energy_needs_all_three_powers(needy):
    with pytest.raises(PlanError, match=r"energy needs the power of the edge \(edge_w=None\)"):
        plan_exact(needy, "energy")
    without = replace(needy, link=replace(needy.link, up_w=None))
    with pytest.raises(PlanError, match=r"on link 'link' \(up_w=None, down_w=1.0\)"):
        plan_exact(without, "energy", edge_w=2.0)


def test_with_storages_the_answer_fits_and_the_gap_holds(make_mixed):
    """TVM's storages are no sum: the answer is priced with them, and is within its gap of the best."""
    missed = refused = 0
    for seed in range(150):
        problem = make_mixed(seed)
        every = every_choice(problem, as_planned)
        problem = limited(problem, seed, every)
        allowed = [candidate.predicted.total_s for candidate in every if within(problem, candidate)]
        try:
            best = plan_exact(problem)[0]
        except PlanError as error:
            assert "no answer was found" in str(error) if allowed else "no answer" in str(error)
            refused += bool(allowed)
            continue
        assert within(problem, best)
        assert best.predicted.total_s * (1 - best.gap) <= min(allowed) * (1 + 1e-7) + 1e-12, f"seed {seed}"
        missed += best.predicted.total_s > min(allowed) * (1 + 1e-7)
    assert missed <= 3 and refused <= 1


def decoding(problem, draw):
    """Kernels of packed weights take other scratch than those of 8 bits: mostly more, as they decode them."""
    known = problem.precision.integer_layers
    more = {name: max(0, each.scratch_bytes + draw.choice((-300, 300, 3000))) for name, each in known.items()}
    return {name: replace(each, packed_scratch_bytes=more[name]) for name, each in known.items()}


def other_constants(problem, draw):
    """On integers, layers without quantisable weights have other constants, and take other scratch."""
    free = [layer.name for layer in problem.graph.layers if layer.name not in problem.precision.weight_distortion]
    found = {name: IntegerLayer(0, draw.choice((0, 300, 2000)), draw.choice((0, 300, 2000))) for name in free}
    return {**problem.precision.integer_layers, **found}


def test_a_layer_that_must_decode_is_not_taken_for_one_on_floats(make_chain):
    """Integers save bytes at 8 bits and are sooner, so nothing but the scratch of 4 bits says that they may not fit."""
    problem = make_chain((50, 1))
    graph = replace(problem.graph, layers=(replace(problem.graph.layers[0], weight_bytes=400),))
    precision = Precision(
        widths=(4, 32), weight_matrix={"l1": (1, 100)}, weight_distortion={"l1": {4: 1.0}}, tensor_distortion={},
        integer=Costs("edge", "test", {"l1": 5e-4}), integer_layers={"l1": IntegerLayer(100, 4, 0, 1000)},
    )  # fmt: skip
    problem = replace(problem, graph=graph, precision=precision)
    as_it_is = evaluate_mixed(problem, ["l1"], Bits(), alive)
    best = plan_exact(replace(problem, memory_bytes=as_it_is.edge_memory_bytes - 1), live=True)[0]
    assert (best.kind, best.gap) == ("cloud-only", 0.0)


@pytest.mark.parametrize("storages", [alive, as_planned])
@pytest.mark.parametrize("taking", [decoding, other_constants])
def test_what_integers_take_is_in_the_programme(make_mixed, taking, storages):
    """Limits at which the soonest choice whose bytes it changes fits only with it, or only without, or not at all.

    With live tensors the answer is the best, and says so. With storages it seldom is not, and never hides it.
    """
    answers = missed = 0
    for seed in range(400):
        without = make_mixed(seed)
        if without.precision.integer is None:
            continue
        layers = taking(without, random.Random(seed))
        problem = replace(without, precision=replace(without.precision, integer_layers=layers))
        pairs = list(zip(every_choice(problem, storages), every_choice(without, storages), strict=True))
        other = [pair for pair in pairs if pair[0].edge_memory_bytes != pair[1].edge_memory_bytes]
        soonest = min(other, key=lambda pair: pair[0].predicted.total_s, default=())
        limits = sorted({candidate.edge_memory_bytes for candidate in soonest})
        for limit in [*limits, *(sum(limits) // 2 for _ in limits[1:])]:
            limited = replace(problem, memory_bytes=limit)
            times = [candidate.predicted.total_s for candidate, _ in pairs if within(limited, candidate)]
            if not times:
                continue
            best, least = plan_exact(limited, live=storages is alive)[0], min(times)
            assert within(limited, best), f"seed {seed}, {limit} bytes"
            assert best.predicted.total_s * (1 - best.gap) <= least * (1 + 1e-7) + 1e-12, f"seed {seed}, {limit} bytes"
            assert storages is as_planned or best.gap <= 1e-6, f"seed {seed}, {limit} bytes"
            answers += 1
            missed += best.predicted.total_s > least * (1 + 1e-7)
    assert answers > 100 and missed <= (3 if storages is as_planned else 0)


@pytest.mark.parametrize("seed", [767, 2047, 5592, 6334])
def test_a_wider_tensor_in_other_storages_is_no_gap_of_zero(make_mixed, seed):
    """Eight layers without a limit on distortion, integers no slower: yet the narrowest is not always what fits."""
    problem = make_mixed(seed, 8)
    draw = random.Random(seed)
    share = draw.choice((1, 0.5))
    integer = Costs("edge", "test", {layer.name: problem.edge.of(layer.name) * share for layer in problem.graph.layers})
    precision = replace(problem.precision, integer=integer, integer_layers={}, max_distortion=None)
    problem = replace(problem, precision=precision)
    if draw.random() < 0.5:
        cloud = {layer.name: problem.edge.of(layer.name) * 3 for layer in problem.graph.layers}
        problem = replace(problem, cloud=Costs("cloud", "test", cloud))
    found = list(some_choices(problem, draw))
    sizes = sorted({candidate.edge_memory_bytes for candidate in found})
    problem = replace(problem, memory_bytes=draw.choice(sizes[: len(sizes) // 2 + 1]))
    best = plan_exact(problem)[0]
    least = min(c.predicted.total_s for c in found if c.edge_memory_bytes <= problem.memory_bytes)
    assert best.predicted.total_s * (1 - best.gap) <= least * (1 + 1e-6)


def some_choices(problem, draw, most=300):
    """Every cut with a layer, at weights and crossing tensors of fewest bits, and up to `most` choices of held bits."""
    options, graph = choices(problem), problem.graph
    for cut in filter(None, every_cut(problem)):
        layers = [layer for layer in graph.layers if layer.name in cut]
        held = {name: options.held[name] for layer in layers for name in (*layer.inputs, *layer.outputs)}
        weights = {layer.name: options.weights[layer.name][0] for layer in layers if options.weights[layer.name]}
        crossing = {name: widths[0] for name, widths in options.crossing.items()}
        every = itertools.product(*held.values())
        if math.prod(map(len, held.values())) > most:
            every = (tuple(draw.choice(widths) for widths in held.values()) for _ in range(most))
        for chosen in every:
            yield evaluate_mixed(problem, cut, Bits(weights, dict(zip(held, chosen, strict=True)), crossing))


def test_a_time_limit_leaves_an_answer_and_its_gap(make_mixed):
    problem = make_mixed(11, 8)
    best = plan_exact(problem, time_limit_s=0.0)[0]
    assert 0 <= best.gap <= 1 and within(problem, best)
