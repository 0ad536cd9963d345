"""`tvm-split layers`."""

from __future__ import annotations

import json
from typing import Any

import click

from tvm_split.cli.command import SplitCommand
from tvm_split.cli.kinds import BITS
from tvm_split.cli.options import MODEL, once, shared


@click.command(cls=SplitCommand, short_help="List a network's layers, as --pin and --bits name them.")
@shared(MODEL)
@click.option(
    "--bits",
    "tensor_bits",
    type=BITS,
    multiple=True,
    metavar="GLOB=BITS",
    help="Show what `plan --bits` would give this width. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the graph as one JSON object.")  # fmt: skip
def layers(as_json: bool, **given: Any) -> None:
    """List the layers of MODEL in order: what a cut may go between, and what --pin and --bits may name.

    A layer is a convolution or matmul with its folded batch norm, bias, residual add and activation, or elementwise
    operators in a chain, or one other operator. The tensor that a layer makes is called as the layer; the tensors of a
    layer that makes several are LAYER.0, LAYER.1 and so on.
    """
    from tvm_split import prepare, report
    from tvm_split.plan.overrides import chosen_bits
    from tvm_split.plan.problem import check_sent
    from tvm_split.report_lists import layers_table
    from tvm_split.request import Request

    patterns = once(given["tensor_bits"], "--bits")
    check_sent(patterns.values())  # which of these an edge may have as well, its --edge-bits say
    request = Request(
        given["model"], shapes=dict(given["shapes"]), preprocess=given["preprocess"], tensor_bits=patterns
    )
    _, graph = prepare.prepare(request)
    bits = chosen_bits(graph, patterns)
    if as_json:
        click.echo(json.dumps(graph.to_json() | ({"bits": bits} if bits else {}), indent=1))
    else:
        for name in graph.inputs:
            tensor = graph.tensor[name]
            click.echo(f"input {name}: {tensor.dtype} {tensor.shape}")
        report.console().print(layers_table(graph, bits))
