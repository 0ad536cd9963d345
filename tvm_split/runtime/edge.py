"""The edge half as a process.

    python -m tvm_split.runtime.edge BUNDLE --connect HOST:PORT --inputs in.npz --outputs out.npz

Runs the half (by default its twin for the machine that wrote the bundle; --device takes the board's own), sends its
payload, receives the cloud's outputs, and prints {"run": {"edge_s", "uplink_s", ...}} for each repeat.

    edge_s      the call of the edge half, from arrays to arrays
    uplink_s    from before the payload is coded and sent until the cloud has its last byte
    cloud_s     the same call in the cloud
    downlink_s  from there until the edge has the last byte of the outputs

Two processes of one machine read one monotonic clock, so over loopback the cloud's own times split the stages. Over a
network there are two clocks: there cloud_s is the difference of two of the cloud's times, and the uplink ends when the
cloud's RECEIVED arrives, which moves half a round trip from the downlink to the uplink. The sum is exact in both cases.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tvm_split.bundle import Bundle, TensorSpec
from tvm_split.errors import BundleError, LinkDownError
from tvm_split.plan.problem import Timing
from tvm_split.runtime import wire
from tvm_split.runtime.coding import encode_payload
from tvm_split.runtime.executor import Half
from tvm_split.runtime.machine import library_here
from tvm_split.runtime.processes import add_options, child_main, frame_timeout_s, link_of, say
from tvm_split.runtime.shaper import Pacer, uplink
from tvm_split.runtime.tensors import check_arrays, check_inputs, from_bytes, outputs_named, size_bytes


class Edge:
    """An edge half with its connection to the cloud (None when the bundle is edge-only)."""

    def __init__(self, bundle: Bundle, half: Half, channel: wire.Channel | None, pacer: Pacer | None) -> None:
        if channel is None and bundle.cloud_so is not None:
            raise BundleError(
                f"{bundle.path} is {bundle.kind}: its edge half needs a cloud half; give --connect HOST:PORT"
            )
        self._bundle, self._half, self._channel, self._pacer = bundle, half, channel, pacer
        self._made = edge_results(bundle)
        self._returned = outputs_named(bundle, bundle.cloud_outputs)
        self._number = 0

    def run(self, arrays: Sequence[np.ndarray], warm_up: bool = False) -> tuple[dict[str, np.ndarray], Timing]:
        """The network's outputs by name, and the stages' seconds. `arrays` in the bundle's order, already checked."""
        begin = time.monotonic()
        made = check_arrays(self._half.run(arrays), self._made, "output of the edge half")
        edge_s = time.monotonic() - begin
        if self._channel is None:
            return self._named(made, []), Timing(edge_s, 0.0, 0.0, 0.0)
        returned, up, cloud, down = self._cross(self._channel, made[0], warm_up)
        return self._named(made[1:], returned), Timing(edge_s, up, cloud, down)

    def _cross(
        self, channel: wire.Channel, payload: np.ndarray, warm_up: bool
    ) -> tuple[list[np.ndarray], float, float, float]:
        self._number += 1
        kind, pacer = (wire.WARM_UP, None) if warm_up else (wire.PAYLOAD, self._pacer)
        start = time.monotonic()
        channel.send(self._number, kind, encode_payload(self._bundle, payload), pacer)
        channel.receive({wire.RECEIVED: 0}, self._number)
        noticed = time.monotonic()
        size = wire.TIMES.size + size_bytes(self._returned)
        frame = channel.receive({wire.RESULT: size, wire.ERROR: 0}, self._number)
        end = time.monotonic()
        if frame.kind == wire.ERROR:
            raise BundleError(f"the cloud half failed: {frame.data.decode(errors='replace')}")
        received, computed = wire.TIMES.unpack_from(frame.data)
        stages = split_time(start, noticed, end, received, computed, channel.is_loopback)
        returned = from_bytes(memoryview(frame.data)[wire.TIMES.size :], self._returned)
        comes_back = self._returned and self._bundle.result_at == "edge"
        return returned, *stages[:2], stages[2] if comes_back else 0.0

    def _named(self, made: list[np.ndarray], returned: list[np.ndarray]) -> dict[str, np.ndarray]:
        names = (*self._bundle.edge_outputs, *self._bundle.cloud_outputs)
        return self._bundle.named(dict(zip(names, [*made, *returned], strict=True)))


def split_time(
    start: float, noticed: float, end: float, received: float, computed: float, one_clock: bool
) -> tuple[float, float, float]:
    """Uplink, cloud and downlink seconds, whose sum is end - start.

    start, noticed (RECEIVED came) and end are on the edge's clock, received and computed on the cloud's. Times that do
    not follow one another are taken for another clock's (a tunnel looks like loopback).
    """
    cloud_s = computed - received
    if not 0 <= cloud_s <= end - start:
        raise LinkDownError(
            f"the cloud says it computed for {cloud_s} s, but {end - start} s went by; the stream is damaged"
        )
    if one_clock and start <= received <= computed <= end:
        return received - start, cloud_s, end - computed
    down_s = max(end - noticed - cloud_s, 0.0)
    return end - start - cloud_s - down_s, cloud_s, down_s


def edge_results(bundle: Bundle) -> list[TensorSpec]:
    """What the edge half returns: the payload unless nothing crosses, then the outputs that stay on the edge."""
    payload = [] if bundle.cloud_so is None else [TensorSpec("payload", (bundle.payload_bytes,), "uint8")]
    return payload + outputs_named(bundle, bundle.edge_outputs)


def dial(address: str, bundle: Bundle, timeout_s: float) -> wire.Channel:
    """A greeted connection to the cloud half at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise LinkDownError(f"--connect {address!r}: expected HOST:PORT, for example 127.0.0.1:7000")
    try:
        link = socket.create_connection((host.strip("[]"), int(port)), timeout_s)
    except OSError as error:
        raise LinkDownError(
            f"no cloud half answers at {address} ({error}): start one with "
            f"`python -m tvm_split.runtime.cloud {bundle.path}`"
        ) from error
    channel = wire.Channel(link, f"the cloud at {address}", timeout_s)
    channel.greet(bundle.fingerprint)
    return channel


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tvm_split.runtime.edge", description="Run a bundle's edge half.")
    parser.add_argument("--connect", metavar="HOST:PORT", help="the cloud half; not for edge-only bundles")
    parser.add_argument("--inputs", required=True, help=".npz with the inputs by name")
    parser.add_argument("--outputs", required=True, help=".npz to write, the outputs by name")
    parser.add_argument("--repeats", type=int, default=1, help="counted runs, after one that is not")
    add_options(parser, paced="what is sent")
    args = parser.parse_args(argv)
    return child_main(lambda: _run(args), args.with_parent)


def _run(args: argparse.Namespace) -> None:
    if args.repeats < 1:
        raise BundleError(f"--repeats {args.repeats}: expected 1 or more")
    bundle = Bundle.open(args.bundle)
    arrays = check_inputs(bundle, load_arrays(args.inputs))
    link = link_of(args.shape, bundle)
    half = Half(library_here(bundle, "edge", args.device), args.threads, bundle.fingerprint)
    timeout_s = frame_timeout_s(bundle, link, args.timeout)
    channel = None if bundle.cloud_so is None or not args.connect else dial(args.connect, bundle, timeout_s)
    edge = Edge(bundle, half, channel, None if link is None else uplink(link))
    edge.run(arrays, warm_up=True)
    for _ in range(args.repeats):
        outputs, timing = edge.run(arrays)
        say({"run": timing.to_json()})
    save_arrays(args.outputs, outputs)
    say({"outputs": args.outputs})


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz with entries of any name (np.savez refuses 'file')."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name. BundleError when it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{path} cannot be read as .npz ({error}); write it with numpy.savez(path, name=array)"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
