"""Linkers are found in the promised order, link what the machine they are for can load, and always the same bytes."""

import ctypes
import importlib.util
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_split import linker
from tvm_split.errors import BuildError
from tvm_split.linker import Linker, find_linker

MACHINE = {"x86_64": 62, "aarch64": 183}  # e_machine in the ELF header
SOURCE = "#include <math.h>\nfloat twice_exp(float x) { return 2 * expf(x); }\n"
HAS_ZIG = importlib.util.find_spec("ziglang") is not None


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch):
    for arch in linker.PACKAGES:
        monkeypatch.delenv(linker.variable(arch), raising=False)


@pytest.fixture
def no_compilers(monkeypatch):
    """PATH without compilers; what is given by its full path still runs."""
    monkeypatch.setattr(linker.shutil, "which", lambda name: None)


def zig(arch: str, monkeypatch) -> Linker:
    if not HAS_ZIG:
        pytest.skip("ziglang is not installed: pip install 'tvm-split[arm]'")
    with monkeypatch.context() as patch:
        patch.setattr(linker.shutil, "which", lambda name: None)
        found = find_linker(arch)
    assert "ziglang" in found.command
    return found


def gnu(arch: str) -> Linker:
    name = "cc" if platform.machine() == arch else f"{arch}-linux-gnu-gcc"
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {linker.PACKAGES[arch]}")
    return Linker(arch, (path,))


def compiled(one: Linker, folder: Path) -> str:
    """An object file of the linker's architecture, made by the same compiler."""
    folder.mkdir()
    (folder / "twice.c").write_text(SOURCE)
    output = folder / "twice.o"
    command = [*one.command, "-c", "-O2", "-fPIC", str(folder / "twice.c"), "-o", str(output)]
    done = subprocess.run(command, env={**linker.os.environ, **dict(one.env)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(output)


@pytest.mark.parametrize("arch", sorted(MACHINE))
@pytest.mark.parametrize("kind", ["gnu", "zig"])
def test_links_for_the_architecture_the_same_bytes_twice(arch, kind, tmp_path, monkeypatch):
    one = gnu(arch) if kind == "gnu" else zig(arch, monkeypatch)
    source = compiled(one, tmp_path / "made")
    results = []
    for name in ("first", "second_run"):  # objects and outputs at other paths
        place = tmp_path / name
        place.mkdir()
        objects = [shutil.copy(source, place / "twice.o")]
        one(place / f"{name}.so", objects)
        results.append((place / f"{name}.so").read_bytes())
    assert results[0] == results[1]
    assert struct.unpack_from("<H", results[0], 18)[0] == MACHINE[arch]
    assert b"libm.so.6" in results[0]
    assert str(tmp_path).encode() not in results[0]


def test_the_result_for_this_machine_loads_and_computes(tmp_path):
    one = find_linker(platform.machine())
    (tmp_path / "twice.c").write_text(SOURCE)
    one(str(tmp_path / "twice.so"), str(tmp_path / "twice.c"), options=["-DUNUSED"])
    library = ctypes.CDLL(str(tmp_path / "twice.so"))
    library.twice_exp.restype = ctypes.c_float
    library.twice_exp.argtypes = [ctypes.c_float]
    assert library.twice_exp(0.0) == 2.0


def test_a_cross_compiler_on_path_comes_before_zig(monkeypatch):
    monkeypatch.setattr(linker.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(
        linker.shutil, "which", lambda name: f"/opt/{name}" if name == "aarch64-linux-gnu-gcc" else None
    )
    assert find_linker("aarch64").command == ("/opt/aarch64-linux-gnu-gcc",)


def test_the_variable_comes_before_everything(monkeypatch):
    monkeypatch.setenv("TVM_SPLIT_AARCH64_CC", f"{sys.executable} -c 'pass'")
    assert find_linker("aarch64").command == (sys.executable, "-c", "pass")


@pytest.mark.parametrize("value", ["no-such-compiler-anywhere", "'open", " "])
def test_a_wrong_variable_is_an_error(monkeypatch, value):
    monkeypatch.setenv("TVM_SPLIT_AARCH64_CC", value)
    with pytest.raises(BuildError, match="TVM_SPLIT_AARCH64_CC"):
        find_linker("aarch64")


def test_without_any_the_error_names_every_way(monkeypatch, no_compilers):
    monkeypatch.setattr(linker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildError) as caught:
        find_linker("aarch64")
    for way in ("apt-get install gcc-aarch64-linux-gnu", "pip install 'tvm-split[arm]'", "TVM_SPLIT_AARCH64_CC"):
        assert way in str(caught.value)


def test_an_unknown_architecture_lists_the_known():
    with pytest.raises(BuildError, match="'mips'; expected one of aarch64, x86_64"):
        find_linker("mips")


def test_a_failed_link_shows_the_command_and_its_last_words(tmp_path):
    output = tmp_path / "out.so"
    output.write_text("stale")
    script = "import sys; print('word ' * 3, *range(40), sep='\\n', file=sys.stderr); sys.exit(3)"
    with pytest.raises(BuildError, match="exit status 3") as caught:
        Linker("aarch64", (sys.executable, "-c", script))(output, ["a.o"])
    assert (
        "a.o" in str(caught.value)
        and str(caught.value).endswith("38\n39")
        and "word" not in str(caught.value).split("\n", 2)[2]
    )
    assert not output.exists()


def test_a_compiler_without_its_c_library_says_which_package(tmp_path):
    script = "import sys; sys.exit('ld: cannot find crti.o: No such file or directory')"
    with pytest.raises(BuildError, match="apt-get install libc6-dev-arm64-cross"):
        Linker("aarch64", (sys.executable, "-c", script))(tmp_path / "out.so", ["a.o"])


def test_a_linker_that_vanished_is_a_build_error(tmp_path):
    with pytest.raises(BuildError, match="cannot be started"):
        Linker("aarch64", (str(tmp_path / "gone"),))(tmp_path / "out.so", ["a.o"])


def test_zig_gets_a_cache_it_can_write(monkeypatch, tmp_path, no_compilers):
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))  # a file: no folder can be made in it, not even by root
    monkeypatch.setattr(linker.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(linker.importlib.util, "find_spec", lambda name: object())
    cache = Path(dict(find_linker("aarch64").env)["ZIG_GLOBAL_CACHE_DIR"])
    assert cache.parent == tmp_path and cache.is_dir()
