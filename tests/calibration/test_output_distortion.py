"""Each figure equals that of the whole network with the quantised weights or tensor in it; a stopped run goes on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.calibration import output_distortion
from tvm_split.calibration.distortion import activation_choices
from tvm_split.calibration.gather import gather
from tvm_split.calibration.layer_inputs import as_held
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.output_distortion import behind, digest, output_distortions
from tvm_split.calibration.output_error import OutputError
from tvm_split.calibration.output_network import output_table as table_of
from tvm_split.calibration.output_network import records_of
from tvm_split.calibration.output_records import Records
from tvm_split.calibration.rounded_alone import RoundedAlone
from tvm_split.calibration.weights import nearest_weights
from tvm_split.errors import DataError, ModelError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_readings import readings
from tvm_split.passes.layer_weights import layer_weights
from tvm_split.passes.round_weights import Rounded, RoundWeights

WIDTHS = [2, 3, 8]


class Network:
    def __init__(self, mod):
        self.mod = mod
        self.runner = LayerRunner(mod)
        self.graph = self.runner.graph
        self.weights = {name: (each.array, each.weight_axis) for name, each in layer_weights(mod).items()}
        self.sizes = {name: 4 * array.size for name, (array, _) in self.weights.items()}

    def samples(self, count, seed=0):
        random = np.random.default_rng(seed)
        shapes = {name: self.graph.tensor[name].shape for name in self.graph.inputs}
        return [{n: random.normal(size=s).astype("float32") for n, s in shapes.items()} for _ in range(count)]

    def names(self):
        return [t.name for t in self.graph.tensors if self.graph.readers[t.name]]

    def choices(self, batches, widths=WIDTHS):
        return activation_choices(gather(self.runner, self.names(), batches), widths)

    def changed(self, name, bits):
        rounded = Rounded(nearest_weights(*self.weights[name], bits))
        return self.runner.with_layers(RoundWeights({name: rounded})(self.mod), [name])

    def table(self, batches, records=None, changed=None, widths=WIDTHS):
        records = Records() if records is None else records
        choices = self.choices(batches, widths)
        return output_distortions(self.runner, changed or self.changed, self.sizes, choices, batches, widths, records)


@pytest.fixture(scope="module")
def network(build):
    """A residual, an output in the middle, scores at the end; "p" is read by two layers."""
    random = np.random.default_rng(1)

    def const(*shape):
        return relax.const(random.normal(size=shape).astype("float32"))

    def body(emit, x):
        a = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, const(8, 3, 3, 3), padding=(1, 1)), "a")), "ar")
        p = emit(relax.op.nn.avg_pool2d(a, (2, 2), (2, 2)), "p")
        b = emit(relax.op.nn.conv2d(p, const(8, 1, 3, 3), groups=8, padding=(1, 1)), "b")
        s = emit(relax.op.add(b, p), "s")
        mean = emit(relax.op.mean(s, axis=[2, 3]), "mean")
        y = emit(relax.op.matmul(mean, const(8, 5)), "y")
        return relax.Tuple([y, s])

    return Network(FuseActivation()(build(body, (1, 3, 9, 7))))


def whole(network, batch, tensor=None, quantizer=None, mod=None):
    """Every layer run one after the other, as `mod` has it, with the tensor held by the quantiser."""
    runner = network.runner if mod is None else LayerRunner(mod)
    values = dict(batch)
    if tensor in values:
        values[tensor] = as_held(values[tensor], quantizer)
    for layer in runner.graph.layers:
        for name, array in runner.run({n: values[n] for n in layer.inputs}, layer.outputs).items():
            values[name] = as_held(array, quantizer if name == tensor else None)
    return [values[name] for name in runner.graph.outputs]


def summed(exact, others):
    first, *more = (OutputError.of(want, got, True) for want, got in zip(exact, others, strict=True))
    return sum(more, start=first)


def test_each_entry_is_that_of_the_whole_network(network):
    batches = network.samples(3)
    table, choices = network.table(batches), network.choices(batches)
    exact = [whole(network, batch) for batch in batches]
    assert set(table.weights) == set(network.weights) and len(table.weights) == 3
    assert set(table.tensors) == set(network.names())
    for name, (array, axis) in network.weights.items():
        for bits in WIDTHS:
            mod = RoundWeights({name: Rounded(nearest_weights(array, axis, bits))})(network.mod)
            assert table.weights[name][bits] == summed(exact, [whole(network, b, mod=mod) for b in batches])
    for name in table.tensors:
        for bits in WIDTHS:
            held = choices[name][bits].quantizer
            assert table.tensors[name][bits] == summed(exact, [whole(network, b, name, held) for b in batches])


def test_fewer_bits_lose_more(network):
    table = network.table(network.samples(4))
    for found in (*table.weights.values(), *table.tensors.values()):
        assert found[2].mse > found[8].mse > 0
        assert found[2].kl > found[8].kl


def test_widths_of_the_reference_are_left_out(network):
    table = network.table(network.samples(1), widths=[8, 16])
    assert {tuple(found) for found in (*table.weights.values(), *table.tensors.values())} == {(8,)}
    assert {found[16] for found in table.weight_distortions([8, 16]).values()} == {0.0}


class Counted(Records):
    def __init__(self, path=None, stop=None):
        super().__init__(path)
        self.puts, self._stop = [], stop

    def put(self, key, error):
        if len(self.puts) == self._stop:
            raise KeyboardInterrupt
        self.puts.append(key)
        super().put(key, error)


@pytest.mark.parametrize("stop", [1, 17, 40])
def test_a_stopped_run_goes_on_where_it_was(network, tmp_path, stop):
    batches, path = network.samples(2), tmp_path / "records.jsonl"
    expected = network.table(batches)
    with pytest.raises(KeyboardInterrupt):
        network.table(batches, Counted(path, stop))
    path.write_bytes(path.read_bytes() + b"0123 {torn")
    rest = Counted(path)
    assert network.table(batches, rest) == expected
    entries = 2 * len(WIDTHS) * (len(network.weights) + len(network.names()))
    assert len(rest.puts) == entries - stop
    assert len(rest.cautions) == 1
    third = Counted(path)
    assert network.table(batches, third, changed=None) == expected
    assert third.puts == []


def test_what_is_known_needs_no_run(network, tmp_path, monkeypatch):
    batches, records = network.samples(2), Records()
    expected, choices = network.table(batches, records), network.choices(batches)
    monkeypatch.setattr(LayerRunner, "run", lambda *_: pytest.fail("nothing is to be run"))
    again = output_distortions(network.runner, None, network.sizes, choices, batches, WIDTHS, records)
    assert again == expected


def test_more_samples_run_alone(network):
    records = Counted()
    batches = network.samples(3)
    choices = network.choices(batches)
    for count in (2, 3):
        records.puts.clear()
        output_distortions(network.runner, network.changed, network.sizes, choices, batches[:count], WIDTHS, records)
    assert len({key.split()[0] for key in records.puts}) == 1


def test_a_small_budget_changes_nothing(network, monkeypatch):
    batches = network.samples(2)
    expected = network.table(batches)
    monkeypatch.setattr(output_distortion, "BUDGET_BYTES", 1)
    assert network.table(batches) == expected


def test_the_cache_is_of_one_network(network, build, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    batches = network.samples(2)
    calibrated = Calibrated.of(network.mod, network.graph, gather(network.runner, network.names(), batches))
    table = table_of(
        network.mod, network.runner, calibrated, batches, [8], [4, 8], records_of(network.mod, network.runner)
    )
    assert table.weights == {name: {8: found[8]} for name, found in network.table(batches).weights.items()}
    (file,) = (tmp_path / "output-distortion").iterdir()
    changed = RoundWeights({"y": Rounded(network.weights["y"][0] * 2)})(network.mod)
    assert records_of(changed, LayerRunner(changed)).get(file.read_text().split('"')[3]) is None
    assert records_of(network.mod, network.runner).get(file.read_text().split('"')[3]) is not None


def test_weights_rounded_in_order_are_measured_on_other_samples(network, tmp_path, monkeypatch):
    """Each layer alone, its bias with it, by every second sample; at 8 bits, and where a layer is unknown, nearest."""
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    batches = network.samples(8)
    calibrated = Calibrated.of(network.mod, network.graph, gather(network.runner, network.names(), batches))
    records = records_of(network.mod, network.runner)
    table = table_of(
        network.mod, network.runner, calibrated, batches, WIDTHS, (), records, rounding="in-order"
    )  # fmt: skip
    alone = RoundedAlone(network.runner, readings(network.mod), batches[::2])
    exact = [whole(network, batch) for batch in batches[1::2]]
    for name, (array, axis) in network.weights.items():
        for bits in WIDTHS:
            rounded = alone(name, bits) if bits < 8 else Rounded(nearest_weights(array, axis, bits))
            mod = RoundWeights({name: rounded})(network.mod)
            assert table.weights[name][bits] == summed(exact, [whole(network, b, mod=mod) for b in batches[1::2]])
    nearest = table_of(network.mod, network.runner, calibrated, batches[1::2], [3], (), records)
    assert all(nearest.weights[name][3] != table.weights[name][3] for name in network.weights), "the cache tells apart"


def test_bad_samples_are_told(network):
    with pytest.raises(DataError, match="no batches"):
        output_distortions(network.runner, network.changed, {}, {}, [], WIDTHS, Records())
    batch = network.samples(1)[0]
    choices = network.choices([batch])
    with pytest.raises(DataError, match="no array for input 'x0'"):
        output_distortions(network.runner, network.changed, {}, choices, [{}], WIDTHS, Records())
    bad = {"x0": np.full_like(batch["x0"], 3e38)}
    with pytest.raises(ModelError, match="not finite on sample 0"):
        output_distortions(network.runner, network.changed, {}, choices, [bad], WIDTHS, Records())


def test_samples_are_told_apart():
    one = {"a": np.zeros(2, np.float32), "b": np.ones((1, 2), np.float32)}
    assert digest(one) == digest(dict(reversed(one.items())))
    changes = {"a": np.zeros(2, np.int32)}, {"b": np.ones((2, 1), np.float32)}, {"a": np.ones(2, np.float32)}
    assert len({digest(each) for each in (one, *(one | change for change in changes))}) == 4


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_behind_is_what_a_path_leads_to(seed, count):
    """Against the transitive closure of the reads, as a matrix."""
    random = np.random.default_rng(seed)
    tensors = [f"t{i}" for i in range(count + 1)]
    reads = [sorted(set(random.integers(0, i + 1, random.integers(1, 4)).tolist())) for i in range(count)]
    layers = tuple(
        Layer(f"l{i}", "op", tuple(tensors[j] for j in read), (tensors[i + 1],)) for i, read in enumerate(reads)
    )
    graph = Graph("g", tuple(Tensor(name, (1,), "float32") for name in tensors), layers, (tensors[0],), (tensors[-1],))
    step = np.zeros((count + 1, count + 1), bool)
    for i, read in enumerate(reads):
        step[read, i + 1] = True
    reach = np.linalg.matrix_power(step.astype(object) + np.eye(count + 1, dtype=int).astype(object), count) > 0
    start = int(random.integers(0, count + 1))
    expected = {name for i, name in enumerate(tensors) if reach[start, i] and i != start}
    assert behind(graph, [tensors[start]]) == expected
