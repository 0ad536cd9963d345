"""Ask TVM's RPC tracker which servers it lists, without importing TVM (which takes seconds)."""

from __future__ import annotations

import json
import socket
import struct

MAGIC = 0x2F271
SUMMARY = 6


def servers(host: str, port: int, timeout_s: float = 5.0) -> list[str]:
    """The keys of the servers, one for each. OSError when nothing, or something else, answers there."""
    with socket.create_connection((host, port), timeout=timeout_s) as link:
        link.sendall(struct.pack("<i", MAGIC))
        (magic,) = struct.unpack("<i", _receive(link, 4))
        if magic != MAGIC:
            raise OSError(f"{host}:{port} is not an RPC tracker")
        question = json.dumps([SUMMARY]).encode()
        link.sendall(struct.pack("<i", len(question)) + question)
        (size,) = struct.unpack("<i", _receive(link, 4))
        _, summary = json.loads(_receive(link, size))
    return [item["key"].removeprefix("server:") for item in summary["server_info"]]


def _receive(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise OSError("the connection was closed")
        data += part
    return data
