"""A front of few questions: it begins right below the soonest answer, says that it is sampled, and takes what is known.

That many questions give the whole front is in test_exact.py.
"""

from dataclasses import replace

import pytest

from tvm_split.plan import pareto
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.pareto import pareto_front


@pytest.fixture
def problem(make_mixed):
    """One with a long front of memory."""
    pinned = (replace(make_mixed(seed, 3), pins={"l0": "edge"}) for seed in range(40))
    return max(pinned, key=lambda each: len(pareto_front(each, "memory", points=10**6, live=True).answers))


@pytest.mark.parametrize("against", ["memory", "distortion"])
def test_the_first_answers_are_those_of_the_whole_front(problem, against):
    """Half of the questions step from one answer to the next; nothing is skipped there."""
    whole = pareto_front(problem, against, points=10**6, live=True).answers
    few = pareto_front(problem, against, points=8, live=True).answers
    assert len(whole) >= 3 and [each.predicted for each in few[:3]] == [each.predicted for each in whole[:3]]
    assert [value(each, against) for each in few[:3]] == [value(each, against) for each in whole[:3]]


def value(candidate, against):
    return candidate.edge_memory_bytes if against == "memory" else candidate.distortion


def test_a_front_is_whole_or_says_that_it_is_not(problem):
    assert pareto_front(problem, "memory", points=10**6, live=True).is_whole
    assert not pareto_front(problem, "memory", points=3, live=True).is_whole


def test_the_questions_that_are_left_go_to_the_largest_ranges(problem, monkeypatch):
    """Half of them ask right below the last answer, the others in the middle of what nothing is known of."""
    limits = []

    def noted(asked, **options):
        limits.append(asked.memory_bytes)
        return plan_exact(asked, **options)

    monkeypatch.setattr(pareto, "plan_exact", noted)
    pareto_front(problem, "memory", points=6, live=True)
    first, *walked = limits[:4]
    assert first is None and len(limits) == 6
    assert all(limit + 1 in {each.edge_memory_bytes for each in every(problem)} for limit in walked)
    assert limits[4] < walked[-1] / 2


def every(problem):
    """Answers that a step came from: the soonest without a limit and those of the whole front."""
    return [plan_exact(problem, live=True)[0], *pareto_front(problem, "memory", points=10**6, live=True).answers]


def test_known_answers_that_nothing_beats_are_in_the_front(problem):
    """The first question's answer is as soon as the front's first, and larger."""
    whole = pareto_front(problem, "memory", points=10**6, live=True).answers
    (alone,) = pareto_front(problem, "memory", points=1, live=True).answers
    worse = replace(alone, edge_memory_bytes=alone.edge_memory_bytes + 1)
    found = pareto_front(problem, "memory", points=1, live=True, known=(worse, whole[-1]))
    assert found.answers == (alone, whole[-1])
