"""Boards that are made up: functions that take their time, die or raise."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.errors import CostError, LinkDownError
from tvm_split.profile.fleet import Fleet


def test_one_board_works_in_order_in_this_thread():
    here = threading.get_ident()
    found = list(
        Fleet({"a": 2}, pytest.fail).each([1, 2, 3], lambda board, item: (board * item, threading.get_ident()))
    )
    assert found == [(1, (2, here)), (2, (4, here)), (3, (6, here))]


def test_boards_work_at_once():
    both = threading.Barrier(2, timeout=10)
    found = dict(Fleet({"a": 1, "b": 2}, pytest.fail).each("xy", lambda board, _item: both.wait() in (0, 1)))
    assert found == {"x": True, "y": True}


@given(st.integers(2, 4), st.integers(0, 20), st.sets(st.integers(0, 3), max_size=3))
@settings(max_examples=30, deadline=None)
def test_every_item_has_one_answer_while_a_board_lives(count, items, dying):
    said = []
    boards = {f"board {i}": i for i in range(count)}
    done = dict.fromkeys(boards.values(), 0)

    def work(board, item):
        done[board] += 1
        if board in dying and board and done[board] > 1:
            raise LinkDownError("it rebooted")
        time.sleep(0.0005)
        return item * 10

    found = list(Fleet(boards, said.append).each(range(items), work))
    assert sorted(found) == [(i, i * 10) for i in range(items)]
    assert all("it rebooted" in text for text in said) and len(said) <= len(dying - {0})


def test_an_error_of_a_layer_is_an_answer_and_a_fault_of_ours_is_not_hidden():
    def work(board, item):
        raise CostError("noisy") if item == 1 else ValueError("a bug")

    answers = Fleet({"a": 1, "b": 2}, pytest.fail).each([1], work)
    assert str(next(answers)[1]) == "noisy"
    with pytest.raises(ValueError, match="a bug"):
        list(Fleet({"a": 1, "b": 2}, pytest.fail).each([2], work))


@pytest.mark.parametrize("boards", [{"a": 1}, {"a": 1, "b": 2}])
def test_when_the_last_board_dies_that_is_told(boards):
    def work(board, item):
        raise LinkDownError("gone")

    with pytest.raises(LinkDownError):
        list(Fleet(boards, lambda _: None).each([1, 2], work))


def test_a_board_three_times_slower_than_its_siblings_is_dropped_by_name():
    said = []
    fleet = Fleet({"a": 1.0, "b": 1.2, "c": 4.0}, said.append)
    fleet.drop_slow(lambda board: board)
    assert sorted(fleet.boards) == ["a", "b"] and said == ["c is dropped: it takes 3.6 times as long as its siblings"]
    fleet.drop_slow(lambda board: board)
    assert sorted(fleet.boards) == ["a", "b"] and len(said) == 1


def test_a_board_that_dies_over_the_comparison_is_dropped():
    def take(board):
        if board == 2:
            raise LinkDownError("it rebooted")
        return 1.0

    said = []
    fleet = Fleet({"a": 1, "b": 2, "c": 3}, said.append)
    fleet.drop_slow(take)
    assert sorted(fleet.boards) == ["a", "c"] and said == ["b is dropped: it rebooted"]
