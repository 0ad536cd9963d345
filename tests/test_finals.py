"""Finalists: which are timed, what their clocks say of the others, and the whole way through `compile --measure`."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tests.profile.small_network import save
from tvm_split import assemble, finals
from tvm_split.bundle import Bundle
from tvm_split.choice import Scored, Tolerance
from tvm_split.cli import cli
from tvm_split.comparison import Place, compare
from tvm_split.finals import Final, corrections, decided, different, measured_finals
from tvm_split.plan.problem import Candidate, Crossing, Timing
from tvm_split.workflow import PlanResult


def scored(layers, edge_s, cloud_s, bits=8, **more):
    crossing = (Crossing("t", (4,), bits, bits),)
    candidate = Candidate("split", tuple("abcd"[:layers]), crossing, 10, Timing(edge_s, 0.1, cloud_s, 0.0))
    return Scored(candidate, f"after {layers} at {bits}", **more)


def final(item, edge_s, cloud_s, cloud="measured", load=0.0):
    places = {name: Place("t", "somewhere", "computed") for name in ("uplink", "downlink")}
    places |= {"edge": Place("t", "here", "measured"), "cloud": Place("t", "here", cloud)}
    measured = Timing(edge_s, 0.1, cloud_s, 0.0)
    return Final(item, compare(item.candidate.predicted, measured, places), load)


def test_finalists_are_of_different_cuts_before_different_bits():
    allowed = [scored(1, 1.0, 1.0, 2), scored(1, 1.0, 1.0, 4), scored(2, 1.5, 1.0), scored(3, 3.0, 1.0)]
    assert [item.label for item in different(allowed, 2)] == ["after 1 at 2", "after 2 at 8"]
    assert [item.label for item in different(allowed, 4)] == [
        "after 1 at 2", "after 1 at 4", "after 2 at 8", "after 3 at 8"
    ]  # fmt: skip
    assert len(different(allowed, 9)) == 4


def test_what_was_timed_elsewhere_counts_as_predicted_and_corrects_nothing():
    timed = [final(scored(1, 1.0, 2.0), 3.0, 9.0, cloud="elsewhere"), final(scored(2, 2.0, 1.0), 8.0, 9.0, "elsewhere")]
    assert timed[0].timing == Timing(3.0, 0.1, 2.0, 0.0)
    assert corrections(timed) == (3.5, 1.0)
    assert corrections([final(scored(1, 1.0, 2.0), 3.0, 1.0)]) == (3.0, 0.5)


def test_a_busy_cloud_is_waited_for_whatever_the_clock_says():
    assert final(scored(1, 1.0, 2.0), 3.0, 4.0, load=0.5).timing == Timing(3.0, 0.1, 6.0, 0.0)


def test_what_the_clock_cannot_tell_apart_is_told_by_the_errors_of_both():
    runs = {"edge": [1.0, 1.1, 1.2, 1.3], "cloud": []}
    times = ((1, 1.2), (2, 1.3), (3, 1.9))
    first, near, far = (replace(final(scored(i, 1.0, 0.0), s, 0.0), runs=runs) for i, s in times)
    assert first.error_s == pytest.approx(0.15 / 2)
    assert finals.alike([far, near, first]) == [first, near]
    waiting = replace(final(scored(1, 0.0, 1.0), 0.0, 1.15, load=0.5), runs={"cloud": runs["edge"]})
    assert waiting.error_s == pytest.approx(1.5 * 0.15 / 2)
    assert finals.alike([far, final(scored(2, 1.0, 1.0), 0.1, 0.1)])[1:] == []


def test_what_is_timed_again_is_the_median_of_all():
    found = replace(final(scored(1, 1.0, 2.0), 3.0, 9.0, cloud="elsewhere"), runs={"edge": [3.0], "cloud": [9.0]})
    more = final(found.scored, 5.0, 7.0, cloud="elsewhere")
    twice = found.again(more.stages, {"edge": [5.0, 5.0], "cloud": [7.0, 7.0]})
    assert twice.timing == Timing(5.0, 0.1, 2.0, 0.0) and twice.runs["edge"] == [3.0, 5.0, 5.0]
    assert [stage.basis for stage in twice.stages[:4]] == ["measured", "computed", "elsewhere", "computed"]


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """Finalists whose edge takes `slow` times what was predicted, without compiling anything."""

    def run(candidates, count, slow):
        asked = []

        def one(result, item, folder, take, progress):
            asked.append(item.label)
            predicted = item.candidate.predicted
            return final(item, slow(item) * predicted.edge_s, predicted.cloud_s)

        monkeypatch.setattr(finals, "_timed", one)
        request = SimpleNamespace(tolerance=Tolerance(), tracker=None, edge_key=None)
        result = SimpleNamespace(candidates=tuple(candidates), request=request)
        return asked, measured_finals(result, count, tmp_path, lambda text: None)

    return run


def test_an_answer_that_corrected_predictions_make_soonest_is_timed_too(timed):
    """The edge is ten times slower than predicted: what has least of it was predicted last."""
    few = scored(1, 0.1, 2.0)
    asked, found = timed([scored(3, 1.0, 0.1), scored(2, 0.9, 0.5), few], 2, lambda item: 10)
    assert asked == ["after 3 at 8", "after 2 at 8", "after 1 at 8"] and found[0].scored is few
    assert found[0].timing.total_s == pytest.approx(3.1)


def test_finalists_that_are_alike_are_timed_again_until_they_are_not(timed, monkeypatch):
    """The first clock sees 1.0 and 1.1 with wide errors, the second 0.5 and 1.1 with none."""
    items = [scored(1, 1.0, 0.0), scored(2, 1.1, 0.0)]
    asked, again = [], {"after 1 at 8": 0.5, "after 2 at 8": 1.1}

    def one(result, item, folder, take, progress):
        made = final(item, item.candidate.predicted.edge_s, 0.0)
        return replace(made, runs={"edge": [0.8, 1.0, 1.2]})

    def take(bundle):
        asked.append(bundle.label)
        seconds = again[bundle.label]
        return final(items[0], seconds, 0.0).stages, {"edge": [seconds] * 40}

    places = {id(item): SimpleNamespace(label=item.label) for item in items}
    monkeypatch.setattr(finals, "_place", lambda result, item, folder: places[id(item)])
    monkeypatch.setattr(finals.Bundle, "open", lambda place: place)
    monkeypatch.setattr(finals, "_timed", one)
    monkeypatch.setattr(finals, "_taker", lambda result: take)
    request = SimpleNamespace(tolerance=Tolerance(), tracker=None, edge_key=None)
    result = SimpleNamespace(candidates=tuple(items), request=request)
    found = measured_finals(result, 2, None, lambda text: None)
    assert asked == ["after 1 at 8", "after 2 at 8"] and found[0].scored is items[0]
    assert [each.timing.edge_s for each in found] == [0.5, 1.1]


def test_nothing_more_is_timed_where_predictions_hold(timed):
    asked, found = timed([scored(3, 1.0, 0.1), scored(2, 0.9, 0.5), scored(1, 0.1, 2.0)], 1, lambda item: 1)
    assert asked == ["after 3 at 8"] and len(found) == 1


def test_baselines_and_what_loses_too_much_are_not_timed(timed):
    asked, _ = timed([scored(1, 0.1, 0.1, baseline=True), scored(2, 0.2, 0.1, fits=False), scored(3, 1.0, 1.0)], 3,
                     lambda item: 1)  # fmt: skip
    assert asked == ["after 3 at 8"]


def test_the_plan_has_the_clock_s_choice_and_its_times():
    slow, fast, other = scored(1, 0.1, 0.1), scored(2, 0.2, 0.1), scored(3, 0.4, 0.1)
    result = PlanResult(None, None, None, slow, (slow, fast, other), (), (), None, {})
    found = decided(result, [final(fast, 0.3, 0.1), final(slow, 0.9, 0.1)])
    assert found.chosen.label == fast.label and found.chosen.measured.edge_s == 0.3
    assert [item.measured and item.measured.edge_s for item in found.candidates] == [0.9, 0.3, None]


def test_compile_measures_here_and_writes_what_it_chose(tmp_path, monkeypatch):
    model, compiled = save(tmp_path), []
    right = assemble.build_halves

    def counted(result, candidate, folder, progress):
        made = right(result, candidate, folder, progress)
        compiled.append((candidate, made, {name: (folder / name).read_bytes() for name in made[1]}))
        return made

    monkeypatch.setattr(assemble, "build_halves", counted)
    done = CliRunner().invoke(cli, [
        "compile", str(model), "-o", str(tmp_path / "bundle"), "--edge", "host", "--cloud", "host", "--link", "100mbit",
        "--measure", "--finalists", "2", "-q",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Finalists, their halves timed whole" in done.stdout and "Edge: timed on this machine" in done.stdout
    plan = json.loads((tmp_path / "bundle" / "plan.json").read_text())
    times = [each["measured"]["total_s"] for each in plan["candidates"] if each["measured"]]
    assert len(times) >= 2 and plan["chosen"]["measured"]["total_s"] == min(times)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.kind == plan["chosen"]["kind"]
    assert len(compiled) == len(times), "each finalist is compiled once, and the chosen one not again"
    (facts, halves), = [
        (facts, halves) for candidate, (facts, _), halves in compiled
        if list(candidate.edge_layers) == plan["chosen"]["edge_layers"]
        and facts["fingerprint"] == bundle.fingerprint
    ]  # fmt: skip
    assert {name: (bundle.path / name).read_bytes() for name in halves} == halves
    assert {name: bundle.manifest[name] for name in facts} == json.loads(json.dumps(facts))
    assert {path.name for path in bundle.path.iterdir()} == {*halves, "plan.json", "manifest.json"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [([], "the edge 'raspberry-pi-4' cannot be timed, which --measure is to do"),
     (["--edge", "host", "--objective", "payload"], "'latency' where finalists are measured"),
     (["--tracker", "127.0.0.1:1"], "or neither")],
)  # fmt: skip
def test_what_cannot_be_timed_is_told_before_any_work(tmp_path, options, words):
    done = CliRunner().invoke(cli, ["compile", "zoo:alexnet", "-o", str(tmp_path / "b"), "--measure", *options])
    assert done.exit_code == 2 and words in done.output and "reading" not in done.output
