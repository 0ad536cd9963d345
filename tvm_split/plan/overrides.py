"""Bits that a user gives to names: `--bits 'stem*=8' --bits 'head*=16'`. Pure; no TVM."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from tvm_split.errors import PlanError
from tvm_split.graph import Graph


def chosen_bits(graph: Graph, patterns: Mapping[str, int]) -> dict[str, int]:
    """Bits of each layer and tensor that a pattern (fnmatch) names. A layer and its only tensor share a name.

    PlanError: a pattern names nothing; two patterns give one name two widths. O(patterns * names).
    """
    tensors = [tensor.name for tensor in graph.tensors]
    names = dict.fromkeys([*tensors, *(layer.name for layer in graph.layers)])
    found: dict[str, tuple[int, str]] = {}
    for pattern, bits in patterns.items():
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise PlanError(
                f"'{pattern}' in --bits (tensor_bits) matches no layer and no tensor; {close(pattern, tensors)}"
            )
        for name in matched:
            other, first = found.setdefault(name, (bits, pattern))
            if other != bits:
                raise PlanError(
                    f"'{name}' is given {other} bits by '{first}' and {bits} by '{pattern}' (--bits, tensor_bits); "
                    "change one of them so that each name has one width"
                )
    return {name: bits for name, (bits, _) in found.items()}


def fixed_bits(graph: Graph, patterns: Mapping[str, int], quantisable: Collection[str]) -> dict[str, int]:
    """What `Precision.fixed` holds: the bits of those layers and tensors that can be quantised on the edge."""
    return {name: bits for name, bits in chosen_bits(graph, patterns).items() if name in quantisable}


def check_widths(
    edge_bits: Sequence[int], patterns: Mapping[str, int], stored: Sequence[int], target: str,
    has: Sequence[int] | None,
) -> None:  # fmt: skip
    """PlanError for a width that no edge half has, or that this one's target lacks.

    edge_bits: of the whole edge. patterns: as above, of an edge that computes with bits; {} for a float one. stored:
    widths that halves can have. has: the target's own, None for all.
    """
    asked = {**{f"--edge-bits {bits}": bits for bits in edge_bits},
             **{f"--bits '{pattern}={bits}'": bits for pattern, bits in patterns.items()}}  # fmt: skip
    for option, bits in asked.items():
        if bits not in stored:
            raise PlanError(
                f"{option}: weights and tensors on the edge cannot have {bits} bits; the widths are {_listed(stored)}. "
                "What is only sent may have others: --cut-bits"
            )
        if has is not None and bits not in has:
            raise PlanError(
                f"{option}: target '{target}' has no {bits}-bit layers; its file says that it has {_listed(has)} bits. "
                "Give --edge-bits and --bits of these"
            )


def close(pattern: str, names: Sequence[str]) -> str:
    """What a user may have meant by a pattern, and where all names are."""
    plain = pattern.strip("*")
    holding = [name for name in names if plain.lower() in name.lower()]
    found = difflib.get_close_matches(plain, names, n=3) or holding[:3]
    hint = f"did you mean {' or '.join(found)}? " if found else f"the first are {', '.join(names[:3])}; "
    return f"{hint}there are {len(names)}, and `tvm-split layers MODEL` lists them"


def _listed(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))
