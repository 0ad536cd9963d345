"""The one JSON object that `--json` prints and a bundle's plan.json holds; plan.schema.json is its schema. No TVM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm_split.profile.queueing import LOAD

if TYPE_CHECKING:
    from tvm_split.choice import Scored
    from tvm_split.plan.problem import Link
    from tvm_split.workflow import PlanResult

VERSION = 2


def to_json(result: PlanResult) -> dict[str, Any]:
    """The result as plain data: seconds and bytes, candidates in the order of the result, the chosen one among them;
    `quantisation` is that of the chosen one, `interval` that of its predicted total."""
    asked = (("front", result.request.pareto), ("solutions", result.request.every_solution))
    lists = {
        name: [candidate_json(scored, result) for scored in getattr(result, name)] for name, wanted in asked if wanted
    }
    return {
        "version": VERSION,
        "model": result.graph.name,
        "strategy": result.request.strategy,
        "devices": {"edge": str(result.request.edge), "cloud": str(result.request.cloud)},
        "link": _link(result.problem.link),
        "memory_bytes": result.problem.memory_bytes,
        "checks": _checks(result),
        "chosen": candidate_json(result.chosen, result),
        "interval": None if (interval := result.interval) is None else interval.to_json(),
        "quantisation": result.quantised[result.chosen.candidate].to_json(),
        "candidates": [candidate_json(scored, result) for scored in result.candidates],
        **lists,
        **({"front_is_whole": result.front_is_whole} if result.request.pareto else {}),
        **_load(result),
    }


def _link(link: Link) -> dict[str, Any]:
    rates = {"up_bytes_per_s": link.up_bytes_per_s, "down_bytes_per_s": link.down_bytes_per_s, "rtt_s": link.rtt_s}
    return {"name": link.name, **rates}


def _load(result: PlanResult) -> dict[str, Any]:
    """How busy the cloud is and what that does to its times, if it is; service_s: of the whole network, without."""
    return {"cloud_load": dict(result.problem.cloud.provenance[LOAD])} if result.request.cloud_load else {}


def _checks(result: PlanResult) -> dict[str, Any]:
    """What an answer may lose, and on how many samples that was checked; calibrating is 0 when one did both."""
    drops = [each.accuracy.drop for each in result.candidates if each.accuracy is not None and each.accuracy.drop]
    tolerance = result.request.tolerance
    return {
        "metric": drops[0].metric if drops else None,
        "float": drops[0].float_score if drops else None,
        "max_drop": tolerance.max_drop,
        "max_error": tolerance.max_error,
        "calibrating": result.calibrating,
        "held_back": result.checking,
    }


def candidate_json(scored: Scored, result: PlanResult) -> dict[str, Any]:
    """One candidate. Cloud-only as JPEG differs from cloud-only raw in the bytes of its crossing tensor."""
    candidate = scored.candidate
    return {
        "kind": candidate.kind,
        "edge_layers": list(candidate.edge_layers),
        "crossing": [
            {"tensor": part.tensor, "shape": list(part.shape), "bits": part.bits, "bytes": part.size_bytes}
            for part in candidate.crossing
        ],
        "weight_bits": dict(candidate.weight_bits),
        "tensor_bits": dict(candidate.tensor_bits),
        "payload_bytes": candidate.payload_bytes,
        "edge_memory_bytes": candidate.edge_memory_bytes,
        "distortion": candidate.distortion,
        "gap": candidate.gap,
        "predicted": candidate.predicted.to_json(),
        "energy_j": result.energy_j(candidate),
        "measured": None if scored.measured is None else scored.measured.to_json(),
        "accuracy": None if scored.accuracy is None else scored.accuracy.to_json(),
        "predicted_drop": scored.predicted_drop,
        "baseline": scored.label if scored.baseline else None,
    }
