"""ResNet-50 on the Auto-Split authors' constants, cut after each layer: what crosses, and how long it all takes.

Their proof of concept ships a chart (resnet50_split.png) that bills a split for its last layer's tensor alone. Inside a
residual block the block's input crosses as well, or the cloud cannot add it. Both are computed here, at 3 Mbit/s of
2^20 bits, a raw 8-bit frame, no round trip, results sent up; edge at 8 bits on Eyeriss, cloud at 16 on the TPU.

`PUBLISHED` has the chart's bars ("chart"), and what its cost model gives for some more cuts when it is run on a list of
torchvision's 53 convolutions ("model"). Both are relative to cloud-only. This network strides in the first convolution
of a block, torchvision's in the second, which has 6 % more multiplications.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tvm_split.graph import Graph
from tvm_split.plan.problem import Link
from tvm_split.profile.mac_array import EYERISS, TPU, array_costs

FRAME_BITS, RESULT_BITS, EDGE_BITS, CLOUD_BITS = 8, 8, 8, 16
WIDTHS = (2, 4, 8)
RESULTS = 1000
#: seconds of cloud-only in the model
CLOUD_ONLY_S = 0.3886
KERNEL = "their cycles do not grow with the kernel, ours do"
ROWS = "the same, and their strided rows count twice"


@dataclass(frozen=True, slots=True)
class Published:
    """What a cut (None: the whole network on the edge) takes, relative to cloud-only."""

    name: str
    layer: str | None
    bits: int
    with_skips: bool
    relative: float
    source: str
    reason: str


PUBLISHED = (
    Published("8.0_12_4", "res3_0_branch2b", 4, False, 0.496, "chart", KERNEL),
    Published("8.0_12_6", "res3_0_branch2b", 7, False, 0.743, "chart, at the 7 bits that fit it", KERNEL),
    Published("8.0_12_8", "res3_0_branch2b", 8, False, 0.824, "chart", KERNEL),
    Published("split 12, skip paid", "res3_0_branch2b", 4, True, 3.12, "model", KERNEL),
    Published("split 12, skip paid", "res3_0_branch2b", 8, True, 6.08, "model", KERNEL),
    Published("8.0_2_4", "res2_0_branch2b", 4, False, 0.677, "chart", KERNEL),
    Published("after max-pool", "res_conv1_bn_relu_maxpool", 2, True, 0.344, "model", KERNEL),
    Published("after max-pool", "res_conv1_bn_relu_maxpool", 4, True, 0.673, "model", KERNEL),
    Published("after max-pool", "res_conv1_bn_relu_maxpool", 8, True, 1.33, "model", KERNEL),
    Published("stage 2, first block", "res3_0_branch1", 2, True, 0.919, "model", ROWS),
    Published("stage 2, first block", "res3_0_branch1", 4, True, 1.576, "model", ROWS),
    Published("stage 3, first block", "res4_0_branch1", 2, True, 0.838, "model", ROWS),
    Published("stage 3, first block", "res4_0_branch1", 4, True, 1.166, "model", ROWS),
    Published("after average pool", "res5_2_branch2c_bn_sum_relu_averagepool", 8, True, 0.97, "model", KERNEL),
    Published("U2", None, 2, True, 0.914, "chart", KERNEL),
    Published("U4", None, 4, True, 0.929, "chart", KERNEL),
    Published("U6", None, 6, True, 0.944, "chart", KERNEL),
    Published("U8", None, 8, True, 0.962, "chart", KERNEL),
)


@dataclass(frozen=True, slots=True)
class Cut:
    """After `layer`: elements of its own tensor and of all that crosses, seconds of edge and cloud."""

    layer: str
    own: int
    crossing: int
    edge_s: float
    cloud_s: float


class Chart:
    """Every prefix of the network's layers."""

    def __init__(self, graph: Graph, channels: Mapping[str, int], link: Link) -> None:
        self.graph, self.channels, self.link = graph, channels, link
        cloud = array_costs(graph, channels, TPU, CLOUD_BITS, CLOUD_BITS)
        self.cloud_s = sum(cloud.layer_s.values())
        self.cuts = {cut.layer: cut for cut in self._cuts(cloud.layer_s)}

    def _cuts(self, cloud_s: Mapping[str, float]) -> Iterator[Cut]:
        graph, edge, edge_s, left = self.graph, set(), 0.0, self.cloud_s
        costs = array_costs(graph, self.channels, EYERISS, EDGE_BITS, EDGE_BITS)
        for layer in graph.layers[:-1]:
            edge.add(layer.name)
            edge_s, left = edge_s + costs.of(layer.name), left - cloud_s[layer.name]
            own = sum(graph.tensor[name].elements for name in layer.outputs)
            yield Cut(layer.name, own, sum(graph.tensor[name].elements for name in graph.crossing(edge)), edge_s, left)

    @property
    def cloud_only_s(self) -> float:
        frame = sum(self.graph.tensor[name].elements for name in self.graph.inputs)
        return self._up_s(frame, FRAME_BITS) + self.cloud_s

    def relative(self, layer: str, bits: int, with_skips: bool) -> float:
        """Seconds of a split after this layer over those of cloud-only."""
        cut = self.cuts[layer]
        sent = cut.crossing if with_skips else cut.own
        return (cut.edge_s + self._up_s(sent, bits) + cut.cloud_s) / self.cloud_only_s

    def uniform(self, bits: int) -> float:
        """Seconds of the whole network on the edge at one width, results sent up, over those of cloud-only."""
        edge = array_costs(self.graph, self.channels, EYERISS, bits, bits)
        return (sum(edge.layer_s.values()) + self._up_s(RESULTS, bits)) / self.cloud_only_s

    def ours(self, known: Published) -> float:
        if known.layer is None:
            return self.uniform(known.bits)
        return self.relative(known.layer, known.bits, known.with_skips)

    def _up_s(self, elements: int, bits: int) -> float:
        return self.link.up_s(-(-elements * bits // 8))

    def series(self) -> list[dict[str, object]]:
        """One row a cut: bytes at 8 bits and relative seconds, without and with the skip tensors."""
        return [
            {"layer": cut.layer, "own_bytes": cut.own, "crossing_bytes": cut.crossing, "edge_s": cut.edge_s}
            | {f"own_{bits}": self.relative(cut.layer, bits, False) for bits in WIDTHS}
            | {f"all_{bits}": self.relative(cut.layer, bits, True) for bits in WIDTHS}
            for cut in self.cuts.values()
        ]

    def against_published(self) -> list[dict[str, object]]:
        return [
            {"name": known.name, "layer": known.layer, "bits": known.bits, "with_skips": known.with_skips,
             "published": known.relative, "source": known.source, "ours": self.ours(known),
             "deviation": self.ours(known) / known.relative - 1, "reason": known.reason}
            for known in PUBLISHED
        ]  # fmt: skip

    def text(self) -> str:
        heads = [f"{what} {bits} bits" for what in ("own", "all") for bits in WIDTHS]
        lines = [
            "ResNet-50 at 3 Mbit/s, edge at 8 bits: kB at 8 bits that cross (own: the layer's tensor alone; all: skips "
            "too), edge ms up to there, seconds over those of cloud-only",
            f"{'cut after':45}{'own kB':>9}{'all kB':>9}{'edge ms':>9}" + "".join(f"{head:>12}" for head in heads),
        ]
        for cut in self.cuts.values():
            times = [self.relative(cut.layer, bits, skips) for skips in (False, True) for bits in WIDTHS]
            lines.append(
                f"{cut.layer[-44:]:45}{cut.own / 1e3:9.1f}{cut.crossing / 1e3:9.1f}{cut.edge_s * 1e3:9.1f}"
                + "".join(f"{time:12.3f}" for time in times)
            )
        lines += ["", f"cloud-only: {self.cloud_only_s:.4f} s, published {CLOUD_ONLY_S} s (no pooling)", ""]
        lines += [f"{'published':24}{'bits':>5}{'published':>11}{'ours':>8}{'deviation':>11}  source; reason"]
        for row in self.against_published():
            lines.append(
                f"{row['name']:24}{row['bits']:>5}{row['published']:>11.3f}{row['ours']:>8.3f}"
                f"{row['deviation']:>+11.1%}  {row['source']}; {row['reason']}"
            )
        return "\n".join(lines)
