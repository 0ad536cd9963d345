"""Work shared out to several boards of a kind: each takes the next piece when it is free. No TVM.

A board that dies is dropped and named, and its piece goes to another. So is one that takes more than three times as
long as its siblings for the same thing, which is asked of all first: throttled, or busy with something else.
"""

from __future__ import annotations

import queue
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from tvm_split.errors import CostError, LinkDownError

SLOW = 3.0

Board = TypeVar("Board")
Item = TypeVar("Item")
Made = TypeVar("Made")


class Fleet(Generic[Board]):
    """Boards by name. `say` hears which are dropped, and why."""

    def __init__(self, boards: Mapping[str, Board], say: Callable[[str], None]) -> None:
        self.boards, self._say = dict(boards), say

    def drop_slow(self, take: Callable[[Board], float]) -> None:
        """Time one thing on all, and drop those that take SLOW times the median of their siblings, or die over it."""
        times = {
            name: made
            for name, made in self.each([*self.boards], lambda board, _: take(board), on_its_own=True)
            if not isinstance(made, CostError)
        }  # fmt: skip
        for name, seconds in times.items():
            siblings = [other for key, other in times.items() if key != name]
            if siblings and seconds > SLOW * statistics.median(siblings):
                self._drop(name, f"it takes {seconds / statistics.median(siblings):.1f} times as long as its siblings")

    def each(
        self, items: Sequence[Item], work: Callable[[Board, Item], Made], on_its_own: bool = False
    ) -> Iterator[tuple[Item, Made | CostError]]:
        """What `work` makes of each item, as it comes; a CostError is an answer. One board works in this thread.

        on_its_own: items are names of boards, and each is for that board. LinkDownError: no board is left.
        """
        if len(self.boards) == 1 and not on_its_own:
            (board,) = self.boards.values()
            for item in items:
                yield item, self._made(work, board, item)
            return
        yield from self._shared(items, work, on_its_own)

    def _shared(
        self, items: Sequence[Item], work: Callable[[Board, Item], Made], on_its_own: bool
    ) -> Iterator[tuple[Item, Made | CostError]]:
        waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        answers: queue.SimpleQueue[tuple[str, Item | None, Made | Exception | None]] = queue.SimpleQueue()
        for item in () if on_its_own else items:
            waiting.put(item)

        def run(name: str, board: Board, own: Item | None) -> None:
            while True:
                try:
                    item: Item = own if own is not None else waiting.get_nowait()
                except queue.Empty:
                    break
                try:
                    answers.put((name, item, self._made(work, board, item)))
                except Exception as error:  # told to the thread that asked
                    answers.put((name, item, error))
                    return
                if own is not None:
                    break
            answers.put((name, None, None))

        left = len(items)
        while left:
            if not self.boards:
                raise LinkDownError("no board is left to time on; start their RPC servers again, and go on")
            working = {
                name: threading.Thread(target=run, args=(name, board, name if on_its_own else None), daemon=True)
                for name, board in self.boards.items()
            }
            for thread in working.values():
                thread.start()
            while working:
                name, done, made = answers.get()
                if done is None:
                    working.pop(name).join()
                elif isinstance(made, LinkDownError):
                    working.pop(name).join()
                    self._drop(name, str(made))
                    if on_its_own:
                        left -= 1
                    else:
                        waiting.put(done)
                elif isinstance(made, Exception) and not isinstance(made, CostError):
                    raise made
                else:
                    left -= 1
                    yield done, made  # type: ignore[misc]  # None is what comes with no item

    def _made(self, work: Callable[[Board, Item], Made], board: Board, item: Item) -> Made | CostError:
        try:
            return work(board, item)
        except CostError as error:
            return error

    def _drop(self, name: str, why: str) -> None:
        del self.boards[name]
        self._say(f"{name} is dropped: {why}")
