"""Compiling with a database: what is taken, what is not, and that the bits and the bytes stay."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tvm
from tvm import relax, s_tir
from tvm.s_tir.schedule import Trace

from tvm_split import lower, workflow
from tvm_split.compile_half import compile_half
from tvm_split.errors import TuneError
from tvm_split.passes.schedule import FAILED
from tvm_split.targets import load_target
from tvm_split.tune.apply import database_of, facts, kernel_key, tuned
from tvm_split.tune.database import DECISION, FACTS, Database, Decision
from tvm_split.tune.space import space_of, start_of


def another_point(start):
    """A trace (JSON) of the space that is not our schedule's."""
    space = space_of(start)
    for seed in range(1, 99):
        sch = s_tir.Schedule(start.module, seed=seed)
        try:
            Trace(list(space.trace.insts), {}).apply_to_schedule(sch, remove_postproc=False)
        except FAILED:
            continue
        if kernel_key(sch.mod["main"]) != kernel_key(start.scheduled):
            return json.loads(json.dumps(sch.trace.as_json(), default=lambda value: value.value))
    raise AssertionError("no other point")


@pytest.fixture
def database(tmp_path, kernels, target):
    """Every kernel has a tuned schedule that won, by injected figures."""
    made = Database.create(tmp_path / "tuned")
    here = made.of("host", facts(target))
    for kernel in kernels:
        start = start_of(kernel.function, target)
        here.decide(
            kernel.key,
            Decision(kernel.layers, 4, 4, 0, 0, 2.0, 1.0, another_point(start), kernel_key(start.scheduled), "faster"),
        )
    return made


def outputs(layers, target):
    built = tvm.compile(layers, target, relax_pipeline=lower.pipeline(target))
    x = np.random.default_rng(3).standard_normal((1, 8, 14, 14), np.float32)
    found = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x))
    return [array.numpy().tobytes() for array in (found if not hasattr(found, "numpy") else [found])]


def test_every_layer_takes_its_schedule_and_gives_the_same_bits(database, layers, kernels, target):
    expected = outputs(layers, target)
    with tuned(database) as use:
        assert outputs(layers, target) == expected
    assert sorted(use.taken) == sorted(layer for kernel in kernels for layer in kernel.layers)
    assert use.sentence().startswith(f"{len(use.taken)} of {use.seen} layers by tuned schedules of ")


def test_the_same_database_gives_the_same_bytes(database, layers, tmp_path):
    spec = load_target("host")
    paths = [tmp_path / f"{i}.so" for i in range(3)]
    for path in paths[:2]:
        with tuned(database):
            compile_half(layers, spec, path)
    compile_half(layers, spec, paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()


def test_a_schedule_that_beat_another_one_of_ours_is_out_of_date(database, layers, kernels, target):
    here = database.find(facts(target))
    for kernel in kernels:
        here.decide(kernel.key, dataclasses.replace(here.decision(kernel.key), ours="0" * 16))
    with tuned(database) as use:
        outputs(layers, target)
    assert not use.taken and len(use.stale) == len(kernels)
    assert "out of date" in use.sentence()


def test_what_lost_is_not_taken(database, layers, kernels, target):
    here = database.find(facts(target))
    for kernel in kernels:
        here.decide(kernel.key, dataclasses.replace(here.decision(kernel.key), trace=None))
    with tuned(database) as use:
        outputs(layers, target)
    assert not use.taken and not use.stale


@pytest.mark.parametrize(
    "trace",
    [
        [[], []],  # which would leave the kernel without a schedule
        [[["Nonsense", [], [], []]], []],
        [["Split"], [[0, 1]]],
        "half of the steps",
        "of another kernel",
    ],
)
def test_a_trace_that_is_no_variation_of_our_schedule_is_damage(database, layers, kernels, target, trace):
    here = database.find(facts(target))
    first, second = (here.decision(kernel.key) for kernel in kernels[:2])
    if trace == "of another kernel":
        trace = second.trace
    elif trace == "half of the steps":
        trace = [first.trace[0][: len(first.trace[0]) // 2], []]
    here.decide(kernels[0].key, dataclasses.replace(first, trace=trace))
    with tuned(database), pytest.raises(TuneError) as caught:
        outputs(layers, target)
    name, path = kernels[0].layers[0], here.decision_file(kernels[0].key)
    assert str(caught.value).startswith(f"{path} is damaged: its trace is no variation of our schedule of {name}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trace": "abc"}, "trace is 'abc'"),
        ({"trace": [1, 2]}, "trace is [1, 2]; expected a list of instructions and one of decisions"),
        ({"layers": "a"}, "layers is 'a'"),
        ({"trials": 1.5}, "trials is 1.5"),
        ({"failed": True}, "failed is True"),
        ({"ours_s": "fast"}, "ours_s is 'fast'"),
        ({"more": 1}, "it has the fields failed, layers, more, ours"),
    ],
)
def test_a_wrong_field_of_a_decision_is_named_once(database, kernels, target, change, message):
    here = database.find(facts(target))
    path = here.decision_file(kernels[0].key)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TuneError) as caught:
        here.decision(kernels[0].key)
    assert str(caught.value).startswith(f"{path} is damaged: {message}") and str(caught.value).count("delete it") == 1


def test_a_decision_that_is_no_object_is_told(database, kernels, target):
    here = database.find(facts(target))
    here.decision_file(kernels[0].key).write_text("[1]")
    with pytest.raises(TuneError, match=r"is damaged: it holds \[1\]; expected layers, trials"):
        here.decision(kernels[0].key)


def test_a_kernels_key_does_not_depend_on_names(kernels):
    function = kernels[0].function
    assert kernel_key(function.with_attr("global_symbol", "other")) == kernels[0].key == kernel_key(function)
    assert len({kernel.key for kernel in kernels}) == len(kernels)


@dataclasses.dataclass
class Request:
    database: object
    edge: str = "host"


def test_another_target_than_was_tuned_for_is_named(database):
    with (
        pytest.raises(TuneError, match=r"has schedules for host, none for raspberry-pi-4: `tvm-split tune MODEL"),
        database_of(Request(database.folder, "raspberry-pi-4")),
    ):
        pass
    with database_of(Request(database.folder)) as use:
        assert use.database == database
    with database_of(Request(None)) as use:
        assert use is None


def test_databases_that_cannot_be_used(database, kernels, target, tmp_path):
    with pytest.raises(TuneError, match=r"absent is no database of schedules"):
        Database.open(tmp_path / "absent")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(TuneError, match="holds other files and no database"):
        Database.create(tmp_path / "full")
    here = database.find(facts(target))
    path = here.folder / kernels[0].key / DECISION
    path.write_text(path.read_text()[:40])
    with pytest.raises(TuneError, match=r"decision.json cannot be read .*; delete it") as caught:
        here.decision(kernels[0].key)
    assert str(caught.value).count(str(path)) == str(caught.value).count("delete it") == 1
    (database.folder / FACTS).write_text(json.dumps({"version": 1, "apache-tvm": "0.26.0"}))
    with pytest.raises(TuneError, match=r"was made with TVM 0.26.0, but TVM 0.27.0.post1 is installed"):
        Database.open(database.folder)
    (database.folder / FACTS).write_text(json.dumps({"version": 2}))
    with pytest.raises(TuneError, match="expected version 1"):
        Database.open(database.folder)


def test_a_bundle_tells_which_database_its_halves_were_compiled_with(database, model, kernels, target, tmp_path):
    """By the folder's name and its decisions: where it lies and what was tried change nothing."""

    def compiled(name, folder):
        request = workflow.Request(model, edge="host", cloud="host", database=folder)
        return workflow.compile(request, tmp_path / name).bundle.manifest["database"]

    assert compiled("plain", None) is None
    told = compiled("tuned-bundle", database.folder)
    assert told == {"name": "tuned", "sha256": database.digest()} and len(told["sha256"]) == 64
    moved = Database.open(shutil.copytree(database.folder, tmp_path / "elsewhere"))
    (moved.find(facts(target)).trials(kernels[0].key, "space") / "log").touch()
    assert moved.digest() == database.digest()
    here = database.find(facts(target))
    here.decide(kernels[0].key, dataclasses.replace(here.decision(kernels[0].key), trace=None))
    assert moved.digest() != database.digest()


def test_two_cannot_tune_into_one_place(database, target):
    here = database.find(facts(target))
    with here.locked(), pytest.raises(TuneError, match="in use by another `tvm-split tune`"), here.locked():
        pass
    with here.locked():
        pass
