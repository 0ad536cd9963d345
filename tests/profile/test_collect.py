"""A profile of this machine from end to end on a small network: times are not looked at, what is done with them is."""

import json
import shutil
import time
from types import SimpleNamespace

import onnx
import pytest
import tvm
from click.testing import CliRunner
from onnx import TensorProto, helper

from tests.profile.made_records import halves, layers
from tests.profile.small_network import save
from tvm_split import extract, frontend, pipeline
from tvm_split.cli import cli
from tvm_split.costs import Costs
from tvm_split.errors import CostError, LinkDownError
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Link, Problem
from tvm_split.profile.call import LEAST_S, call_seconds
from tvm_split.profile.collect import Collector, Plan, collect, device_facts
from tvm_split.profile.collector import FAILURES, OWN_SHARE
from tvm_split.profile.device_model import DeviceModel, fit
from tvm_split.profile.draws import loaded_network
from tvm_split.profile.halves import halves_at
from tvm_split.profile.predicted import integer_model_costs, model_costs
from tvm_split.profile.records import EVERY_KIND, Records
from tvm_split.profile.timing import Bench
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

SPEC = load_target("host")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def any_noise(monkeypatch):
    """No timing is refused or waited for, whatever else this machine does."""
    monkeypatch.setattr("tvm_split.profile.noise.NOISE", 1e9)
    monkeypatch.setattr("tvm_split.profile.pace.SLOWER", 1e9)


@pytest.fixture
def records(model_file, tmp_path, any_noise, monkeypatch):
    monkeypatch.setattr("tvm_split.profile.collector.BATCH", 2)
    made, outcome = collect(SPEC, [str(model_file)], tmp_path / "host.jsonl", 60 / 60, plan=Plan(cuts=2))
    assert outcome.complete
    return made


def test_layers_on_floats_and_integers_and_halves_and_sampled_shapes_are_timed(records):
    assert {record.network for record in records.found.values()} == {"net.onnx", EVERY_KIND}
    assert all(record.sample for record in records.found.values() if record.network == EVERY_KIND)
    own = [record for record in records.found.values() if not record.sample]
    assert len(own) >= 3 + 3 and len(own) < len(records.found)
    assert {half.side for half in records.halves} == {"edge", "cloud"}
    whole = next(half for half in records.halves if half.cut == "3 of 3 layers")
    assert len(whole.keys) == 3 and records.found.keys() >= set(whole.keys)
    if SPEC.peak_int8_ops_per_s is not None:
        integers = next(half for half in records.halves if half.cut == "3 of 3 layers, 8 bits")
        assert integers.weight_bytes < whole.weight_bytes / 3 and integers.moved_bytes < whole.moved_bytes / 3
        assert records.found.keys() >= set(integers.keys) != set(whole.keys)
    assert whole.crossing == 0 and all(half.seconds > 0 for half in records.halves)


def test_elements_of_a_half_that_are_packed_are_a_plan_s(tmp_path):
    """After the first of two layers its result crosses, and so does the input, which is sent as it came."""
    nodes = [helper.make_node("Exp", ["x"], ["a"]), helper.make_node("MatMul", ["a", "x"], ["y"])]
    square = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [6, 6]) for name in "xy"]
    graph = helper.make_graph(nodes, "twice", square[:1], square[1:])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "t.onnx")
    mod = pipeline.layers()(frontend.load(str(tmp_path / "t.onnx")))
    layers = extract.graph(mod, "twice")
    first, *_ = layers.layers
    assert [half.crossing for half in halves_at(mod, layers, [[first.name]])] == [36, 36]
    costs = Costs("t", "test", {layer.name: 0.0 for layer in layers.layers}, {}, 1.0)
    predicted = evaluate(Problem(layers, costs, costs, Link("link", 1e6, 1e6)), [first.name], 8).predicted
    assert (predicted.edge_s, predicted.cloud_s) == (36, 36)


def test_halves_that_compile_slowly_are_timed_as_they_are_compiled(model_file, tmp_path, any_noise, monkeypatch):
    monkeypatch.setattr("tvm_split.profile.collector.COMPILE_SHARE", 0.0)
    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    said = []
    plan = Plan(integers=False, cuts=2)
    made, _ = collect(SPEC, [str(model_file)], tmp_path / "host.jsonl", 1, plan=plan, say=said.append)
    assert len({(half.side, half.cut) for half in made.halves}) == len(made.halves) == 3
    assert [text for text in said if "halves" in text] == ["timing 1 halves of net.onnx"] * 3


def test_of_few_halves_at_a_time_some_are_timed_to_the_end(model_file, tmp_path, any_noise, monkeypatch):
    """The time is over while the second few are timed."""
    rounds = Collector._rounds
    chunks = []

    def two(self, bench, takes):
        if any("half" in name for name in takes):
            chunks.append(takes)
            return rounds(self, bench, takes) if len(chunks) == 1 else {}
        return rounds(self, bench, takes)

    monkeypatch.setattr("tvm_split.profile.collector.HALVES_BATCH", 2)
    monkeypatch.setattr(Collector, "_rounds", two)
    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    made, _ = collect(SPEC, [str(model_file)], tmp_path / "host.jsonl", 1, plan=Plan(integers=False, cuts=2))
    assert len(chunks) >= 2 and len(made.halves) == 2


def test_a_half_that_cannot_be_compiled_is_told_and_the_others_are_timed(model_file, tmp_path, any_noise, monkeypatch):
    right = Bench.exported

    def fails(self, mod, what, pipeline=None):
        if what.startswith("the cloud half"):
            raise CostError("no such processor")
        return right(self, mod, what, pipeline)

    monkeypatch.setattr(Bench, "exported", fails)
    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    made, outcome = collect(SPEC, [str(model_file)], tmp_path / "host.jsonl", 1, plan=Plan(integers=False, cuts=2))
    assert {half.side for half in made.halves} == {"edge"} and len(made.halves) == 2
    (told,) = outcome.refused
    assert told.startswith("the cloud half of net.onnx at ") and told.endswith("no such processor")


def test_what_is_there_is_not_timed_again(records, model_file, monkeypatch):
    monkeypatch.setattr(
        Collector, "_time", lambda self, work, layers, sample: pytest.fail(str(layers)) if layers else None
    )
    monkeypatch.setattr(Collector, "_whole", lambda self, network, halves: pytest.fail(network) if list(halves) else [])
    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    again, _ = collect(SPEC, [str(model_file)], records.path, 1, plan=Plan(cuts=2))
    assert again.found.keys() == records.found.keys()


def test_noise_is_told_and_timed_again_by_the_next_run(model_file, tmp_path, monkeypatch):
    def profile():
        return collect(SPEC, [str(model_file)], tmp_path / "host.jsonl", 1, plan=Plan(integers=False, cuts=1))

    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    monkeypatch.setattr("tvm_split.profile.pace.SLOWER", 1e9)
    monkeypatch.setattr("tvm_split.profile.noise.NOISE", -1.0)
    made, outcome = profile()
    assert len(made.found) == 3 and not made.quiet() and not made.halves
    assert (
        len(outcome.refused) == 3 + 1
        and "standard error" in outcome.refused[0]
        and "the edge half" in outcome.refused[3]
    )
    monkeypatch.setattr("tvm_split.profile.noise.NOISE", 1e9)
    made, outcome = profile()
    assert len(made.quiet()) == 3 and len(made.halves) == 1 and not outcome.refused


def test_a_layer_that_cannot_be_timed_is_told_and_the_rest_is_timed(model_file, tmp_path, any_noise, monkeypatch):
    calls = []
    right = Bench.kernel_times

    def first_fails(self, library, kernel, layer):
        calls.append(layer)
        if layer == calls[0]:
            raise CostError("no such kernel")
        return right(self, library, kernel, layer)

    monkeypatch.setattr(Bench, "kernel_times", first_fails)
    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    made, outcome = collect(SPEC, [str(model_file)], tmp_path / "host.jsonl", 1, plan=Plan(integers=False, cuts=1))
    assert len(made.found) == 2 and outcome.refused == [f"layer '{calls[0]}' of net.onnx: no such kernel"]
    assert len(made.halves) == 1 and made.whole() == []


@pytest.mark.parametrize(("each_s", "found_s"), [(2e-7, 2e-7), (-2e-7, LEAST_S)])
def test_a_call_is_what_a_layer_more_takes(tmp_path, monkeypatch, each_s, found_s):
    def layers_of(mod):
        return len(extract.graph(mod).layers)

    monkeypatch.setattr(Bench, "vm_times", lambda self, module, mod, what: [1e-3 + each_s * layers_of(mod)])
    bench = Bench(tmp_path, SPEC, resolve(SPEC), tvm.cpu(), None, 3)
    assert call_seconds(bench) == pytest.approx(found_s)


def test_a_call_that_cannot_be_timed_is_an_error(tmp_path, monkeypatch):
    def gone(self, module, mod, what):
        raise CostError(f"{what} cannot be timed")

    monkeypatch.setattr(Bench, "vm_times", gone)
    with pytest.raises(CostError, match="a chain of 1 layers cannot be timed"):
        call_seconds(Bench(tmp_path, SPEC, resolve(SPEC), tvm.cpu(), None, 3))


def test_no_time_times_nothing_and_says_so(model_file, tmp_path):
    records = Records(tmp_path / "host.jsonl", device_facts(SPEC, 1, None))
    found = Collector(SPEC, records, tmp_path, time.monotonic() - 1).run([str(model_file)])
    assert not found.complete and not records.found


@pytest.fixture
def device_model(tmp_path):
    """Fitted to records that are made up, of this machine."""
    records = Records(tmp_path / "made.jsonl", device_facts(SPEC, 1, None))
    for record in layers(60):
        records.add(record)
    for half in halves(12):
        records.add_half(half)
    path = tmp_path / "made.json"
    fit(records, records.device).save(path)
    return path


def test_a_model_predicts_every_layer_of_a_network_that_it_never_saw(device_model, model_file):
    mod = pipeline.layers()(frontend.load(str(model_file)))
    graph = extract.graph(mod, "net")
    model = DeviceModel.load(device_model)
    costs = model_costs(model, mod, graph, SPEC)
    assert list(costs.layer_s) == [layer.name for layer in graph.layers] and costs.source == "model"
    for low, high in costs.provenance["interval_s"].values():
        assert 0 < low <= high
    if SPEC.peak_int8_ops_per_s is not None:
        integers = integer_model_costs(model, mod, graph, SPEC, costs)
        assert set(integers.layer_s) == set(costs.layer_s) and integers.layer_s != costs.layer_s


def test_a_model_of_another_target_or_kernel_set_is_refused(device_model, model_file, monkeypatch):
    mod = pipeline.layers()(frontend.load(str(model_file)))
    graph = extract.graph(mod, "net")
    model = DeviceModel.load(device_model)
    with pytest.raises(CostError, match="of target 'host', expected 'raspberry-pi-4'"):
        model_costs(model, mod, graph, load_target("raspberry-pi-4"))
    monkeypatch.setattr("tvm_split.profile.workload.kernel_set", lambda: "other")
    with pytest.raises(CostError, match=r"kernels is '[0-9a-f]{16}', expected 'other'"):
        model_costs(model, mod, graph, SPEC)
    with pytest.raises(CostError, match="simulated"):
        model_costs(model, mod, graph, load_target("eyeriss"))


@pytest.mark.parametrize(("median", "far_off"), [(0.1, False), (0.5, True)])
def test_plan_takes_models_for_costs_and_says_how_far_to_trust_them(
    device_model, model_file, tmp_path, median, far_off
):
    data = json.loads(device_model.read_text())
    data["errors"]["layers"]["median"] = median
    path = tmp_path / "known.json"
    path.write_text(json.dumps(data))
    done = CliRunner().invoke(cli, [
        "plan", str(model_file), "--edge", "host", "--cloud", "host", "--costs", f"{path},{path}", "-q", "--json",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert ("too far off to choose by" in done.stderr) == far_off and f"off by {median:.0%} of a layer" in done.stderr
    assert ("timed with --threads 1" in done.stderr) == (SPEC.cores > 1)
    assert "predicted by a model" in done.stderr and json.loads(done.stdout)["chosen"]["predicted"]["total_s"] > 0


def test_profile_writes_a_model_and_what_it_timed(model_file, tmp_path, any_noise, monkeypatch):
    monkeypatch.setattr("tvm_split.profile.cost_model.FEWEST", 4)
    monkeypatch.setattr(Collector, "_halves", lambda self, mod, graph, seed: None)  # more time for samples
    out = tmp_path / "host.json"
    done = CliRunner().invoke(cli, ["profile", str(model_file), "--minutes", "0.5", "--out", str(out), "-q", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["device"]["target"] == "host" and facts["fitted_to"]["layers"] >= 6
    assert DeviceModel.load(out).fitted_to == facts["fitted_to"] and (tmp_path / "host.records.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--tracker", "127.0.0.1:1"], "belong together"),
     (["--tracker", "h:1", "--key", "k", "--threads", "2"], "--threads"),
     (["--target", "eyeriss"], "simulated"), (["--target", "nothing"], "nothing")],
)  # fmt: skip
def test_profile_refuses_what_cannot_be(arguments, words, tmp_path):
    done = CliRunner().invoke(cli, ["profile", "--out", str(tmp_path / "a.json"), *arguments])
    assert done.exit_code == 2 and words in done.output
    done = CliRunner().invoke(cli, ["profile", "--out", str(tmp_path / "none" / "a.json"), *arguments])
    assert done.exit_code == 2


def test_profile_writes_over_nothing_but_a_model(model_file, tmp_path):
    out = tmp_path / "mine.json"
    out.write_text('{"not": "a model"}')
    done = CliRunner().invoke(cli, ["profile", str(model_file), "--minutes", "0.01", "--out", str(out)])
    assert done.exit_code == 2 and "is there and is no device model" in done.stderr
    assert out.read_text() == '{"not": "a model"}'


def test_two_networks_of_one_name_are_refused(model_file, tmp_path):
    (tmp_path / "other").mkdir()
    same = shutil.copy(model_file, tmp_path / "other" / model_file.name)
    with pytest.raises(CostError, match=r"two of the networks are called 'net\.onnx'"):
        collect(SPEC, [str(model_file), str(same)], tmp_path / "host.jsonl", 1)


def test_time_is_dealt_over_the_networks_and_who_had_too_little_is_named(model_file, tmp_path, any_noise, monkeypatch):
    """The first network alone would take all of it."""
    other = shutil.copy(model_file, tmp_path / "second.onnx")
    monkeypatch.setattr(Collector, "_sampled", lambda self, networks, seed: None)
    begun, now = {}, [0.0]

    def layers(self, mod, graph, sample=""):
        begun.setdefault(graph.name, now[0])
        while self._on():
            now[0] += 1.0

    monkeypatch.setattr(Collector, "_layers", layers)
    monkeypatch.setattr(Collector, "_halves", layers)
    monkeypatch.setattr("tvm_split.profile.collector.time", SimpleNamespace(monotonic=lambda: now[0]))
    records = Records(tmp_path / "host.jsonl", device_facts(SPEC, 1, None))
    found = Collector(SPEC, records, tmp_path, 100.0).run([str(model_file), str(other)])
    assert begun["second.onnx"] == pytest.approx(100 * OWN_SHARE / 2, abs=2)
    assert found.cut == ["net.onnx", "second.onnx"] and not found.complete


def test_a_board_that_is_gone_ends_the_sampling(model_file, tmp_path, monkeypatch):
    def gone(self, mod, graph, sample=""):
        raise LinkDownError("no board is left")

    monkeypatch.setattr(Collector, "_layers", gone)
    records = Records(tmp_path / "host.jsonl", device_facts(SPEC, 1, None))
    collector = Collector(SPEC, records, tmp_path, time.monotonic() + 60)
    with pytest.raises(LinkDownError, match="no board is left"):
        collector._sampled([loaded_network(str(model_file))], 0)


def test_a_draw_that_fails_each_time_is_left_out_and_told(model_file, tmp_path, monkeypatch):
    def fails(self, mod, graph, sample=""):
        raise ValueError("cannot be lowered")

    monkeypatch.setattr(Collector, "_layers", fails)
    records = Records(tmp_path / "host.jsonl", device_facts(SPEC, 1, None))
    collector = Collector(SPEC, records, tmp_path, time.monotonic() + 600)
    collector._sampled([loaded_network(str(model_file))], 0)
    assert len(collector.outcome.refused) == 2 * FAILURES
    assert collector.outcome.refused[0] == "sample 1 of net.onnx: cannot be lowered"
