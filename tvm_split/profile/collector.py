"""Time layers and halves on one device until the time is up: what a device's cost model is fitted to.

First each network's layers, on floats and, where the device has a rate of 8-bit integers, on those, and its whole
halves; then the networks' layers in other sizes, and layers of every kind. What the records hold already is not timed
again, unless it was noise, so that a profile that was cut off goes on.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import tvm
from tvm import rpc

from tvm_split import extract, lower, pipeline
from tvm_split.errors import CostError, LinkDownError, last_line
from tvm_split.graph import Graph
from tvm_split.profile.call import Paces, call_seconds
from tvm_split.profile.draws import Network, loaded_network, turn_of
from tvm_split.profile.fleet import Fleet
from tvm_split.profile.halves import WholeHalf, halves_at, prefixes, record_of
from tvm_split.profile.noise import Take, Timed, in_rounds, refusal
from tvm_split.profile.records import Record, Records
from tvm_split.profile.timing import RAISED, Bench, check_runs
from tvm_split.profile.tuned import add_trials, trials_of
from tvm_split.profile.wanted import EVERYTHING, Outcome, Plan, Say
from tvm_split.profile.workload import Workload, integer_workload, workload
from tvm_split.targets import TargetSpec
from tvm_split.tvm_target import resolve

#: of a round
REPEATS = 3
#: layers that are timed in turn, round by round; so many sampled ones are compiled together
BATCH = 16
#: seconds from round to round, at least: what else runs goes on for a while
APART_S = 0.3
#: draws of one network in a row that cannot be lowered or compiled, after which no more are made
FAILURES = 3
#: of the time, at most about this share goes to the networks' own layers and halves
OWN_SHARE = 0.7
#: of a network's share of that, at most this goes to its layers, and the rest to its halves
LAYERS_SHARE = 0.6
#: of what is left of it, about this goes to compiling halves, then those are timed, and so on
COMPILE_SHARE = 0.5
#: halves that are timed in turn, round by round: few, so that some are timed to the end where time is short
HALVES_BATCH = 4


class Collector:
    """Times on one device, or on several boards of a kind at once, into `records`, until `deadline` (of
    time.monotonic)."""

    def __init__(
        self, spec: TargetSpec, records: Records, folder: Path, deadline: float,
        remotes: Sequence[rpc.RPCSession] = (), say: Say = lambda _text: None, plan: Plan = EVERYTHING,
    ) -> None:  # fmt: skip
        self.spec, self.target = spec, resolve(spec)
        benches = {
            f"board {i + 1}": Bench(folder, spec, self.target, remote.cpu(), remote, REPEATS)
            for i, remote in enumerate(remotes)
        }
        check_runs(spec, remotes[0] if remotes else None)
        here = {} if benches else {"": Bench(folder, spec, self.target, tvm.cpu(), None, REPEATS)}
        self.fleet = Fleet(benches or here, say)
        self.records, self.say, self.plan = records, say, plan
        self.outcome = Outcome([])
        first = next(iter(self.fleet.boards.values()))
        self.paces = Paces(first)
        self.call_s = call_seconds(first, self.paces.of(first))
        self._begin, self._end = time.monotonic(), deadline
        self._until = deadline

    def run(self, networks: Sequence[str], seed: int = 0) -> Outcome:
        """Time what there is time for. CostError: a network that cannot be loaded is one; a noisy layer is not."""
        tuned = [trials_of(folder, self.spec, self.target) for folder in self.plan.tuned]
        loaded = [loaded_network(name) for name in networks]
        twice = [name for name, count in Counter(graph.name for _, graph in loaded).items() if count > 1]
        if twice:
            raise CostError(f"two of the networks are called '{twice[0]}', which records go by; name or call it once")
        for here, (mod, graph) in itertools.product(tuned, loaded):
            self.say(
                f"{graph.name}: {add_trials(self.records, here, mod, graph, self.spec, self.call_s)} trials of tuning"
            )
        cut = self._own(loaded, seed)
        if cut:  # what others left of their shares
            cut = self._own(cut, seed)
        self.outcome.cut = [graph.name for _, graph in cut]
        self._sampled(loaded, seed)
        return self.outcome

    def _own(self, networks: Sequence[Network], seed: int) -> list[Network]:
        """Each network's layers and right after them its halves, which are compared; those whose share of the time was
        too short."""
        cut = []
        for i, (mod, graph) in enumerate(networks):
            left = self._begin + OWN_SHARE * (self._end - self._begin) - time.monotonic()
            self._until = min(self._end, time.monotonic() + left / (len(networks) - i))
            whole = False
            if left > 0:
                until, self._until = self._until, time.monotonic() + LAYERS_SHARE * left / (len(networks) - i)
                self._layers(mod, graph)
                whole, self._until = self._on(), until
                self._halves(mod, graph, seed)
            if not whole or not self._on():
                cut.append((mod, graph))
        self._until = self._end
        return cut

    def _layers(self, mod: tvm.IRModule, graph: Graph, sample: str = "") -> None:
        works = [workload(mod, graph, self.spec, self.target)]
        if self._integers:
            works.append(integer_workload(mod, graph, self.spec, self.target))
        for work in works:
            quiet = {record.key for record in self.records.quiet()}
            new = [layer for layer in work.distinct() if work.keys[layer] not in quiet]
            near = f", sample {sample}" if sample else ""
            self.say(f"{graph.name}{near}: {len(new)} of {len(work.keys)} layers are to be timed")
            self._time(work, new, sample)

    def _time(self, work: Workload, layers: Sequence[str], sample: str) -> None:
        """Compile here, time on whichever board is free."""
        kernels = {layer: work.kernel(layer) for layer in layers}
        functions = {kernel.symbol: kernel.function for kernel in kernels.values() if kernel is not None}
        bench = next(iter(self.fleet.boards.values()))
        shared = bench.exported(tvm.IRModule(functions), f"kernels of {work.network}") if functions else None
        own = {
            layer: bench.exported(work.lowered.modules[layer], f"layer '{layer}'", lower.pipeline(self.target))
            for layer, kernel in kernels.items() if kernel is None
        }  # fmt: skip
        libraries: dict[int, tvm.runtime.Module] = {}

        def load(bench: Bench, layer: str) -> Take:
            kernel = kernels[layer]
            if kernel is None:
                return partial(bench.vm_times, bench.loaded(own[layer]), work.lowered.modules[layer], layer)
            assert shared is not None
            if id(bench) not in libraries:
                libraries[id(bench)] = bench.loaded(shared)
            return partial(bench.kernel_times, libraries[id(bench)], kernel, layer)

        def take(bench: Bench, chunk: tuple[str, ...]) -> dict[str, Timed | CostError]:
            return self._rounds(bench, {layer: load(bench, layer) for layer in chunk})

        if len(self.fleet.boards) > 1 and (first := next((layer for layer in layers if layer not in own), None)):
            self.fleet.drop_slow(lambda bench: Timed.of(load(bench, first)()).seconds)
        chunks = [tuple(layers[i : i + BATCH]) for i in range(0, len(layers), BATCH)]
        for layer, timed in self._each(chunks, take):
            what = f"layer '{layer}' of {work.network}"
            if isinstance(timed, CostError):
                self.outcome.refused.append(f"{what}: {timed}")
                continue
            if timed.noisy:
                self.outcome.refused.append(refusal(what, timed))
            seconds = timed.seconds + (self.call_s if layer not in own else 0.0)
            facts = asdict(work.described[layer])
            self.records.add(
                Record(
                    key=work.keys[layer],
                    network=work.network,
                    seconds=seconds,
                    spread=timed.spread,
                    sample=sample,
                    **facts,
                )
            )
        for path in (*own.values(), *([] if shared is None else [shared])):
            path.unlink()

    def _each(
        self, chunks: Sequence[tuple[str, ...]], take: Callable[[Bench, tuple[str, ...]], dict[str, Timed | CostError]]
    ) -> Iterator[tuple[str, Timed | CostError]]:
        """What becomes of each thing of each chunk, on whichever board is free."""
        for chunk, found in self.fleet.each(chunks, take):
            yield from ((name, found) for name in chunk) if isinstance(found, CostError) else found.items()

    def _halves(self, mod: tvm.IRModule, graph: Graph, seed: int) -> None:
        if not self._on():
            return
        done = {(half.network, half.side, half.cut) for half in self.records.halves}
        keys = dict(workload(mod, graph, self.spec, self.target).keys)
        integer_keys = dict(keys)
        if self._integers:
            integer_keys |= integer_workload(mod, graph, self.spec, self.target).keys
        counts = prefixes(graph, self.plan.cuts, seed)
        random.Random(seed).shuffle(counts)  # those that there is time for are spread over the network
        cuts = ([layer.name for layer in graph.layers[:count]] for count in counts)
        new = (
            half
            for half in halves_at(mod, graph, cuts, self._integers)
            if half.side in self.plan.sides and (graph.name, half.side, half.cut) not in done
        )
        for half, timed in self._whole(graph.name, new):
            self.records.add_half(record_of(graph, half, integer_keys if half.on_integers else keys, timed))

    def _whole(self, network: str, halves: Iterator[WholeHalf]) -> Iterator[tuple[WholeHalf, Timed]]:
        """Halves as compiled, timed whole, as many as there is time for: some compiled, those timed, and so on."""
        bench = next(iter(self.fleet.boards.values()))
        while self._on():
            begin, named, files = time.monotonic(), {}, {}
            for half in halves:
                what = f"the {half.side} half of {network} at {half.cut}"
                try:
                    files[what] = bench.exported(half.module, what, lower.pipeline(self.target))
                    named[what] = half
                except CostError as error:
                    self.outcome.refused.append(f"{what}: {error}")
                if time.monotonic() > begin + COMPILE_SHARE * (self._until - begin):
                    break
            if not files:
                return
            yield from self._timed_whole(network, named, files)

    def _timed_whole(
        self, network: str, named: Mapping[str, WholeHalf], files: Mapping[str, Path]
    ) -> Iterator[tuple[WholeHalf, Timed]]:
        def take(bench: Bench, chunk: tuple[str, ...]) -> dict[str, Timed | CostError]:
            self.say(f"timing {len(chunk)} halves of {network}")
            return self._rounds(
                bench,
                {what: partial(bench.vm_times, bench.loaded(files[what]), named[what].module, what) for what in chunk},
            )

        every = tuple(files) if self._on() else ()
        chunks = [every[i : i + HALVES_BATCH] for i in range(0, len(every), HALVES_BATCH)]
        for what, timed in self._each(chunks, take):
            if isinstance(timed, CostError):
                self.outcome.refused.append(f"{what}: {timed}")
            elif timed.noisy:
                self.outcome.refused.append(refusal(what, timed))
            else:
                yield named[what], timed
        for path in files.values():
            path.unlink()

    def _sampled(self, networks: Sequence[Network], seed: int) -> None:
        """Turn after turn. What none can be drawn of is left out, and so is what fails each time."""
        left = turn_of(networks, BATCH)
        failed: Counter[str] = Counter()
        done = [int(record.sample) for record in self.records.found.values() if record.sample.isdecimal()]
        seed = max([seed, *(number - 1 for number in done)])  # the last draw may not have been timed to its end
        while left:
            seed += 1
            for name, draw in [*left]:
                if not self._on():
                    return
                try:
                    if (made := draw(seed)) is not None:
                        layered = pipeline.layers()(made)
                        self._layers(layered, extract.graph(layered, name), str(seed))
                    failed[name] = FAILURES if made is None else 0
                except (LinkDownError, OSError):  # no board is left, or no room for records
                    raise
                except RAISED as error:  # a size that TVM infers types of and cannot lower
                    self.outcome.refused.append(f"sample {seed} of {name}: {last_line(error)}")
                    failed[name] += 1
                left = [each for each in left if failed[each[0]] < FAILURES]

    def _rounds(self, bench: Bench, takes: Mapping[str, Take]) -> dict[str, Timed | CostError]:
        return in_rounds(takes, go_on=self._on, apart_s=APART_S, pace=self.paces.of(bench))

    @property
    def _integers(self) -> bool:
        return self.plan.integers and self.spec.peak_int8_ops_per_s is not None

    def _on(self) -> bool:
        """Whether there is time left for the network at hand."""
        return time.monotonic() < self._until
