"""Options that several commands share, their types, and the Request they make."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tvm_split.request import Request

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Size(click.ParamType[Any]):
    """Bytes: 8MiB, 8MB, 1.5GiB, 65536."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*", value)
        if match is None or match[2].lower() not in UNITS:
            self.fail(
                f"{value!r} is not a size; write bytes, or a unit: 8MiB (2^20), 8MB (10^6), 512KiB, 1GiB", param, ctx
            )
        size = min(float(match[1]) * UNITS[match[2].lower()], 2.0**62)
        if size < 1:
            self.fail(f"{value!r} is less than one byte; leave the option out for no limit", param, ctx)
        return math.floor(size)


class Widths(click.ParamType[Any]):
    """Numbers with commas between them: 2,4,8. Which widths exist, the planner knows."""

    name = "bits"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        if not all(word.isdecimal() for word in words):
            self.fail(f"{value!r} is not a list of bits; write numbers with commas, e.g. 2,4,8", param, ctx)
        return tuple(dict.fromkeys(int(word) for word in words))


class Pair(click.ParamType[Any]):
    """NAME=VALUE, split at the last '=': names of nodes may hold anything."""

    def __init__(self, name: str, example: str, convert: Callable[[str], Any]) -> None:
        self.name, self._example, self._convert = name, example, convert

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.rpartition("=")
        try:
            if not (key and equals):
                raise ValueError
            return key, self._convert(text)
        except ValueError:
            self.fail(f"{value!r} is not of the form {self.name}; an example: {self._example}", param, ctx)


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(extent) for extent in text.lower().split("x"))
    if min(shape) < 1:
        raise ValueError
    return shape


def _side(text: str) -> str:
    if text not in ("edge", "cloud"):
        raise ValueError
    return text


class CostsSource(click.ParamType[Any]):
    """'roofline', 'measured', or the two files of edge and cloud."""

    name = "roofline|measured|edge.json,cloud.json"

    def convert(self, value: Any, param: Any, ctx: Any) -> str | tuple[Path, Path]:
        if value in ("roofline", "measured"):
            return str(value)
        if isinstance(value, tuple):
            return value
        files = [part.strip() for part in value.split(",")]
        if len(files) != 2 or not all(files):
            self.fail(f"{value!r}: give roofline, measured, or two files as edge.json,cloud.json", param, ctx)
        for name in files:
            if not Path(name).is_file():
                self.fail(
                    f"costs file {name!r}: there is no such file; `plan --save-costs FOLDER` writes both", param, ctx
                )
        return Path(files[0]), Path(files[1])


SHAPE = Pair("NAME=1x3x224x224", "--shape image=1x3x320x320", _shape)
PIN = Pair("GLOB=edge|cloud", "--pin 'stem*=edge'", _side)
BITS = Pair("GLOB=BITS", "--bits 'block3_*=4'", int)

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
                      "imagenet, efficientnet-lite0, plate or a .toml file of mean, std, scale, channels, layout."),
)  # fmt: skip


def target_option(text: str) -> Callable[[Any], Any]:
    """--target of a command for one machine; `text` is its help."""
    return click.option("--target", default="host", show_default=True, metavar="TARGET", help=text)


def database_option(text: str) -> Callable[[Any], Any]:
    """--database, the folder of `tune`; `text` is its help."""
    return click.option("--database", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help=text)


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
                 help="The network between them: a name of `tvm-split links`, a .toml file, or a rate such as 3mbit or "
                      "3mbit/10mbit/20ms (up/down/round trip)."),
    click.option("--data", type=click.Path(path_type=Path), metavar="FILE|FOLDER|FUNCTION",
                 help="Samples that calibrate the crossing tensors and check accuracy: .npz with one array an input, "
                      ".npy, a picture, a folder of pictures, a .csv of lines file,label, or module:function, which "
                      "yields arrays. Without it, random numbers are used, with a warning."),
    *MODEL[1:],
    click.option("--memory", "memory_bytes", type=Size(), metavar="SIZE",
                 help="What the edge half may take: weights, live activations, kernels' scratch, payload. 8MiB, 8MB or "
                      "bytes; without it, there is no limit. Cloud-only is exempt: its edge only sends its frame."),
    click.option("--cut-bits", type=Widths(), default="2,4,8", show_default=True, metavar="BITS",
                 help="Widths that a crossing tensor may be sent at: 1 to 8, 16, 32 (32 is unquantised)."),
    click.option("--edge-bits", type=Widths(), default="32", show_default=True, metavar="BITS",
                 help="Widths that weights and tensors may have on the edge: 32 (float32), 8 (integer kernels), or "
                      "8,32 for the best of both. Quantisers come from --data."),
    click.option("--rounding", type=click.Choice(["in-order", "nearest"]), default="in-order", show_default=True,
                 help="How weights become codes: in-order rounds layer after layer, each making up on --data for those "
                      "before it, where any has fewer than 8 bits; nearest takes no time."),
    click.option("--equalize", is_flag=True,
                 help="Balance the weights of neighbouring layers, channel by channel, if they lose less at the least "
                      "of --edge-bits then (--explain says how much). Results in floats stay the same bits."),
    click.option("--bits", "tensor_bits", type=BITS, multiple=True, metavar="GLOB=BITS",
                 help="Send tensors with such a name at this width, whatever --cut-bits says. A tensor is called as "
                      "the layer that makes it (`tvm-split layers MODEL`). May be repeated."),
    click.option("--pin", "pins", type=PIN, multiple=True, metavar="GLOB=edge|cloud",
                 help="Keep layers with such a name on one side, e.g. 'stem*=edge'; `tvm-split layers MODEL` lists the "
                      "names. May be repeated."),
    click.option("--strategy", default="auto-split", show_default=True, metavar="PLANNER",
                 help="How cuts are searched for: a name of `tvm-split planners`."),
    click.option("--result-at", type=click.Choice(["edge", "cloud"]), default="edge", show_default=True,
                 help="Where the outputs are wanted."),
    click.option("--costs", type=CostsSource(), default="roofline", show_default=True, metavar=CostsSource.name,
                 help="Where layer times come from: the targets' data sheets; boards at --tracker, or else this "
                      "machine's clock scaled to the targets; or two files, as `plan --save-costs` writes."),
    click.option("--min-agreement", type=click.FloatRange(0, 1), default=0.95, show_default=True, metavar="SHARE",
                 help="Smallest share of samples on which a split must give the float network's first class."),
    click.option("--max-error", type=click.FloatRange(0), default=0.1, show_default=True, metavar="ERROR",
                 help="For a network that gives no class scores: largest relative error of a split's outputs."),
    click.option("--samples", type=click.IntRange(1), default=8, show_default=True,
                 help="How many samples of --data to use at most, taken evenly, to calibrate and to check accuracy."),
    click.option("--tracker", metavar="HOST:PORT",
                 help="With --costs measured: the RPC tracker of boards to time layers on. Lab networks only."),
    click.option("--edge-key", metavar="KEY", help="The edge board's key at the tracker."),
    click.option("--cloud-key", metavar="KEY", help="The cloud machine's key at the tracker."),
    WINOGRAD,
    DATABASE,
)  # fmt: skip

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
    return Request(**{**given, **{name: _once(given[name], option) for name, option in options.items()}})


def _once(pairs: tuple[tuple[str, Any], ...], option: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise click.UsageError(f"{option} {name} is given as {found[name]} and as {value}; leave one of them out")
    return found
