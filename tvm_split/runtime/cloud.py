"""The cloud half as a process: `python -m tvm_split.runtime.cloud BUNDLE --port 0`.

Prints one JSON line {"port": ..., "pid": ...} once it listens, then serves one connection after another until it is
terminated. A connection that fails is reported on stderr, and the next one is served. It loads the half's twin for the
machine that wrote the bundle; --device takes the cloud target's own. It has no authentication: the fingerprint keeps
out the wrong half, not an attacker, so it listens on 127.0.0.1 unless told otherwise.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
import traceback
from collections.abc import Sequence

from tvm_split.bundle import Bundle, TensorSpec
from tvm_split.errors import BundleError, LinkDownError, SplitError
from tvm_split.runtime import wire
from tvm_split.runtime.coding import decode_payload, payload_lengths
from tvm_split.runtime.executor import Half
from tvm_split.runtime.machine import library_here
from tvm_split.runtime.processes import add_options, child_main, frame_timeout_s, link_of, say
from tvm_split.runtime.shaper import Pacer, downlink
from tvm_split.runtime.tensors import check_arrays, outputs_named, to_bytes

HELLO_TIMEOUT_S = 10.0


def serve(bundle: Bundle, half: Half, listener: socket.socket, pacer: Pacer | None, timeout_s: float) -> None:
    """Serve connections, one at a time, for ever."""
    specs = outputs_named(bundle, bundle.cloud_outputs)
    while True:
        link, address = listener.accept()
        with link:
            try:
                wire.Channel(link, f"the edge at {address[0]}:{address[1]}", HELLO_TIMEOUT_S).greet(bundle.fingerprint)
                channel = wire.Channel(link, f"the edge at {address[0]}:{address[1]}", timeout_s)
                while not wire.is_closed(link, timeout_s):
                    answer(bundle, half, channel, specs, pacer)
            except SplitError as error:
                print(f"cloud: {error}", file=sys.stderr, flush=True)
            except Exception:  # whatever one client made go wrong, the next one is served
                traceback.print_exc()


def answer(bundle: Bundle, half: Half, channel: wire.Channel, specs: Sequence[TensorSpec], pacer: Pacer | None) -> None:
    """Read one payload, run the half, send the outputs, or an ERROR frame when the half fails.

    The outputs are paced when the result is wanted at the edge; wanted in the cloud, they go back unpaced, to be seen.
    """
    size = payload_lengths(bundle)
    frame = channel.receive({wire.PAYLOAD: size, wire.WARM_UP: size})
    received = time.monotonic()
    channel.send(frame.number, wire.RECEIVED)
    try:
        payload = decode_payload(bundle, frame.data)
        outputs = check_arrays(half.run([payload]), specs, "output of the cloud half")
    except BundleError as error:
        channel.send(frame.number, wire.ERROR, str(error).encode()[: wire.MAX_ERROR_BYTES])
        raise
    computed = time.monotonic()
    paced = pacer if frame.kind == wire.PAYLOAD and bundle.result_at == "edge" else None
    channel.send(frame.number, wire.RESULT, wire.TIMES.pack(received, computed) + to_bytes(outputs), paced)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_split.runtime.cloud", description="Serve a bundle's cloud half."
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (no authentication: trusted networks)"
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    add_options(parser, paced="replies")
    args = parser.parse_args(argv)
    return child_main(lambda: _serve(args), args.with_parent)


def _serve(args: argparse.Namespace) -> None:
    bundle = Bundle.open(args.bundle)
    if bundle.cloud_so is None:
        raise BundleError(f"{bundle.path} is {bundle.kind} and has no cloud half; run it on the edge alone")
    library = library_here(bundle, "cloud", args.device)
    link = link_of(args.shape, bundle)
    timeout_s = frame_timeout_s(bundle, link, args.timeout)
    try:
        listener = socket.create_server((args.host, args.port), backlog=16)
    except (OSError, OverflowError) as error:
        raise LinkDownError(f"cannot listen on {args.host}:{args.port} ({error}); give another --port, or 0") from error
    with listener:
        say({"port": listener.getsockname()[1]})
        half = Half(library, args.threads, bundle.fingerprint)
        serve(bundle, half, listener, None if link is None else downlink(link), timeout_s)


if __name__ == "__main__":
    sys.exit(main())
