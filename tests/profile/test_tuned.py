"""Trials of a tuner as records of a profile: what they are of, and what is refused."""

import json

import pytest
from click.testing import CliRunner

from tests.profile.small_network import save
from tests.tune.test_apply import another_point
from tvm_split import extract, frontend, pipeline
from tvm_split.cli import cli
from tvm_split.errors import CostError, TuneError
from tvm_split.profile.collect import Collector, device_facts
from tvm_split.profile.collect import Plan as Wanted
from tvm_split.profile.features import describe
from tvm_split.profile.records import Records
from tvm_split.profile.tuned import trials_of, tuned_records
from tvm_split.profile.workload import workload
from tvm_split.targets import load_target
from tvm_split.tune import trials
from tvm_split.tune.apply import by_trace, facts, space_name
from tvm_split.tune.database import Database
from tvm_split.tune.kernels import kernels_of
from tvm_split.tune.space import start_of
from tvm_split.tvm_target import resolve

SPEC = load_target("host")
TARGET = resolve(SPEC)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = save(tmp_path_factory.mktemp("model"))
    mod = pipeline.layers()(frontend.load(path))
    return path, mod, extract.graph(mod, "net")


@pytest.fixture(scope="module")
def tuned(network, tmp_path_factory):
    """The folder, with a schedule of the last kernel tried twice and a third time in vain; its start, its trace."""
    _, mod, _ = network
    folder = tmp_path_factory.mktemp("tune") / "tuned"
    here = Database.create(folder).of(SPEC.name, facts(TARGET))
    kernel = kernels_of(mod, TARGET)[-1]
    start = start_of(kernel.function, TARGET)
    trace = another_point(start)
    place = here.trials(kernel.key, space_name(start))
    runs = [[9e-6, 9e-6, 9e-6], [2e-6, 2e-6, 2.3e-6], [1e10]]
    lines = [json.dumps([0, [trace, seconds, {}, []]]) for seconds in runs]
    (place / trials.RECORDS).write_text("\n".join(lines) + "\n")
    return folder, kernel, start, trace


def test_each_schedule_is_described_with_its_own_seconds(network, tuned):
    _, mod, graph = network
    folder, kernel, start, trace = tuned
    (record,) = tuned_records(trials_of(folder, SPEC, TARGET), mod, graph, SPEC, TARGET, call_s=1e-6)
    assert (record.layer, record.network, record.sample, record.rule) == (
        kernel.layers[0], "net", "tuned", start.rule,
    )  # fmt: skip
    assert record.seconds == pytest.approx(2.1e-6 + 1e-6) and 0 < record.spread < 0.1 and not record.noisy
    ours = workload(mod, graph, SPEC, TARGET)
    known = ours.described[record.layer]
    assert len(record.features) == len(known.features) and record.features != known.features
    assert record.base_s == known.base_s and record.key not in ours.keys.values()
    assert by_trace(start, trace) is not None
    assert known == describe(
        graph, graph.layer[record.layer], (ours.kernel(record.layer).function,), SPEC, TARGET, alone=True
    )


def test_a_trial_whose_repeats_differ_is_noise(tmp_path):
    (tmp_path / trials.RECORDS).write_text(
        json.dumps([0, [[[], []], [2e-6, 3e-6, 9e-6], {}, []]])
        + "\n"
        + json.dumps([0, [[[], []], [1e10], {}, []]])
        + "\n"
    )
    first, failed = trials.read(tmp_path)
    assert (
        first.spread == pytest.approx((6e-6 - 2.5e-6) / 3e-6 / 3**0.5)
        and failed.spread == 0
        and failed.seconds == float("inf")
    )


def test_a_profile_adds_them_once(network, tuned, tmp_path):
    path, _, _ = network
    records = Records(tmp_path / "host.jsonl", device_facts(SPEC, 1, None))
    for _ in range(2):  # no time to time anything itself
        Collector(SPEC, records, tmp_path, 0.0, plan=Wanted(tuned=(tuned[0],))).run([str(path)])
        assert [(each.network, each.sample) for each in records.found.values()] == [("net.onnx", "tuned")]
    again = Records(records.path, records.device)
    assert again.found == records.found


def test_trials_of_another_target_are_refused(tuned, tmp_path):
    pi = load_target("raspberry-pi-4")
    with pytest.raises(CostError, match=r"holds no trials for 'raspberry-pi-4' .*\(its targets: host\)"):
        trials_of(tuned[0], pi, resolve(pi))
    with pytest.raises(TuneError, match="is no database of schedules"):
        trials_of(tmp_path, SPEC, TARGET)


def test_the_command_tells_before_it_times(network, tmp_path):
    words = ["profile", str(network[0]), "--out", str(tmp_path / "m.json"), "--tuned", str(tmp_path), "--minutes", "1"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2 and "is no database of schedules" in done.stderr
