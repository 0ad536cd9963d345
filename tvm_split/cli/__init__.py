"""The command `tvm-split`: arguments to calls, results to text. TVM is imported only when a command needs it."""

from __future__ import annotations

import os
import sys

import click

from tvm_split.cli.bench_command import bench
from tvm_split.cli.demo_command import demo
from tvm_split.cli.doctor import doctor
from tvm_split.cli.layers_command import layers
from tvm_split.cli.link_command import link
from tvm_split.cli.lists import links, passes, planners, targets, zoo
from tvm_split.cli.plan_commands import compile_command, plan
from tvm_split.cli.profile_command import profile
from tvm_split.cli.run_commands import measure, run
from tvm_split.cli.tune_command import tune

EPILOG = """\b
First steps:
  tvm-split demo                                   the whole way on a network that a package ships
  tvm-split layers model.onnx                      the network's layers, as --pin and --bits name them
  tvm-split plan model.onnx --data calib.npz       the table of answers; nothing is built
  tvm-split compile model.onnx -o bundle --edge raspberry-pi-4 --cloud c5.xlarge --link 4g --data calib.npz
  tvm-split run bundle --input photo.jpg           both halves here, over a link shaped to the plan's rate
  tvm-split doctor                                 what is missing on this machine, and how to get it
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="tvm-split")
def cli() -> None:
    """Split a trained network between an ARM edge device and a cloud machine.

    Chooses where to cut and how many bits cross, and compiles the two halves with Apache TVM. "Do not split" competes
    in the same table and often wins.
    """


for command in (
    compile_command, plan, layers, run, measure, bench, profile, tune, demo, targets, links, link, planners, passes,
    zoo, doctor,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Entry point of the console script; a reader that stops early (`| head`) is no error."""
    try:
        cli.main(prog_name="tvm-split")
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # nobody reads any more: what Python would flush at exit has to go somewhere quiet
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
