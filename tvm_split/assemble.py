"""A plan -> a bundle: cut, quantise, pack, partition, compile both halves, write the manifest."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tvm_split import explain, extract, pipeline
from tvm_split.bundle import PLAN, Bundle, write_manifest
from tvm_split.bundle_folder import canonical_json, new_folder, write_json
from tvm_split.compile_half import baseline, compile_half, device, weights_digest, with_fingerprint
from tvm_split.edge_half import halves_of, with_precision
from tvm_split.footprint import Footprint, footprint
from tvm_split.graph import Tensor
from tvm_split.jpeg import QUALITY
from tvm_split.passes.pack_cut import read_layout
from tvm_split.plan.evaluate import input_bytes
from tvm_split.plan.problem import Candidate
from tvm_split.plan_json import to_json
from tvm_split.progress import Progress, quiet
from tvm_split.targets import load_target
from tvm_split.tune.apply import database_of, taking
from tvm_split.tune.database import Database
from tvm_split.versions import versions
from tvm_split.workflow import PlanResult

#: what a manifest says of the halves, and nothing else says
OF_HALVES = ("fingerprint", "payload", "halves", "compiled_for", "edge_memory")

log = logging.getLogger(__name__)


def compile_plan(
    result: PlanResult, out: Path, progress: Progress = quiet, force: bool = False, made: Bundle | None = None
) -> Bundle:
    """Build the chosen candidate's halves into the bundle `out`; nothing is left under that name unless all went well.

    made: a bundle of the same candidate, whose halves are moved from it instead; it is none afterwards.
    BundleError when `out` exists (and `force` does not replace it) or cannot be written; BuildError as `compile_half`.
    """
    candidate, graph, problem = result.chosen.candidate, result.graph, result.problem
    with new_folder(out, force) as folder, database_of(result.request) as use:
        if made is None:
            facts, names = build_halves(result, candidate, folder, progress)
        else:
            facts, names = _moved_halves(made, folder)
        write_json(folder / PLAN, to_json(result))
        names.append(PLAN)
        at_edge = (None, *candidate.edge_layers) if problem.result_at == "edge" else ()
        outputs = [
            _facts(graph.tensor[tensor])
            | {"name": name, "tensor": tensor, "returned_by": "edge" if graph.producer[tensor] in at_edge else "cloud"}
            for name, tensor in zip(extract.output_names(result.module), graph.outputs, strict=True)
        ]
        inputs = [_facts(graph.tensor[name]) for name in graph.inputs]
        facts |= {
            "model": graph.name, "kind": candidate.kind, "inputs": inputs, "outputs": outputs,
            "result_at": problem.result_at, "targets": {"edge": result.request.edge, "cloud": result.request.cloud},
            "versions": versions(), "database": None if use is None else database_facts(use.database),
        }  # fmt: skip
        write_manifest(folder, facts, problem.link, names)
    return Bundle.open(out)


def build_halves(
    result: PlanResult, candidate: Candidate, folder: Path, progress: Progress
) -> tuple[dict[str, Any], list[str]]:
    """Compile edge, cloud and their twins for this machine; return the manifest's facts about them and the files.

    A twin that would be the half itself is not made.
    """
    twin = baseline()
    held, sent = result.quantizers(candidate)
    network = result.module_of(candidate)
    marked = pipeline.at_cut(candidate.edge_layers, sent, result.problem.result_at)(network)
    parts = [asdict(part) | {"shape": list(part.shape)} for part in read_layout(marked)]
    bits = {"weights": dict(candidate.weight_bits), "held": {name: asdict(each) for name, each in held.items()},
            "halves": halves_of(candidate)}  # fmt: skip
    identity = {"graph": result.graph.to_json(), "edge": list(candidate.edge_layers), "parts": parts, "bits": bits,
                "weights": weights_digest(network), "versions": versions()}  # fmt: skip
    fingerprint = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    edge, cloud = pipeline.halves(marked)
    edge = with_precision(edge, candidate, held)
    edge, cloud = (with_fingerprint(half, fingerprint) for half in (edge, cloud))
    modules, names = {"edge": edge}, {"edge": result.request.edge, "cloud": result.request.cloud}
    if parts:
        modules["cloud"] = cloud
    own = {side: device(load_target(names[side])) for side in modules}  # a simulated one is refused before any work
    compiled_for = {}
    for side, mod in modules.items():
        progress(f"compiling the {side} half for {own[side].name}")
        log.info("the %s half as compiled for %s:", side, own[side].name)
        with taking(progress):
            lowered = compile_half(mod, own[side], folder / f"{side}.so")
        if side == "edge":
            memory = _memory(result, candidate, footprint(lowered, own[side].target))
        compiled_for[side] = own[side].facts()
        if twin.facts() != own[side].facts():
            progress(f"compiling the {side} half's twin for {twin.name}")
            with explain.heard():  # passes would say of the twin what they said of the half
                compile_half(mod, twin, folder / f"{side}_host.so")
            compiled_for[f"{side}_host"] = twin.facts()
    halves = {role: f"{role}.so" for role in compiled_for}
    payload = {"bytes": sum(part["size_bytes"] for part in parts), "parts": parts, "codec": _codec(candidate)}
    made = (fingerprint, payload, halves, compiled_for, memory)
    return dict(zip(OF_HALVES, made, strict=True)), list(halves.values())


def _moved_halves(made: Bundle, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What `build_halves` returned for the bundle, its files now in `folder`."""
    facts = {name: made.manifest[name] for name in OF_HALVES}
    names = list(facts["halves"].values())
    for name in names:
        shutil.move(made.path / name, folder / name)
    return facts, names


def _memory(result: PlanResult, candidate: Candidate, made: Footprint) -> dict[str, int]:
    """What the plan counted for the edge, and what the compiled half takes, with the inputs that its caller holds."""
    inputs = input_bytes(result.graph)
    return {
        "planned_bytes": candidate.edge_memory_bytes, "compiled_bytes": made.total_bytes + inputs,
        "weights_bytes": made.weights_bytes, "storages_bytes": made.storages_bytes,
        "scratch_bytes": made.scratch_bytes, "input_bytes": inputs,
    }  # fmt: skip


def _codec(candidate: Candidate) -> dict[str, Any] | None:
    """How the runtime codes the payload before it sends it, and the bytes that the plan counted; None for not."""
    if not candidate.is_coded:
        return None
    (frame,) = candidate.crossing
    return {"name": frame.codec, "shape": list(frame.shape), "quality": QUALITY, "bytes": frame.size_bytes}


def database_facts(database: Database) -> dict[str, str]:
    """What the manifest says of the tuned schedules that the halves were compiled with."""
    return {"name": database.folder.resolve().name, "sha256": database.digest()}


def _facts(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
