"""Cycles of a loop by llvm-mca, LLVM's static analyser: its scheduling model of a core, every load in the first cache.

Given:   fmla v16.4s, v0.4s, v17.s[1] ...      Result:  24.2 cycles a turn, on the core that the target names
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tvm_split.assembly.loops import Instruction
from tvm_split.errors import CostError, last_line

#: versions of LLVM that are looked for, newest first, before the name without one, whose version is not known
VERSIONS = range(40, 10, -1)
PACKAGE = "llvm-22"
#: turns that are simulated, so that what begins and ends them hardly counts
TURNS = 100
SIMULATION_LIMIT_S = 60.0
#: cores that LLVM gives the model of an older one -> a core that is the same and has a model of its own (docs/arm.md)
TWINS = {"cortex-a76": "neoverse-n1"}
#: instructions that a core decodes in a cycle where its model says fewer (docs/arm.md)
WIDTHS = {"neoverse-n1": 4}
#: what stands in for a core that llvm-mca does not know: x86-64 by the bits of its vectors
ANY_X86 = {128: "x86-64-v2", 256: "x86-64-v3", 512: "x86-64-v4"}
ANY_ARM = "generic"
#: of Armv8-A, which the assembler takes with these only; a model prices them as its others
ARM_FEATURES = ("+dotprod", "+fullfp16", "+i8mm")


@dataclass(frozen=True, slots=True)
class Core:
    """A core as llvm-mca is to see it. stands_in: why it is not the one that was asked for, "" where it is."""

    tool: str
    arch: str
    model: str
    features: tuple[str, ...] = ()
    stands_in: str = ""

    @property
    def triple(self) -> str:
        return f"{self.arch}-linux-gnu"


def find_tool() -> str:
    """Path of the newest llvm-mca-NN on PATH, else of plain llvm-mca. CostError when there is none."""
    names = (*(f"llvm-mca-{version}" for version in VERSIONS), "llvm-mca")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise CostError(
            f"--costs mca needs llvm-mca, and there is none on PATH; install Debian's package {PACKAGE} "
            f"(apt-get install {PACKAGE}; any version serves, newer ones know more cores), or use --costs roofline"
        )
    return found


@functools.cache
def version_of(tool: str) -> str:
    """Such as "22.1.8"; "" when the tool does not say."""
    found = re.search(r"version (\S+)", _run([tool, "--version"], "").stdout)
    return found[1] if found else ""


@functools.cache
def known_cores(tool: str, triple: str) -> frozenset[str]:
    """The names of `-mcpu` that the tool has for an architecture. CostError when it lists none."""
    done = _run([tool, f"-mtriple={triple}", "-mcpu=help"], "")
    listed = (done.stdout + done.stderr).partition("Available CPUs")[2].partition("Available features")[0]
    found = frozenset(re.findall(r"^\s+(\S+)\s+- ", listed, re.MULTILINE))
    if not found:
        raise CostError(
            f"{tool} lists no cores of {triple} (exit status {done.returncode}), as llvm-mca does; install {PACKAGE}, "
            "or use --costs roofline"
        )
    return found


def core_of(tool: str, arch: str, mcpu: str, vector_bits: int, features: Sequence[str] = ()) -> Core:
    """The core that `mcpu` names, or what stands in for it; `features` are LLVM's, such as "+neon"."""
    known = known_cores(tool, f"{arch}-linux-gnu")
    all_features = tuple(dict.fromkeys((*features, *(ARM_FEATURES if arch == "aarch64" else ()))))
    twin = TWINS.get(mcpu, mcpu)
    if twin in known:
        said = f"'{mcpu}' as '{twin}', its twin with a model of its own" if twin != mcpu else ""
        return Core(tool, arch, twin, all_features, said)
    model = ANY_ARM if arch == "aarch64" else ANY_X86.get(vector_bits, ANY_X86[256])
    why = f"llvm-mca {version_of(tool)} knows no '{mcpu}'" if mcpu else "the target names no mcpu"
    return Core(tool, arch, model, all_features, f"{why}, so its cycles are those of '{model}'")


def cycles(core: Core, body: Iterable[Instruction], width: int | None = None) -> float:
    """Cycles of one turn. CostError when llvm-mca does not take an instruction for this core, or does not end.

    width: instructions that are dispatched in one cycle, the model's own if None.
    """
    text = "".join(f"\t{instruction}\n" for instruction in body)
    command = [core.tool, f"-mtriple={core.triple}", f"-mcpu={core.model}", f"-iterations={TURNS}",
               "-instruction-info=false", "-resource-pressure=false"]  # fmt: skip
    command += [f"-mattr={','.join(core.features)}"] if core.features else []
    command += [f"-dispatch={width}"] if width else []
    done = _run(command, text)
    if done.returncode:
        raise CostError(f"llvm-mca cannot price a loop on '{core.model}': {_complaint(done.stderr)}")
    return total_cycles(done.stdout)


def total_cycles(output: str) -> float:
    """Cycles of a turn from llvm-mca's summary. CostError when it has none."""
    turns, total = (re.search(rf"^{name}:\s+(\d+)", output, re.MULTILINE) for name in ("Iterations", "Total Cycles"))
    if turns is None or total is None:
        raise CostError(f"llvm-mca's output has no Iterations and Total Cycles: {output!r:.80}; use --costs roofline")
    return int(total[1]) / int(turns[1])


def peak_flops_per_cycle(core: Core, vector_bits: int) -> float:
    """Float32 operations a cycle when nothing but independent multiply-adds of whole vectors is done."""
    if core.arch == "aarch64":
        made = [Instruction("fmla", f"v{i}.4s, v0.4s, v1.4s") for i in range(4, 32)]
        lanes = 4
    else:
        kind, lanes = {128: "x", 256: "y", 512: "z"}.get(vector_bits, "y"), min(max(vector_bits, 128), 512) // 32
        made = [Instruction("vfmadd231ps", f"%{kind}mm0, %{kind}mm1, %{kind}mm{i}") for i in range(2, 16)]
    return 2 * lanes * len(made) / cycles(core, made, WIDTHS.get(core.model))


def _complaint(stderr: str) -> str:
    """The first error of llvm-mca's, with the instruction that its note names."""
    lines = [line.strip() for line in stderr.splitlines() if "error:" in line or "note: instruction:" in line]
    return "; ".join(lines[:2]) or last_line(ValueError(stderr or "no reason given"))


def _run(command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, errors="replace", timeout=SIMULATION_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CostError(f"llvm-mca ({command[0]}) cannot be run: {error}; use --costs roofline") from error
