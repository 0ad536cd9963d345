"""The better distortion: what quantising one layer's weights, or one tensor, alone does to the network's outputs.

Auto-Split's D_i (`distortion.py`) is the error of the weights and tensors themselves, which says nothing of what the
layers behind make of it. Here the float network runs once a sample, and for each layer, tensor and width only what
reads the quantised one runs again, from the float tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_split.calibration.layer_inputs import as_held
from tvm_split.calibration.output_error import OutputError, check_reference
from tvm_split.calibration.output_records import Records
from tvm_split.calibration.output_table import OutputTable
from tvm_split.calibration.ranges import Choice
from tvm_split.data import check_batch
from tvm_split.errors import DataError
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.metrics import class_count
from tvm_split.plan.precision import HALF_BITS

#: bytes of changed weights that are kept while a sample's float tensors serve them all
BUDGET_BYTES = 1 << 28

Arrays = Mapping[str, np.ndarray]
#: a layer's name and bits -> the network with its weights at so many
Changed = Callable[[str, int], LayerRunner]


@dataclass(frozen=True)
class _Entry:
    """One layer's weights, or one tensor, at so many bits. by: how it is rounded."""

    name: str
    bits: int
    by: str
    size_bytes: int = 0
    choice: Choice | None = None

    def key(self, sample: str) -> str:
        return f"{sample} {self.bits} {self.by} {self.name}"


def output_distortions(
    runner: LayerRunner,
    changed: Changed,
    weights: Mapping[str, int],
    choices: Mapping[str, Mapping[int, Choice]],
    batches: Sequence[Arrays],
    widths: Iterable[int],
    records: Records,
    progress: Callable[[str], None] | None = None,
    rounding: str = "weights",
) -> OutputTable:
    """The table of every layer of `weights` at each of `widths`, and every tensor of `choices` at each of its widths.

    weights: layer -> bytes of its weights in `changed`. choices: tensor -> bits -> quantiser. rounding: what `records`
    call the way in which `changed` rounds. Widths from 16 on are left out: they are the reference. What `records` knows
    of a sample is not run. One sample's float tensors are in memory at a time, and at most BUDGET_BYTES of changed
    weights, or one layer's.

    DataError: no batches, or one that does not fit. ModelError: a float output that is not finite.
    """
    if not batches:
        raise DataError("there are no batches to measure distortions on; at least 1 is needed")
    say = progress or (lambda _message: None)
    samples = {digest(each): each for each in (check_batch(b, runner.graph, i) for i, b in enumerate(batches))}
    below = [bits for bits in widths if bits < HALF_BITS]
    of_weights = [_Entry(name, bits, rounding, size) for name, size in weights.items() for bits in below]
    of_tensors = [
        _Entry(name, bits, f"{choice.quantizer.scale!r}+{choice.quantizer.zero_point}", choice=choice)
        for name, found in choices.items()
        for bits, choice in found.items()
        if bits < HALF_BITS
    ]
    known = {
        entry.key(sample)
        for entry in (*of_tensors, *of_weights)
        for sample in samples
        if records.get(entry.key(sample))
    }
    total = len(samples) * (len(of_tensors) + len(of_weights))
    done = len(known)
    for group in _groups([*of_tensors, *of_weights]):
        runners: dict[tuple[str, int], LayerRunner] = {}
        for number, (sample, batch) in enumerate(samples.items()):
            missing = [entry for entry in group if entry.key(sample) not in known]
            if not missing:
                continue
            say(f"distortion of outputs: {done} of {total} known, sample {number + 1} of {len(samples)}")
            trial = _Trial.of(runner, batch, number)
            for entry in missing:
                if entry.choice is None and (entry.name, entry.bits) not in runners:
                    runners[entry.name, entry.bits] = changed(entry.name, entry.bits)
                records.put(entry.key(sample), trial.error(entry, runners.get((entry.name, entry.bits))))
            done += len(missing)
    return OutputTable(_table(of_weights, samples, records), _table(of_tensors, samples, records))


def digest(batch: Arrays) -> str:
    """SHA-256 over the arrays of a sample, their names and types."""
    found = hashlib.sha256()
    for name in sorted(batch):
        array = np.ascontiguousarray(batch[name])
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(array.data)
    return found.hexdigest()


def behind(graph: Graph, tensors: Iterable[str]) -> frozenset[str]:
    """The tensors that are computed from these, without these."""
    given = frozenset(tensors)
    found = set(given)
    for layer in graph.layers:
        if not found.isdisjoint(layer.inputs):
            found.update(layer.outputs)
    return frozenset(found - given)


@dataclass(frozen=True)
class _Trial:
    """One sample: every float tensor of the network on it."""

    runner: LayerRunner
    floats: Arrays
    scores: bool

    @classmethod
    def of(cls, runner: LayerRunner, batch: Arrays, number: int) -> _Trial:
        graph = runner.graph
        floats = runner.run(batch, [tensor.name for tensor in graph.tensors])
        check_reference([floats[name] for name in graph.outputs], graph, number)
        return cls(runner, floats, class_count(graph) is not None)

    def error(self, entry: _Entry, changed: LayerRunner | None) -> OutputError:
        graph = self.runner.graph
        if entry.choice is not None:
            stale = behind(graph, [entry.name])
            put = {entry.name: as_held(self.floats[entry.name], entry.choice.quantizer)}
        else:
            made = graph.layer[entry.name].outputs
            stale, put = behind(graph, made).union(made), {}
        known = {name: array for name, array in self.floats.items() if name not in stale} | put
        found = (changed or self.runner).run(known, graph.outputs)
        return OutputError.of(
            [self.floats[name] for name in graph.outputs], [found[name] for name in graph.outputs], self.scores
        )


def _groups(entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    """In order, of at most BUDGET_BYTES each, or of one entry."""
    taken: list[_Entry] = []
    room = BUDGET_BYTES
    for entry in entries:
        if taken and entry.size_bytes > room:
            yield taken
            taken, room = [], BUDGET_BYTES
        taken.append(entry)
        room -= entry.size_bytes
    if taken:
        yield taken


def _table(
    entries: Iterable[_Entry], samples: Iterable[str], records: Records
) -> dict[str, dict[int, OutputError]]:  # fmt: skip
    table: dict[str, dict[int, OutputError]] = {}
    for entry in entries:
        for sample in samples:
            one = records.get(entry.key(sample))
            assert one is not None  # all are put by now
            row = table.setdefault(entry.name, {})
            row[entry.bits] = row[entry.bits] + one if entry.bits in row else one
    return table
