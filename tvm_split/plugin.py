"""What TVM calls at `import tvm`, through its `tvm.backends` entry points.

    tvm-split/<target>     a target tag for every packaged target that compiles, as Target("tvm-split/raspberry-pi-5"),
                           and "tvm-split/host" for the machine that imports TVM
    "tvm_split.cpu"        a Relax pipeline: tvm.compile(mod, target, relax_pipeline="tvm_split.cpu")
    tvm_split.passes       passes made with tvm.transform.module_pass; importing that package is all they need

TVM is still importing when it calls `register`, so nothing here imports what needs TVM or takes long: that happens when
the pipeline is asked for.
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tvm_split.caches import L1, L2, cache_bytes

PREFIX = "tvm-split/"
PIPELINE = "tvm_split.cpu"


def register() -> None:
    """Add the target tags and the pipeline to TVM's registries. May be called again; about 20 ms."""
    from tvm.relax import pipeline
    from tvm.target import register_tag

    for name, config in tag_configs():
        register_tag(PREFIX + name, config, override=True)
    if PIPELINE not in pipeline.PIPELINE_MAP:
        pipeline.register_pipeline(PIPELINE)(cpu_pipeline)


def tag_configs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and TVM options of every packaged target that something compiles for, and of this machine."""
    from tvm.target import Target

    yield "host", _host_config()
    for path in sorted(_folder().glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        config = table.get("tvm_target")
        if config is None:
            continue
        if isinstance(config, str):
            exported = Target(config).export()
            config = {key: value for key, value in exported.items() if key != "tag" and not key.startswith("feature.")}
        caches = {f"feature.{name}": table[name] for name in ("l1_bytes", "l2_bytes") if name in table}
        yield path.stem, {"num-cores": table["cores"], **caches, **config}


def _host_config() -> dict[str, Any]:
    """What `tvm_target.resolve` makes of the target "host", whose module is too long an import at this point."""
    from tvm.target import codegen

    caches = {"l1_bytes": cache_bytes(*L1), "l2_bytes": cache_bytes(*L2)}
    return {
        "kind": "llvm", "mcpu": str(codegen.llvm_get_system_cpu()), "num-cores": os.cpu_count() or 1,
        **{f"feature.{name}": size for name, size in caches.items() if size is not None},
    }  # fmt: skip


def cpu_pipeline() -> Any:
    """`pipeline.cpu` for the target it runs under (tvm.compile enters it)."""
    import tvm

    from tvm_split import pipeline

    @tvm.transform.module_pass(opt_level=0, name=PIPELINE)
    def run(mod: Any, _context: Any) -> Any:
        return pipeline.cpu(tvm.target.Target.current())(mod)

    return run


def _folder() -> Path:
    """The packaged targets' folder, found without importing the package."""
    spec = importlib.util.find_spec("tvm_split.targets")
    if spec is None or spec.origin is None:
        raise ImportError("tvm_split.targets is not installed: run `pip install -e .`")
    return Path(spec.origin).parent
