"""Bundles: damage of every kind is found and named; writing is all or nothing."""

import json
import shutil

import pytest

from tvm_split import rename_new
from tvm_split.bundle import Bundle, _digest_of, write_manifest
from tvm_split.bundle_folder import canonical_json, new_folder, write_json
from tvm_split.errors import BundleError
from tvm_split.manifest import MANIFEST
from tvm_split.plan.problem import Link, Timing
from tvm_split.targets import load_link

FACTS = {
    "fingerprint": "ab" * 32, "kind": "split", "halves": {"edge": "edge.so", "cloud": "cloud.so"},
    "inputs": [{"name": "x", "shape": [1, 3], "dtype": "float32"}],
    "payload": {"bytes": 7, "parts": [], "codec": None}, "model": "net", "versions": {"tvm-split": "0.1.0"},
    "targets": {"edge": "raspberry-pi-4", "cloud": "c5.xlarge"},
    "edge_memory": dict.fromkeys(
        ("planned_bytes", "compiled_bytes", "weights_bytes", "storages_bytes", "scratch_bytes", "input_bytes"), 1000
    ),
    "compiled_for": {"edge": {"arch": "aarch64", "mcpu": "cortex-a72", "features": ["asimd"]},
                     "cloud": {"arch": "x86_64", "mcpu": "skylake-avx512", "features": ["avx512f"]}},
    "outputs": [{"name": "y", "tensor": "y", "shape": [1], "dtype": "float32", "returned_by": "cloud"},
                {"name": "x", "tensor": "x", "shape": [1, 3], "dtype": "float32", "returned_by": "edge"}],
    "result_at": "edge", "database": None,
}  # fmt: skip


def write(path, content=b"machine code", force=False):
    with new_folder(path, force) as folder:
        for name in ("edge.so", "cloud.so"):
            (folder / name).write_bytes(name.encode() + content)
        write_manifest(folder, FACTS, load_link("4g"), ["edge.so", "cloud.so"])
    return path


def forge(path, **changes):
    """Edit the manifest and give it a right digest, as someone with bad intent would."""
    manifest = json.loads((path / MANIFEST).read_text()) | changes
    manifest["manifest_sha256"] = _digest_of(manifest)
    (path / MANIFEST).write_text(canonical_json(manifest))


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "bundle")


def test_what_was_written_is_read(path):
    bundle = Bundle.open(path)
    assert bundle.fingerprint == "ab" * 32 and bundle.kind == "split" and bundle.payload_bytes == 7
    assert bundle.inputs[0].shape == (1, 3) and [spec.name for spec in bundle.outputs] == ["y", "x"]
    assert bundle.edge_outputs == ("x",) and bundle.cloud_outputs == ("y",) and bundle.result_at == "edge"
    assert bundle.edge_so == path / "edge.so" and bundle.half("edge_host") is None
    assert bundle.compiled_for("edge").mcpu == "cortex-a72" and bundle.targets["cloud"] == "c5.xlarge"
    assert isinstance(bundle.link, Link) and bundle.link == load_link("4g")


def test_a_bundle_of_before_radios_is_read(path):
    link = load_link("4g").to_json()
    del link["radio"]
    forge(path, link=link)
    assert Bundle.open(path).link == Link.from_json(link)


@pytest.mark.parametrize("name", ["edge.so", "cloud.so"])
def test_one_byte_changed(path, name):
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} has SHA-256 .* it was changed or comes from another bundle"):
        Bundle.open(path)


def test_a_foreign_half(path, tmp_path):
    other = write(tmp_path / "other", b"other code")
    (path / "cloud.so").write_bytes((other / "cloud.so").read_bytes())
    with pytest.raises(BundleError, match=r"cloud\.so has SHA-256"):
        Bundle.open(path)


def test_a_file_removed(path):
    (path / "cloud.so").unlink()
    with pytest.raises(BundleError, match=r"cloud\.so cannot be read \(No such file"):
        Bundle.open(path)


def test_the_manifest_edited(path):
    (path / MANIFEST).write_text((path / MANIFEST).read_text().replace('"split"', '"edge-only"'))
    with pytest.raises(BundleError, match=r"manifest\.json was changed after it was written"):
        Bundle.open(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 4}', '{"version": 1}', "\xff"])
def test_a_manifest_that_is_none(path, text):
    (path / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=r"cannot be read|bundle version|has no field"):
        Bundle.open(path)


def test_another_version(path):
    forge(path, version=9)
    with pytest.raises(BundleError, match="has bundle version 9; this tvm-split reads version 4"):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "a/b", "a\\b", "a\0b"])
def test_a_file_outside_the_bundle(path, name):
    forge(path, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(BundleError, match="a bundle's files lie in its own folder"):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["../other/edge.so", "unlisted.so"])
def test_a_half_without_digest(path, name):
    forge(path, halves={"edge": name})
    with pytest.raises(BundleError, match=r"names the half edge = .* not among its files"):
        Bundle.open(path)


@pytest.mark.parametrize("files", [["edge.so"], {"edge.so": None}, {"edge.so": {}}, None])
def test_a_manifest_of_other_shape(path, files):
    forge(path, files=files)
    with pytest.raises(BundleError, match="compile the bundle again"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"payload": {"bytes": 7, "codec": None}}, "payload has no field 'parts'"),
        ({"payload": {"bytes": "7", "parts": [], "codec": None}}, "payload: bytes is '7'; expected int"),
        ({"payload": {"bytes": True, "parts": [], "codec": None}}, "payload: bytes is True; expected int"),
        ({"payload": {"bytes": 7, "parts": [], "codec": {"name": "jpeg"}}}, "codec has no field 'shape'"),
        ({"inputs": [{"name": "x", "dtype": "float32"}]}, r"inputs\[0\] has no field 'shape'"),
        ({"outputs": {"name": "y"}}, "outputs is .*; expected a list"),
        ({"halves": ["edge.so"]}, "halves is .*; expected an object"),
        ({"link": {"name": "4g"}}, "link has no field 'up_bytes_per_s'"),
        ({"link": load_link("4g").to_json() | {"radio": [1]}}, r"link: radio is \[1\]; expected an object"),
        ({"link": load_link("4g").to_json() | {"radio": {"base_w": 1.0}}}, "radio has no field 'up_j_per_byte'"),
        ({"compiled_for": {}}, r"names the half cloud = 'cloud\.so', which is not among its compiled_for"),
    ],
)
def test_a_field_that_is_missing_or_wrong(path, changes, message):
    forge(path, **changes)
    with pytest.raises(BundleError, match=rf"manifest\.json.*{message}"):
        Bundle.open(path)


@pytest.mark.parametrize("plan", [None, "{", "{}", "[1]", '{"chosen": {"predicted": {"edge_s": 1}}}'])
def test_a_plan_that_predicts_nothing(path, plan):
    if plan is not None:
        (path / "plan.json").write_text(plan)
    with pytest.raises(BundleError, match=r"plan\.json tells no predicted times"):
        Bundle.open(path).predicted  # noqa: B018


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_run_is_compared_with_has_no_waiting_in_it(path, version):
    """Of plans without `energy_j`, version 1, as well."""
    plan = {"version": version, "chosen": {"predicted": Timing(0.1, 0.2, 0.3, 0.4).to_json()}}
    for load, cloud_s in (({}, 0.3), ({"cloud_load": {"load": 0.5, "factor": 1.5, "service_s": 1.0}}, 0.2)):
        write_json(path / "plan.json", plan | load)
        assert Bundle.open(path).predicted == Timing(0.1, 0.2, pytest.approx(cloud_s), 0.4)


def test_no_bundle_there(tmp_path):
    with pytest.raises(BundleError, match=r"is no bundle: it has no manifest\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, BundleError])
def test_an_interrupted_write_leaves_nothing(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "bundle") as folder:
        (folder / "edge.so").write_bytes(b"half")
        raise error("interrupted")
    assert list(tmp_path.iterdir()) == []


def test_other_failures_keep_their_own_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="a linker"), new_folder(tmp_path / "bundle"):
        raise FileNotFoundError("a linker")
    with pytest.raises(BundleError, match=r"the bundle's plan\.json could not be written: .*; nothing was changed"):
        write_json(tmp_path / "none" / "plan.json", {})


def test_an_interrupted_replacement_leaves_the_old_one(path):
    with pytest.raises(KeyboardInterrupt), new_folder(path, force=True) as folder:
        (folder / "edge.so").write_bytes(b"half")
        raise KeyboardInterrupt
    assert Bundle.open(path) and list(path.parent.iterdir()) == [path]


def test_a_failed_replacement_brings_the_old_one_back(path):
    with pytest.raises(BundleError, match=r"could not be written: .*; nothing was changed"):
        with new_folder(path, force=True) as folder:
            (folder / "edge.so").write_bytes(b"new")
            folder.chmod(0o755)
            folder.rename(folder.parent / "gone")
            folder = folder.parent / "gone"
    assert Bundle.open(path).kind == "split"


@pytest.fixture(params=["renameat2", "plain"])
def renaming(request, monkeypatch):
    """With the system's rename that never replaces, and without it."""
    if request.param == "plain":
        monkeypatch.setattr(rename_new, "_without_replacing", lambda folder, path: False)


@pytest.mark.usefixtures("renaming")
@pytest.mark.parametrize("kind", ["full", "empty", "file", "link"])
def test_what_somebody_makes_there_meanwhile_stays(tmp_path, kind):
    path = tmp_path / "bundle"
    with pytest.raises(BundleError, match="was made by somebody else while the bundle was; nothing was changed there"):
        with new_folder(path) as folder:
            (folder / MANIFEST).write_text("{}")
            if kind in ("full", "empty"):
                path.mkdir()
            if kind == "full":
                (path / "thesis.tex").write_text("years of work")
            if kind == "file":
                path.write_text("years of work")
            if kind == "link":
                path.symlink_to("nowhere")
    assert not (path / MANIFEST).exists() and [*tmp_path.iterdir()] == [path]
    assert kind != "full" or (path / "thesis.tex").read_text() == "years of work"
    assert kind != "file" or path.read_text() == "years of work"


@pytest.mark.usefixtures("renaming")
def test_of_two_that_write_one_bundle_the_second_is_told(tmp_path):
    path = tmp_path / "bundle"
    with pytest.raises(BundleError, match="was made by somebody else"), new_folder(path) as outer:
        (outer / MANIFEST).write_text("outer")
        with new_folder(path) as inner:
            (inner / MANIFEST).write_text("inner")
    assert (path / MANIFEST).read_text() == "inner" and [*tmp_path.iterdir()] == [path]


@pytest.mark.usefixtures("renaming")
def test_force_spares_what_is_no_bundle_by_then(path):
    with pytest.raises(BundleError, match="was made by somebody else"), new_folder(path, force=True) as folder:
        (folder / MANIFEST).write_text("new")
        shutil.rmtree(path)
        path.mkdir()
        (path / "thesis.tex").write_text("years of work")
    assert (path / "thesis.tex").read_text() == "years of work" and [*path.parent.iterdir()] == [path]


def test_force_replaces_a_bundle_only(path, tmp_path):
    with pytest.raises(BundleError, match="exists already; give another -o, or --force"):
        write(path, b"new")
    write(path, b"new", force=True)
    assert (path / "edge.so").read_bytes() == b"edge.sonew" and Bundle.open(path)
    assert list(tmp_path.iterdir()) == [path]


def test_force_spares_what_is_no_bundle(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    file = tmp_path / "file"
    file.write_text("x")
    for path in (home, file):
        with pytest.raises(BundleError, match=r"is no bundle .*--force replaces only bundles"):
            write(path, force=True)
    assert (home / "thesis.tex").read_text() == "years of work" and file.read_text() == "x"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="no bundle can be written at"):
        write(tmp_path / "file" / "bundle")


def test_same_facts_same_manifest(path, tmp_path):
    assert (path / MANIFEST).read_bytes() == (write(tmp_path / "again") / MANIFEST).read_bytes()
