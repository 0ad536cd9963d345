"""Records of a device that does not exist, whose times follow a rule that a test knows."""

import math
import random

from tvm_split.profile.feature_names import NAMES
from tvm_split.profile.records import HalfRecord, Record


def layers(count=120, networks=6, seed=0):
    """base_s is off by a factor that hangs on two features and on the rule."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        features = [0.0] * len(NAMES)
        flops = features[NAMES.index("flops")] = draw.uniform(10, 30)
        features[NAMES.index("intensity")] = draw.uniform(-3, 6)
        rule = draw.choice(["Packed", "Elementwise"])
        base = 2**flops / 1e11
        factor = 1.5 * (2 if rule == "Elementwise" else 1) * (1.3 if features[NAMES.index("intensity")] > 0 else 1)
        made.append(Record(f"k{i}", f"net{i % networks}", f"l{i}", "conv", rule, base, tuple(features), base * factor,
                           0.01))  # fmt: skip
    return made


def alone_s(count=60):
    """Seconds of the first layers, by key."""
    return {record.key: record.seconds for record in layers(count)}


def halves(count=24, networks=4, seed=0, truth=(1.2, 3e-6, 1e-10, 2e-11, 1e-9)):
    """Halves of some of the first 60 layers, which take what `truth` says: scale, per layer, weight byte, moved byte
    and element."""
    draw = random.Random(seed)
    alone = alone_s()
    made = []
    for i in range(count):
        keys = tuple(draw.sample(sorted(alone), draw.randint(2, 50)))
        counts = draw.randint(10**4, 10**8), draw.randint(10**5, 10**8), draw.randint(10**2, 10**6)
        terms = sum(alone[key] for key in keys), len(keys), *counts
        seconds = math.fsum(a * b for a, b in zip(truth, terms, strict=True))
        made.append(HalfRecord(f"net{i % networks}", "edge", f"{i}", *counts, seconds, 0.01, keys))
    return made
