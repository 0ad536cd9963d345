"""Answers of prediction.py planned, compiled and run: from the held-back models to the outputs, over a shaped link."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from prediction_tables import Measured, Models

from tvm_split.profile.cores import on_cores
from tvm_split.profile.device_model import DeviceModel

#: of each answer; of each stage the first quartile counts: others' work on the machine adds to the rest
REPEATS, COUNTED = 16, 0.25
#: what an answer may lose: it is times that are compared
ANY_ERROR = 1e9


def ran(
    sides: Mapping[str, Measured], models: Mapping[str, Models], errors: Mapping[str, Any], targets: Mapping[str, str],
    networks: Sequence[str], rates_mbit: Sequence[float], core: int, folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Predicted and measured seconds of the answer chosen for each network at each rate, both halves on one core.

    They run in turn, so that each has the core to itself. models: by side and network, those that know nothing of it;
    errors: by side, as a device model has them.
    """
    with on_cores([core]):  # before TVM starts its threads
        return _ran(sides, models, errors, targets, networks, rates_mbit, folder)


def _ran(
    sides: Mapping[str, Measured], models: Mapping[str, Models], errors: Mapping[str, Any], targets: Mapping[str, str],
    networks: Sequence[str], rates_mbit: Sequence[float], folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    import tvm_split
    from tvm_split.measure import random_inputs

    rows = []
    for network in networks:
        costs = tuple(_saved(network, side, sides[side], models[side], errors[side], folder) for side in sides)
        for rate in rates_mbit:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of accuracy, which nothing is asked of
                plan = tvm_split.plan(
                    f"zoo:{network}", edge=targets["edge"], cloud=targets["cloud"], link=f"{rate:g}mbit", costs=costs,
                    cut_bits=(8,), max_error=ANY_ERROR, check=1, samples=1,
                )  # fmt: skip
            bundle = tvm_split.build(plan, folder / f"bundle-{network}-{rate:g}", force=True)
            result = tvm_split.run(bundle, random_inputs(bundle), REPEATS, threads=1, on_device=True)
            stages = {stage: float(np.quantile([getattr(each, stage) for each in result.runs], COUNTED))
                      for stage in asdict(result.measured)}  # fmt: skip
            rows.append({
                "network": network, "mbit_per_s": rate, "answer": plan.chosen.label,
                "predicted": asdict(result.predicted), "measured": stages, "medians": asdict(result.measured),
                "repeats": REPEATS, "quantile": COUNTED,
                "predicted_s": result.predicted.total_s, "measured_s": sum(stages.values()),
            })  # fmt: skip
            print(
                f"  {network:20} {rate:5g} Mbit/s  {plan.chosen.label:40.40} predicted "
                f"{1e3 * rows[-1]['predicted_s']:8.2f} ms  measured {1e3 * rows[-1]['measured_s']:8.2f} ms",
                flush=True,
            )
    return rows


def _saved(
    network: str, side: str, measured: Measured, models: Models, errors: Mapping[str, Any], folder: Path
) -> Path:
    """The file of the device model of a side that knows nothing of the network."""
    others = measured.without(network)
    fitted_to = {"layers": len(others.quiet), "halves": len(others.halves)}
    path = folder / f"{side}-without-{network}.json"
    DeviceModel(measured.device, "", *models[network], fitted_to, errors).save(path)
    return path
