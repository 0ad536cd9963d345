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


def halves(count=24, networks=4, seed=0, truth=(1.2, 3e-6, 1e-10, 2e-11, 1e-9)):
    """Halves that take what `truth` says of them: scale, per layer, weight byte, moved byte and element."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        terms = (draw.uniform(1e-3, 1e-1), draw.randint(2, 90), draw.randint(10**4, 10**8), draw.randint(10**5, 10**8),
                 draw.randint(10**2, 10**6))  # fmt: skip
        seconds = math.fsum(a * b for a, b in zip(truth, terms, strict=True))
        made.append(
            HalfRecord(f"net{i % networks}", "edge", f"{i}", terms[1], terms[0], *terms[2:], seconds, 0.01, (f"k{i}",))
        )
    return made
