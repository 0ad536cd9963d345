"""What the table calls an answer, so that no two answers have one name. No TVM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

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
    """Of each candidate, the words that tell it from the others; its number among those that nothing tells apart."""
    if len(group) == 1:
        return [[]]
    for words_of in _features(group):
        words = [words_of(candidate) for candidate in group]
        if len(set(words)) == 1:
            continue
        found: list[list[str]] = [[] for _ in group]
        for each in dict.fromkeys(words):
            same = [i for i, word in enumerate(words) if word == each]
            for i, more in zip(same, _differences([group[i] for i in same]), strict=True):
                found[i] = [each, *more]
        return found
    return [[f"number {i}"] for i in range(1, len(group) + 1)]


def _features(group: Sequence[Candidate]) -> Iterator[Callable[[Candidate], str]]:
    """What may tell some of them from the others, the plainest first."""
    yield lambda each: f"{len(each.edge_layers)} layers on the edge"
    for layer in dict.fromkeys(name for each in group for name in each.edge_layers):
        yield partial(_with, layer)
    yield from _one_by_one(group, _sent, "{} sent at {} bits")
    yield lambda each: _counts(each.weight_bits, "W", "layers")
    yield lambda each: _counts(each.tensor_bits, "A", "tensors")
    yield from _one_by_one(group, lambda each: each.weight_bits, "{} W{}")
    yield from _one_by_one(group, lambda each: each.tensor_bits, "{} A{}")


def _one_by_one(
    group: Sequence[Candidate], widths_of: Callable[[Candidate], Mapping[str, int]], words: str
) -> Iterator[Callable[[Candidate], str]]:
    for name in dict.fromkeys(name for each in group for name in widths_of(each)):
        yield partial(_width, name, widths_of, words)


def _with(layer: str, candidate: Candidate) -> str:
    return f"{'with' if layer in candidate.edge_layers else 'without'} {layer}"


def _width(name: str, widths_of: Callable[[Candidate], Mapping[str, int]], words: str, candidate: Candidate) -> str:
    return words.format(name, widths_of(candidate).get(name, AS_IT_IS))


def _sent(candidate: Candidate) -> dict[str, int]:
    return {part.tensor: part.bits for part in candidate.crossing}


def _counts(widths: Mapping[str, int], letter: str, what: str) -> str:
    """W4 in 3 layers, W8 in 9."""
    counts = sorted(Counter(widths.values()).items())
    first = what if counts and counts[0][1] > 1 else what.removesuffix("s")
    return ", ".join(f"{letter}{bits} in {n}{'' if i else f' {first}'}" for i, (bits, n) in enumerate(counts))
