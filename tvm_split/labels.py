"""What the table calls an answer, so that no two answers have one name. No TVM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tvm_split.plan.problem import AS_IT_IS, Candidate


def label_of(candidate: Candidate) -> str:
    """What the table calls a candidate, if no other is called so: see `distinct`."""
    if candidate.kind == "split":
        bits = "/".join(str(b) for b in sorted({part.bits for part in candidate.crossing}))
        return f"split after {candidate.edge_layers[-1]}, {bits} bits{_precision(candidate)}"
    if candidate.kind == "cloud-only":
        return "cloud-only JPEG" if candidate.is_coded else "cloud-only raw"
    return f"edge-only{_precision(candidate)}"


def _precision(candidate: Candidate) -> str:
    """Bits of the edge's weights and tensors where they are fewer than a float's: W8A8, W4/8A8."""
    named = (("W", candidate.weight_bits), ("A", candidate.tensor_bits))
    found = "".join(f"{letter}{'/'.join(map(str, sorted(set(bits.values()))))}" for letter, bits in named if bits)
    return f", {found}" if found else ""


def distinct(candidates: Sequence[Candidate], labels: Sequence[str]) -> list[str]:
    """The labels; those that several candidates share are followed by what these differ in, as few words as do:

    split after b3, 8 bits, W4/8A8 (W4 in 3 layers, W8 in 9)
    split after b3, 8 bits, W4/8A8 (W4 in 5 layers, W8 in 7)

    The cut comes first, then the bits sent, then the edge's widths: how many layers have each, then one by one.
    """
    found = list(labels)
    for label, count in Counter(labels).items():
        if count > 1:
            group = [i for i, each in enumerate(labels) if each == label]
            for i, words in zip(group, _differences([candidates[i] for i in group]), strict=True):
                found[i] = f"{label} ({', '.join(words)})"
    return found


def _differences(group: Sequence[Candidate]) -> list[list[str]]:
    """Of each candidate, the words that tell it from the others; its number among those that nothing tells apart.

    O(candidates * layers): a group that a word divides goes on with the next one, which is the first that may divide
    its parts.
    """
    found: list[list[str]] = [[] for _ in group]
    alike = [list(range(len(group)))]
    for words in _features(group):
        left = []
        for same in alike:
            parts: dict[str, list[int]] = {}
            for i in same:
                parts.setdefault(words[i], []).append(i)
            if len(parts) > 1:
                for i in same:
                    found[i].append(words[i])
            left += [part for part in parts.values() if len(part) > 1]
        alike = left
        if not alike:
            return found
    for same in alike:
        for number, i in enumerate(same, 1):
            found[i].append(f"number {number}")
    return found


def _features(group: Sequence[Candidate]) -> Iterator[list[str]]:
    """What may tell some of them from the others, the plainest first: the words that each has for it."""
    weights, tensors = [each.weight_bits for each in group], [each.tensor_bits for each in group]
    layers = [frozenset(each.edge_layers) for each in group]
    yield [f"{len(found)} layers on the edge" for found in layers]
    for name in dict.fromkeys(name for each in group for name in each.edge_layers):
        yield [f"{'with' if name in found else 'without'} {name}" for found in layers]
    yield from _one_by_one([{part.tensor: part.bits for part in each.crossing} for each in group], "{} sent at {} bits")
    yield [_counts(found, "W", "layers") for found in weights]
    yield [_counts(found, "A", "tensors") for found in tensors]
    yield from _one_by_one(weights, "{} W{}")
    yield from _one_by_one(tensors, "{} A{}")


def _one_by_one(widths: Sequence[Mapping[str, int]], words: str) -> Iterator[list[str]]:
    for name in dict.fromkeys(name for found in widths for name in found):
        yield [words.format(name, found.get(name, AS_IT_IS)) for found in widths]


def _counts(widths: Mapping[str, int], letter: str, what: str) -> str:
    """W4 in 3 layers, W8 in 9."""
    counts = sorted(Counter(widths.values()).items())
    first = what if counts and counts[0][1] > 1 else what.removesuffix("s")
    return ", ".join(f"{letter}{bits} in {n}{'' if i else f' {first}'}" for i, (bits, n) in enumerate(counts))
