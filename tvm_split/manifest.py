"""What a manifest must have, and the check that it has it. No TVM."""

from __future__ import annotations

from typing import Any

from tvm_split.errors import BundleError

#: the file that a folder has if it is a bundle
MANIFEST = "manifest.json"
NUMBER, NUMBER_OR_NONE = (int, float), (int, float, type(None))
TENSOR = {"name": str, "shape": [int], "dtype": str}
#: What a manifest must have. A dict: these fields. A list: each element. EACH: every key's value. OPTIONAL: or null.
#: ABSENT: or not there at all.
EACH, OPTIONAL, ABSENT = object(), object(), object()
FIELDS: dict[Any, Any] = {
    "fingerprint": str, "kind": str, "model": str, "result_at": str, "manifest_sha256": str,
    "inputs": [TENSOR],
    "outputs": [TENSOR | {"tensor": str, "returned_by": str}],
    "payload": {
        "bytes": int,
        "parts": [{"tensor": str, "shape": [int], "dtype": str, "bits": int, "offset": int, "size_bytes": int,
                   "scale": NUMBER_OR_NONE, "zero_point": NUMBER_OR_NONE}],
        "codec": {OPTIONAL: True, "name": str, "shape": [int], "quality": int, "bytes": int},
    },
    "targets": {"edge": str, "cloud": str},
    "halves": {EACH: str},
    "edge_memory": {name: int for name in ("planned_bytes", "compiled_bytes", "weights_bytes", "storages_bytes",
                                           "scratch_bytes", "input_bytes")},
    "compiled_for": {EACH: {"arch": str, "mcpu": str, "features": [str]}},
    "link": {"name": str, "up_bytes_per_s": NUMBER, "down_bytes_per_s": NUMBER, "rtt_s": NUMBER,
             "up_w": NUMBER_OR_NONE, "down_w": NUMBER_OR_NONE,
             "radio": {ABSENT: True, "up_j_per_byte": NUMBER, "down_j_per_byte": NUMBER, "base_w": NUMBER}},
    "files": {EACH: {"sha256": str, "bytes": int}},
    "versions": {EACH: str},
    "database": {OPTIONAL: True, "name": str, "sha256": str},
}  # fmt: skip


def check_manifest(value: Any, wanted: Any, where: str) -> None:
    """BundleError, naming the field, unless `value` has the form `wanted`, which is written as FIELDS is."""
    if isinstance(wanted, dict):
        if value is None and OPTIONAL in wanted:
            return
        _demand(isinstance(value, dict), value, "an object", where)
        for key in value if EACH in wanted else ():
            check_manifest(value[key], wanted[EACH], f"{where}: {key}")
        for key in (key for key in wanted if isinstance(key, str)):
            if key not in value:
                if isinstance(wanted[key], dict) and ABSENT in wanted[key]:
                    continue
                raise BundleError(f"{where} has no field '{key}'; compile the bundle again")
            check_manifest(value[key], wanted[key], f"{where}: {key}")
    elif isinstance(wanted, list):
        _demand(isinstance(value, list), value, "a list", where)
        for i, item in enumerate(value):
            check_manifest(item, wanted[0], f"{where}[{i}]")
    else:
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        _demand(isinstance(value, kinds) and not isinstance(value, bool), value, expected, where)


def _demand(holds: bool, value: Any, expected: str, where: str) -> None:
    if not holds:
        raise BundleError(f"{where} is {value!r}; expected {expected}; compile the bundle again")
