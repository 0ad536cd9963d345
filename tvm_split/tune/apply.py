"""Schedule kernels as a database of tuned schedules says, before the rules schedule the others.

    Given:   kernel without a schedule, `with tuned(Database.open(folder)):` around the compilation
    Result:  the kernel as the schedule that won makes it, marked as scheduled, with the rule "Tuned"

Without a database around it, and for kernels that nothing was decided for or whose own schedule won, nothing changes.
Where our own schedule is no longer the one that was beaten, it is used until the kernel is tuned again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import Trace

from tvm_split.errors import TuneError
from tvm_split.passes.schedule import FAILED, RULE, SCHEDULED, finished
from tvm_split.targets import load_target
from tvm_split.tune.database import Database, TargetFolder, damaged
from tvm_split.tune.space import Start, start_of
from tvm_split.tvm_target import resolve

log = logging.getLogger(__name__)

TUNED = "Tuned"


@dataclass
class Use:
    """A database in use, and what it gave so far: layers that a tuned schedule was taken for, of those seen; layers
    whose schedule is out of date."""

    database: Database
    taken: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    seen: int = 0

    def sentence(self) -> str:
        text = f"{len(self.taken)} of {self.seen} layers by tuned schedules of {self.database.folder}"
        return f"{text}; {len(self.stale)} are out of date, tune again" if self.stale else text


_IN_USE: ContextVar[Use | None] = ContextVar("tvm_split.tuned", default=None)


@contextmanager
def tuned(database: Database | None) -> Iterator[Use | None]:
    """Compile with the database's schedules in this block, in this thread; None leaves everything as it is."""
    use = None if database is None else Use(database)
    token = _IN_USE.set(use)
    try:
        yield use
    finally:
        _IN_USE.reset(token)


class Request(Protocol):
    """What names a database, or none, and may name the targets that it is wanted for."""

    @property
    def database(self) -> Path | None: ...


@contextmanager
def database_of(request: Request) -> Iterator[Use | None]:
    """`tuned` with the database that a request names. TuneError as `Database.open`, and where it has no target that
    the request compiles for."""
    if request.database is None:
        with tuned(None):
            yield None
        return
    database = Database.open(Path(request.database))
    names = [name for name in (getattr(request, side, None) for side in ("edge", "cloud", "target")) if name]
    specs = [load_target(name) for name in names]
    there = [spec for spec in specs if not spec.simulated and database.find(facts(resolve(spec))) is not None]
    if specs and not there:
        wanted = " or ".join(dict.fromkeys(spec.name for spec in specs))
        raise TuneError(
            f"{database.folder} has schedules for {', '.join(database.targets()) or 'no target at all'}, none for "
            f"{wanted}: `tvm-split tune MODEL --target {specs[0].name} --database {database.folder}` makes them"
        )
    with tuned(database) as use:
        yield use


@contextmanager
def taking(progress: Callable[[str], None]) -> Iterator[None]:
    """Say what the database in use gave in this block."""
    use = _IN_USE.get()
    with tuned(None if use is None else use.database) as own:
        yield
    if own is not None:
        progress(own.sentence())


def kernel_key(function: tirx.PrimFunc) -> str:
    """16 hexadecimal digits, the same for kernels that differ in names only."""
    attrs = function.attrs or {}
    bare = function.without_attr("global_symbol") if "global_symbol" in attrs else function
    return f"{int(tvm_ffi.structural_hash(bare, map_free_vars=True)) & (2**64 - 1):016x}"


def facts(target: tvm.target.Target) -> dict[str, Any]:
    """What a target is, as JSON holds it. Its host and its tag are left out: they change no kernel."""
    exported = {str(key): value for key, value in target.export().items() if str(key) not in ("host", "tag")}
    return dict(json.loads(json.dumps(exported, default=_plain)))


def _plain(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, tvm_ffi.Array) else str(value)


@tvm.transform.module_pass(opt_level=0, name="ApplyTuned")
class ApplyTuned:
    """Take the tuned schedules of the database in use, for the function's target or that of `with target:`."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        use = _IN_USE.get()
        if use is None:
            return mod
        target = tvm.target.Target.current(allow_none=False)
        here = use.database.find(facts(target))
        made = {}
        for gvar, function in mod.functions_items():
            if isinstance(function, tirx.PrimFunc) and not bool((function.attrs or {}).get(SCHEDULED, False)):
                use.seen += 1
                found = None if here is None else _scheduled(str(gvar.name_hint), function, target, here, use)
                if found is not None:
                    made[gvar] = found
        if not made:
            return mod
        out = mod.clone()
        out.update(tvm.IRModule(made))
        return out


def _scheduled(
    name: str, function: tirx.PrimFunc, target: tvm.target.Target, here: TargetFolder, use: Use
) -> tirx.PrimFunc | None:
    key = kernel_key(function)
    decision = here.decision(key)
    if decision is None or not decision.is_tuned:
        return None
    start = start_of(function, target)
    if start is None or kernel_key(start.scheduled) != decision.ours:
        log.warning("%s: its tuned schedule is for another schedule of ours than today's; tune again", name)
        use.stale.append(name)
        return None
    found = by_trace(start, decision.trace)
    if found is None:
        raise damaged(here.decision_file(key), f"its trace is no variation of our schedule of {name}")
    use.taken.append(name)
    symbol = (function.attrs or {}).get("global_symbol", None)
    found = found.without_attr("global_symbol") if symbol is None else found.with_attr("global_symbol", symbol)
    return found.with_attrs({SCHEDULED: True, RULE: TUNED})


def space_name(start: Start) -> str:
    """What the trials around our schedule of a kernel are called in the database."""
    return f"{kernel_key(start.module['main'])}-{kernel_key(start.scheduled)}"


def by_trace(start: Start, trace: Any) -> tirx.PrimFunc | None:
    """The kernel as a trace of the database (JSON) schedules it; None when the trace does not fit.

    One that fits takes the steps of our own schedule, with other factors, and may then unroll more.
    """
    ours = _steps(inst.kind.name for inst in start.trace.insts)
    sch = s_tir.Schedule(start.module)
    try:
        if _steps(name for name, *_ in trace[0])[: len(ours)] != ours:
            return None
        Trace.apply_json_to_schedule(trace, sch)
    except FAILED:
        return None
    return finished(sch.mod["main"], start.target)


def _steps(names: Iterable[str]) -> list[str]:
    """The instructions that change a kernel: MetaSchedule drops those that only look, where nobody needs the answer."""
    return [str(name) for name in names if not str(name).startswith(("Get", "Sample"))]
