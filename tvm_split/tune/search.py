"""MetaSchedule's search in a design space, with its own database of trials. Runs in a process that may crash.

A trial is a point of the space, built, linked for its target and timed, here or on a board of an RPC tracker. A cost
model learnt from the trials so far (xgboost) says which points to try next.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

import tvm
from tvm import s_tir
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace

#: points that are tried before the cost model learns from them
BATCH = 8
#: points that the cost model looks at for one batch; it mixes in this share of points that it does not favour
POPULATION, ROUNDS, AT_RANDOM = 64, 2, 0.2
GPUS = ("cuda", "rocm", "hexagon")


def search(
    module: tvm.IRModule, trace: Trace, target: tvm.target.Target, folder: Path, trials: int, seed: int,
    builder: ms.builder.PyBuilder, runner: ms.runner.PyRunner,
) -> None:  # fmt: skip
    """Try `trials` more points of the space and add them to the database in `folder`; fewer when the space ends.

    `trace` is our schedule of the module with sampling instructions (space.py).
    """
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.CRITICAL)
    _leave_gpus_out()
    context = ms.TuneContext(
        mod=module,
        target=target,
        space_generator=_space(trace),
        search_strategy=ms.search_strategy.EvolutionarySearch(
            population_size=POPULATION,
            init_min_unmeasured=min(POPULATION // 2, 4 * trials),
            genetic_num_iters=ROUNDS,
            eps_greedy=AT_RANDOM,
        ),
        task_name=folder.name,
        rand_state=seed,
        num_threads=1,  # the space's functions are Python's
    )
    ms.tune_tasks(
        tasks=[context],
        task_weights=[1.0],
        work_dir=str(folder),
        max_trials_global=trials,
        num_trials_per_iter=min(BATCH, trials),
        builder=builder,
        runner=runner,
        database=open_trials(folder),
        cost_model=ms.cost_model.XGBModel(num_warmup_samples=2 * BATCH, num_tuning_cores=1),
        task_scheduler="round-robin",
    )


def _leave_gpus_out() -> None:
    """TuneContext imports TVM's instructions of every processor; to parse those of GPUs takes half a minute and more.

    Nothing on a CPU asks for them, so in the process of a search that has not loaded them they are empty.
    """
    for name in GPUS:
        sys.modules.setdefault(f"tvm.s_tir.tensor_intrin.{name}", ModuleType(name))


def open_trials(folder: Path) -> ms.database.JSONDatabase:
    """MetaSchedule's database; `trials.py` knows its files and mends them."""
    return ms.database.JSONDatabase(work_dir=str(folder))


def _space(trace: Trace) -> ms.space_generator.ScheduleFn:
    def apply(sch: s_tir.Schedule) -> s_tir.Schedule:
        trace.apply_to_schedule(sch, remove_postproc=False)
        return sch

    return ms.space_generator.ScheduleFn(apply, sch_rules=[], postprocs=[], mutator_probs={})
