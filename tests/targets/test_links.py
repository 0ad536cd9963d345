import json
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import TargetError
from tvm_split.plan.problem import Link
from tvm_split.targets import link_names, load_link
from tvm_split.targets.load import PACKAGED
from tvm_split.targets.rates import RATE_UNITS, TIME_UNITS, is_rate

FILES = sorted((PACKAGED / "links").glob("*.toml"))
GOOD = 'name = "mine"\ndescription = "mine"\nup_bits_per_s = 8_000\ndown_bits_per_s = 16_000\nrtt_s = 0.5\n'
LINE = "up_j_per_bit = 1e-7\ndown_j_per_bit = 2e-7\nradio_w = 0.5\n"
#: JointDNN, arXiv:1801.08618v1: alpha up, alpha down in mW a Mbit/s, beta in mW
JOINTDNN_POWER = {"3g": (868.98, 122.12, 817.88), "4g": (438.39, 51.97, 1288.04), "wifi": (283.17, 137.01, 132.86)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_packaged_link_is_named_as_its_file_and_gives_a_source_for_every_number(path):
    link = load_link(path.stem)
    assert link == load_link(path) and link.name == path.stem
    table = tomllib.loads(path.read_text())
    assert set(table["sources"]) == set(table) - {"name", "description", "sources"}
    assert link.up_bytes_per_s * 8 == table["up_bits_per_s"]


def test_the_links_are_all_there():
    assert link_names() == ("3g", "4g", "5g", "ble", "cat1", "ethernet", "loopback", "wifi")


@pytest.mark.parametrize(("name", "mbit_per_s"), [("cat1", 0.13), ("3g", 1.1), ("4g", 5.85), ("wifi", 18.88)])
def test_uplinks_are_those_of_dads(name, mbit_per_s):
    assert load_link(name).up_bytes_per_s == pytest.approx(mbit_per_s * 1e6 / 8)


@pytest.mark.parametrize(("name", "power"), JOINTDNN_POWER.items())
def test_radio_power_is_that_of_jointdnn(name, power):
    link, (alpha_up, alpha_down, beta) = load_link(name), power
    up_mbit_per_s, down_mbit_per_s = link.up_bytes_per_s * 8e-6, link.down_bytes_per_s * 8e-6
    assert link.up_w == pytest.approx((alpha_up * up_mbit_per_s + beta) / 1e3, rel=1e-5)
    assert link.down_w == pytest.approx((alpha_down * down_mbit_per_s + beta) / 1e3, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "up_w", "down_w"),
    [("3g", 1.773758, 1.0654783), ("4g", 3.8526215, 2.0031472), ("wifi", 5.4791096, 7.6642997)],
)
def test_radio_power_of_the_table(name, up_w, down_w):
    """P = alpha t + beta in watts, by hand from the paper's table."""
    link = load_link(name)
    assert (link.up_w, link.down_w) == (pytest.approx(up_w, rel=1e-9), pytest.approx(down_w, rel=1e-9))


def test_power_follows_the_rate():
    """4G at 2 Mbit/s up and 10 down: 438.39 * 2 + 1288.04 = 2164.82 mW, 51.97 * 10 + 1288.04 = 1807.74 mW."""
    slow = load_link("4g@2mbit/10mbit")
    assert (slow.name, slow.rtt_s) == ("4g@2mbit/10mbit", load_link("4g").rtt_s)
    assert (slow.up_w, slow.down_w) == (pytest.approx(2.16482), pytest.approx(1.80774))
    swept = replace(load_link("4g"), up_bytes_per_s=2e6 / 8)
    assert swept.up_w == pytest.approx(2.16482) and swept.down_w == load_link("4g").down_w
    assert load_link("wifi@3mbit/50ms").rtt_s == 0.05


@given(st.sampled_from(sorted(JOINTDNN_POWER)), st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_power_at_any_rate_is_jointdnn_s_line(name, up, down):
    alpha_up, alpha_down, beta = JOINTDNN_POWER[name]
    link = replace(load_link(name), up_bytes_per_s=up * 1e6 / 8, down_bytes_per_s=down * 1e6 / 8)
    assert link.up_w == pytest.approx((alpha_up * up + beta) / 1e3)
    assert link.down_w == pytest.approx((alpha_down * down + beta) / 1e3)


def test_watts_alone_are_of_their_own_rate(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "up_w = 2.0\ndown_w = 1.0\n")
    assert (load_link(path).up_w, load_link(path).down_w) == (2.0, 1.0)
    other = load_link(f"{path}@1mbit")
    assert (other.up_w, other.down_w, other.up_bytes_per_s) == (None, None, 125_000)


def test_a_link_of_an_unknown_name_at_a_rate_is_unknown():
    with pytest.raises(TargetError, match=r"unknown link 'wfi' \(did you mean 'wifi'\?\)"):
        load_link("wfi@3mbit")
    with pytest.raises(TargetError, match="is no link: rates go from"):
        load_link("wifi@0mbit")


@pytest.mark.parametrize("name", ["wifi", "5g", "3mbit"])
def test_a_link_survives_json(name):
    link = load_link(name)
    data = json.loads(json.dumps(link.to_json()))
    assert Link.from_json(data) == link and ("radio" in data) == (name == "wifi")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (LINE.replace("radio_w = 0.5\n", ""), "up_j_per_bit needs radio_w as well"),
        ("radio_w = 0.5\n", "radio_w needs up_j_per_bit as well"),
        (LINE + "up_w = 1.0\n", "up_w follows from up_j_per_bit, down_j_per_bit, radio_w; leave one"),
        (LINE.replace("0.5", "-0.5"), "radio_w is -0.5; expected a number from 0"),
    ],
)
def test_a_radio_that_is_stated_in_part_or_twice_is_refused(tmp_path, lines, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + LINE)
    assert load_link(path).up_w == pytest.approx(0.5 + 1e-7 * 8000)
    path.write_text(GOOD + lines)
    with pytest.raises(TargetError, match=message):
        load_link(path)


@pytest.mark.parametrize(
    ("text", "up", "down", "rtt"),
    [
        ("3mbit", 375_000, 375_000, 0),
        ("3Mbit/s", 375_000, 375_000, 0),
        ("500kbit", 62_500, 62_500, 0),
        ("3mbit/10mbit/20ms", 375_000, 1_250_000, 0.02),
        ("3Mbit/s/10Mbit/s/20ms", 375_000, 1_250_000, 0.02),
        ("1.5mbit/20ms", 187_500, 187_500, 0.02),
        (" 8 bps ", 1, 1, 0),
        ("3Mibit", 3 * 2**20 / 8, 3 * 2**20 / 8, 0),
        ("1gbit/s/1us", 125e6, 125e6, 1e-6),
        (".5kbps/2s", 62.5, 62.5, 2),
    ],
)
def test_a_rate_gives_bytes_and_seconds(text, up, down, rtt):
    link = load_link(text)
    assert (link.up_bytes_per_s, link.down_bytes_per_s, link.rtt_s) == (up, down, pytest.approx(rtt))
    assert link.name == text.strip() and link.up_w is None and link.down_w is None


amounts = st.decimals(min_value="1", max_value=999, places=3)
cased = st.sampled_from([form for unit in RATE_UNITS for form in (unit, unit.upper(), unit.capitalize())])


@given(amounts, cased, amounts, cased, amounts, st.sampled_from(list(TIME_UNITS)), st.sampled_from(["", "/s"]))
def test_any_rate_reads_back_as_what_it_says(up, up_unit, down, down_unit, rtt, rtt_unit, per_s):
    link = load_link(f"{up}{up_unit}{per_s}/{down}{down_unit}{per_s}/{rtt}{rtt_unit}")
    assert link.up_bytes_per_s == pytest.approx(float(up) * RATE_UNITS[up_unit.lower()] / 8)
    assert link.down_bytes_per_s == pytest.approx(float(down) * RATE_UNITS[down_unit.lower()] / 8)
    assert link.rtt_s == pytest.approx(float(rtt) * TIME_UNITS[rtt_unit])


@given(amounts, cased)
def test_one_rate_serves_both_directions(amount, unit):
    link = load_link(f"{amount}{unit}")
    assert link.up_bytes_per_s == link.down_bytes_per_s and link.rtt_s == 0


@given(st.text(max_size=20))
def test_any_other_text_is_a_known_name_or_a_target_error(text):
    if is_rate(text) or text in link_names():
        return
    with pytest.raises(TargetError):
        load_link(text)


@pytest.mark.parametrize("text", ["0mbit", "1mbit/0kbit", f"{'9' * 400}gbit", f"1mbit/{'9' * 400}s"])
def test_a_rate_that_is_no_rate_is_refused(text):
    with pytest.raises(TargetError, match="is no link: rates go from 1 to 8e"):
        load_link(text)


@pytest.mark.parametrize(
    "text", ["-3mbit", "3", "3MB/s", "mbit", "3mbit/10mbit/20", "3mbit/20ms/10mbit", "1e3mbit", "\u0663mbit"]
)
def test_what_is_no_rate_is_an_unknown_link_with_examples(text):
    with pytest.raises(TargetError, match=r"unknown link .*; known are 3g, .*or give a rate, such as 3mbit"):
        load_link(text)


def test_an_unknown_link_gets_the_closest():
    with pytest.raises(TargetError, match=r"unknown link 'wfi' \(did you mean 'wifi'\?\)"):
        load_link("wfi")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rtt_s = 0.5", "rtt = 0.5"), "unknown field 'rtt'; the fields are name, .*rtt_s"),
        (("rtt_s = 0.5\n", ""), "field 'rtt_s' is missing"),
        (("8_000", "-1"), "up_bits_per_s is -1; expected a number above 0"),
        (("8_000", "0"), "up_bits_per_s is 0; expected a number above 0"),
        (("16_000", '"fast"'), "down_bits_per_s is 'fast'; expected a number above 0"),
        (("0.5", "-0.5"), "rtt_s is -0.5; expected a number from 0"),
        (("0.5", "nan"), "rtt_s is nan"),
        (("0.5", "0.5\nup_w = true"), "up_w is True; expected a number above 0"),
        (('description = "mine"', 'description = ""'), "description is ''"),
        (('name = "mine"', 'name = "yours"'), "name is 'yours'; expected the file's own name, 'mine'"),
        (("rtt_s = 0.5", "rtt_s = "), "is not TOML"),
    ],
)
def test_a_wrong_link_file_is_named_with_its_fault(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(TargetError, match=message) as caught:
        load_link(path)
    assert "mine.toml" in str(caught.value)


def test_a_user_adds_a_link_and_may_not_redefine_one(own):
    own("mine", "own/links", GOOD)
    link = load_link("mine")
    assert (link.up_bytes_per_s, link.down_bytes_per_s, link.rtt_s) == (1_000, 2_000, 0.5)
    assert "mine" in link_names()
    own("wifi", "own/links", GOOD)
    with pytest.raises(TargetError, match=r"'wifi' is defined in .*wifi\.toml and in .*wifi\.toml; rename one"):
        load_link("3g")
