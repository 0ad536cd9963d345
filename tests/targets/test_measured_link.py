"""What was measured as a link's file: read back as it is, with date, place and spread as sources."""

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tvm_split.errors import TargetError
from tvm_split.runtime.link_probe import Measured, Rate
from tvm_split.targets import load_link
from tvm_split.targets.load import parse_link
from tvm_split.targets.measured_link import describe

FOUND = Measured("cloud:9377", 0.0213456789, 0.05, 40, Rate(375_000.3, 0.04, 7, 260_000), Rate(1.25e6, 0.1, 7, 900_000),
                 1500)  # fmt: skip
WHEN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_the_file_is_a_link_with_date_place_and_spread_as_sources(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "camera")
    path = tmp_path / "attic.toml"
    path.write_text(describe(FOUND, "attic", when=WHEN))
    link = load_link(path)
    assert (link.name, link.up_bytes_per_s, link.down_bytes_per_s, link.rtt_s) == (
        "attic",
        375_000.25,
        1.25e6,
        0.021346,
    )
    assert link.radio is None
    sources = tomllib.loads(path.read_text())["sources"]
    place = "measured 2026-11-22 09:30 UTC, from camera to cloud:9377: "
    assert sources["up_bits_per_s"] == place + "median of 7 transfers of 260 KB, spread 4%"
    assert sources["rtt_s"] == place + "median of 40 small messages, spread 5%"
    assert "# The path's MTU was 1500 bytes." in path.read_text()


def test_the_radio_of_another_link_is_named_as_its_source(tmp_path):
    path = tmp_path / "attic.toml"
    path.write_text(describe(FOUND, "attic", load_link("4g").radio, "4g", WHEN))
    assert load_link(path).radio == load_link("4g").radio
    assert load_link(path).up_w == pytest.approx((438.39 * 3.000002 + 1288.04) / 1e3)
    assert tomllib.loads(path.read_text())["sources"]["radio_w"] == "as the link '4g' has it; not measured"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=20))
def test_any_name_is_written_as_it_is(name):
    try:
        text = describe(FOUND, name, when=WHEN)
    except UnicodeEncodeError:
        return
    assert tomllib.loads(text)["name"] == name
    assert parse_link(tomllib.loads(text), "file").name == name


def test_numbers_of_no_link_are_refused():
    none = Measured("p", 0.1, 0.0, 5, Rate(1e-9, 0.0, 7, 1), Rate(1.0, 0.0, 7, 1), None)
    with pytest.raises(TargetError, match="up_bits_per_s is 0; expected a number above 0"):
        describe(none, "slow")
