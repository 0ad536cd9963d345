"""`tvm-split layers`."""

from __future__ import annotations

import json
from typing import Any

import click

from tvm_split.cli.command import SplitCommand
from tvm_split.cli.options import MODEL, shared


@click.command(cls=SplitCommand, short_help="List a network's layers, as --pin and --bits name them.")
@shared(MODEL)
@click.option("--json", "as_json", is_flag=True, help="Print the graph as one JSON object.")
def layers(as_json: bool, **given: Any) -> None:
    """List the layers of MODEL in order: what a cut may go between, and what --pin and --bits may name.

    A layer is a convolution or matmul with its folded batch norm, bias, residual add and activation, or elementwise
    operators in a chain, or one other operator. The tensor that a layer makes is called as the layer; the tensors of a
    layer that makes several are LAYER.0, LAYER.1 and so on.
    """
    from tvm_split import report, workflow
    from tvm_split.report_lists import layers_table
    from tvm_split.request import Request

    request = Request(given["model"], shapes=dict(given["shapes"]), preprocess=given["preprocess"])
    _, graph = workflow.prepare(request)
    if as_json:
        click.echo(json.dumps(graph.to_json(), indent=1))
    else:
        report.console().print(layers_table(graph))
