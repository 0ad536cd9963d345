"""Options that several commands share, and the Request they make."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_split.cli.kinds import BITS, PIN, SHAPE, CostsSource, Loss, Real, Size, Widths

if TYPE_CHECKING:
    from tvm_split.request import Request

#: what says which network it is
NETWORK = (
    click.argument("model"),
    click.option("--shape", "shapes", type=SHAPE, multiple=True, metavar="NAME=1x3x224x224",
                 help="Fix an input whose shape the model leaves open. May be repeated."),
)  # fmt: skip

#: and where it begins
MODEL = (
    *NETWORK,
    click.option("--preprocess", metavar="NAME|FILE.toml",
                 help="Put mean and scale into the network, so that it begins at the raw frame, uint8 (1, H, W, 3): "
                      "imagenet, efficientnet-lite0, plate, ppocr, bgr or a .toml file of mean, std, scale, "
                      "channels, layout."),
)  # fmt: skip


def target_option(text: str) -> Callable[[Any], Any]:
    """--target of a command for one machine; `text` is its help."""
    return click.option("--target", default="host", show_default=True, metavar="TARGET", help=text)


def database_option(text: str) -> Callable[[Any], Any]:
    """--database, the folder of `tune`; `text` is its help."""
    return click.option("--database", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help=text)


def plot_option(text: str) -> Callable[[Any], Any]:
    """--plot, a picture; `text` is its help."""
    kind = click.Path(path_type=Path)
    return click.option(
        "--plot", type=kind, metavar="FILE", help=f"{text} FILE ends in .svg or .png; needs matplotlib."
    )


def check_plot(path: Path | None) -> None:
    """PlotError, before any work, when no picture can be drawn there; none is asked for with None."""
    if path is not None:
        from tvm_split import plot

        plot.check_plot(path)


DATABASE = database_option("Use the schedules that `tvm-split tune` found, a folder that it made.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")

WINOGRAD = click.option("--no-winograd", "winograd", is_flag=True, flag_value=False, default=True,
                        help="Compute every convolution by its definition: slower, but without the 16/9 of memory that "
                             "weights take where Winograd's algorithm is used.")  # fmt: skip

REQUEST = (
    MODEL[0],
    click.option("--edge", default="raspberry-pi-4", show_default=True, metavar="TARGET",
                 help="The edge device: a name of `tvm-split targets`, or a .toml file."),
    click.option("--cloud", default="c5.xlarge", show_default=True, metavar="TARGET",
                 help="The cloud machine: a name of `tvm-split targets`, or a .toml file."),
    click.option("--link", default="4g", show_default=True, metavar="LINK",
                 help="The network between them: a name of `tvm-split links`, a .toml file (`tvm-split link` "
                      "measures one), a rate such as 3mbit or 3mbit/10mbit/20ms (up/down/round trip), or a named link "
                      "at a rate, wifi@3mbit."),
    click.option("--data", type=click.Path(path_type=Path), metavar="FILE|FOLDER|FUNCTION",
                 help="Samples that calibrate quantisers and, others, check accuracy: .npz with one array an input "
                      "and labels, .npy, a picture, a folder of pictures (folders in it are classes), a .csv of lines "
                      "file,label, or module:function, which yields arrays. Without it, random numbers are used, with "
                      "a warning."),
    *MODEL[1:],
    click.option("--memory", "memory_bytes", type=Size(), metavar="SIZE",
                 help="What the edge half may take: weights, live activations, kernels' scratch, payload. 8MiB, 8MB or "
                      "bytes; without it, there is no limit. Cloud-only is exempt: its edge only sends its frame."),
    click.option("--cut-bits", type=Widths(), default="2,4,8", show_default=True, metavar="BITS",
                 help="Widths that a crossing tensor may be sent at: 1 to 8, 16, 32 (32 is unquantised)."),
    click.option("--edge-bits", type=Widths(), default="32", show_default=True, metavar="BITS",
                 help="Widths that weights and tensors may have on the edge: 32 (float32), 16 (float16, computed "
                      "with as float32), 8 (integer kernels), and 2, 3, 4 or 6, at which weights are stored for these, "
                      "too; with several, e.g. 4,8, each layer has the best. Quantisers come from --data."),
    click.option("--distortion", type=click.Choice(["mse", "output"]), default="mse", show_default=True,
                 help="With --edge-bits, what planners take for the error of a width: that of the weights and tensors "
                      "themselves, or that of the network's outputs when one of them is quantised alone, which is "
                      "measured over --data and kept in the cache folder."),
    click.option("--rounding", type=click.Choice(["in-order", "nearest"]), default="in-order", show_default=True,
                 help="How weights become codes: in-order rounds layer after layer, each making up on --data for those "
                      "before it, where any has fewer than 8 bits; nearest takes no time."),
    click.option("--equalize", is_flag=True,
                 help="Balance the weights of neighbouring layers, channel by channel, if they lose less at the least "
                      "of --edge-bits then (--explain says how much). Results in floats stay the same bits."),
    click.option("--bits", "tensor_bits", type=BITS, multiple=True, metavar="GLOB=BITS",
                 help="Send tensors with such a name at this width, whatever --cut-bits says; with --edge-bits other "
                      "than 32, layers' weights and the tensors on the edge have it, too. A tensor is called as the "
                      "layer that makes it (`tvm-split layers MODEL --bits ...`). May be repeated."),
    click.option("--pin", "pins", type=PIN, multiple=True, metavar="GLOB=edge|cloud",
                 help="Keep layers with such a name on one side, e.g. 'stem*=edge'; `tvm-split layers MODEL` lists the "
                      "names. May be repeated."),
    click.option("--strategy", default="exact", show_default=True, metavar="PLANNER",
                 help="How cuts are searched for: a name of `tvm-split planners`."),
    click.option("--objective", type=click.Choice(["latency", "energy", "payload"]), default="latency",
                 show_default=True,
                 help="What the chosen answer has least of: seconds; joules of the edge, where its target and the link "
                      "state their power; or bytes sent."),
    click.option("--result-at", type=click.Choice(["edge", "cloud"]), default="edge", show_default=True,
                 help="Where the outputs are wanted."),
    click.option("--costs", type=CostsSource(), default="roofline", show_default=True, metavar=CostsSource.name,
                 help="Where layer times come from: the targets' data sheets; these with cycles of each layer's "
                      "machine code by llvm-mca (mca); boards at --tracker, or else this "
                      "machine's clock scaled to the targets; the arrays of eyeriss and tpu, in closed form "
                      "(systolic), simulated (scalesim), or by the Auto-Split authors' tile schedule (array); or two "
                      "files, as `plan --save-costs` writes."),
    click.option("--cloud-load", type=Real(0, 1, max_open=True), default=0.0, show_default=True,
                 metavar="SHARE",
                 help="The share of time that the cloud machine is busy with other requests like this one, below 1: "
                      "the mean waiting for it (M/D/1 queue) is added to the cloud's times."),
    click.option("--max-drop", type=Loss(), metavar="LOSS",
                 help="What an answer may lose of the metric on the samples held back: 1% or 0.01 of top-1 is one "
                      "point; of a function of your own, in its unit. [default: 5%]"),
    click.option("--metric", metavar="top1|top5|agreement|MODULE:FUNCTION",
                 help="What accuracy is: the right class is the first, or among the first five; the float network's "
                      "first class; or function(outputs, label) -> score of your own, higher is better. [default: top1 "
                      "where --data has labels, else agreement]"),
    click.option("--min-agreement", type=Real(0, 1), metavar="SHARE",
                 help="Another name for --metric agreement with --max-drop 1 - SHARE."),
    click.option("--max-error", type=Real(0), default=0.1, show_default=True, metavar="ERROR",
                 help="For a network that gives no class scores, without --metric: largest relative error of an "
                      "answer's outputs."),
    click.option("--baselines", is_flag=True,
                 help="Compare with edge-only at 2, 4, 6 and 8 bits, Neurosurgeon and QDMP as well, each with real "
                      "accuracy: compiles some more halves."),
    click.option("--samples", type=click.IntRange(1), default=16, show_default=True,
                 help="How many samples of --data calibrate, taken evenly from all."),
    click.option("--check", type=click.IntRange(1), default=32, show_default=True,
                 help="How many other samples are held back to check accuracy on. Of fewer than both, half calibrate."),
    click.option("--tracker", metavar="HOST:PORT",
                 help="With --costs measured: the RPC tracker of boards to time layers on. Lab networks only."),
    click.option("--edge-key", metavar="KEY", help="The edge board's key at the tracker."),
    click.option("--cloud-key", metavar="KEY", help="The cloud machine's key at the tracker."),
    WINOGRAD,
    DATABASE,
)  # fmt: skip

PARETO = click.option("--pareto", type=click.Choice(["memory", "distortion"]),
                      help="Show as well the soonest answer for each smaller limit on this: edge memory, or the "
                           "distortion of quantised weights and tensors.")  # fmt: skip
ALL = click.option("--all", "every_solution", is_flag=True,
                   help="Show as well all that the planner answers, as predicted: with --strategy auto-split or "
                        "auto-split-paper, Algorithm 1's whole solution list.")  # fmt: skip

OUTPUT = (
    click.option("--top", type=click.IntRange(1), default=8, show_default=True,
                 help="How many splits the table shows. --json holds every split whose accuracy was checked: the "
                      "soonest few of each width, and those that win at another uplink rate."),
    JSON,
    click.option("--explain", is_flag=True, help="Print on stderr what each pass found, and why it left things alone."),
    QUIET,
)  # fmt: skip


def shared(options: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    """Decorate with all the options, in the order of the tuple."""
    return lambda function: functools.reduce(lambda made, option: option(made), reversed(options), function)


def request_of(given: dict[str, Any]) -> Request:
    """The Request of the options of REQUEST. UsageError when a pattern is given twice with different values."""
    from tvm_split.request import Request

    options = {"shapes": "--shape", "pins": "--pin", "tensor_bits": "--bits"}
    return Request(**{**given, **{name: once(given[name], option) for name, option in options.items()}})


def once(pairs: tuple[tuple[str, Any], ...], option: str) -> dict[str, Any]:
    """The pairs as a dict. UsageError when a name has two values."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise click.UsageError(f"{option} {name} is given as {found[name]} and as {value}; leave one of them out")
    return found
