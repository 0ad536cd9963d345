"""`tvm-split link`: what is written can be given to --link, and wrong input says what to do."""

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tvm_split.cli import cli
from tvm_split.cli.kinds import Address
from tvm_split.targets import load_link

#: any spread will do: tests share their machine
LOOSE = ("--seconds", "0.1", "--max-spread", "100", "--quiet")


def call(*words: str):
    return CliRunner().invoke(cli, ["link", *words])


def test_what_is_written_is_a_link(serve, tmp_path):
    out = tmp_path / "my-link.toml"
    address = f"127.0.0.1:{serve().port}"
    done = call(address, "--out", str(out), "--radio", "wifi", *LOOSE)
    assert done.exit_code == 0, done.output
    for text in ("round trip", "rate up", "rate down", "path MTU", f"wrote {out}", "--link"):
        assert text in done.stdout
    link = load_link(out)
    assert link.name == "my-link" and link.up_bytes_per_s > 0 and link.rtt_s > 0
    assert link.radio == load_link("wifi").radio
    assert link.up_w == pytest.approx(link.radio.base_w + link.radio.up_j_per_byte * link.up_bytes_per_s)
    assert "measured 2" in out.read_text() and f"to {address}: median of 7 transfers" in out.read_text()


def test_without_a_file_the_description_is_printed(serve):
    done = call(f"127.0.0.1:{serve().port}", *LOOSE)
    assert done.exit_code == 0 and 'name = "measured"' in done.stdout and "[sources]" in done.stdout


def test_json_is_one_object(serve, tmp_path):
    out = tmp_path / "own.toml"
    done = call(f"127.0.0.1:{serve().port}", "--json", "--out", str(out), *LOOSE)
    made = json.loads(done.stdout)
    assert made["toml"] == out.read_text() and made["version"] == 1
    assert made["up"]["bytes_per_s"] > 0 and made["down"]["transfers"] == 7 and made["rtt_s"] > 0
    assert load_link(out).up_bytes_per_s == pytest.approx(made["up"]["bytes_per_s"], rel=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give HOST[:PORT] to measure the link to it, or --serve to be the other end"),
        (("host", "--serve", "9000"), "give HOST[:PORT] to measure"),
        (("host:99999",), "'host:99999' is no address; write HOST or HOST:PORT, the port from 1 to 65535"),
        (("beef:",), "'beef:' is no address"),
        (("a b",), "'a b' is no address"),
        (("host", "--out", "mine.txt"), "a link's file ends in .toml"),
        (("host", "--out", "/no/such/folder/mine.toml"), "there is no folder /no/such/folder"),
        (("host", "--radio", "5g"), "link '5g' (--radio) does not state how its radio's power follows the rate"),
        (("127.0.0.1:1",), "nobody answers at 127.0.0.1:1"),
        (("--serve", "0", "--bind", ""), "--bind is empty"),
        (("a..b",), "'a..b' is no host that can be found"),
        (("--serve", "0", "--bind", "203.0.113.1"), "cannot listen on 203.0.113.1:0"),
        (("--serve", "70000"), "70000 is not in the range"),
    ],
)
def test_wrong_input_is_told(words, says):
    done = call(*words)
    assert done.exit_code == 2 and says in done.stderr, done.stderr


def test_a_file_is_not_replaced_unasked(tmp_path):
    out = tmp_path / "mine.toml"
    out.write_text("mine")
    done = call("host", "--out", str(out))
    assert done.exit_code == 2 and "exists already; give another --out, or --force" in done.stderr
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cloud", ("cloud", 9377)),
        ("cloud.example.org:80", ("cloud.example.org", 80)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 9377)),
        ("fe80::1%eth0", ("fe80::1%eth0", 9377)),
    ],
)
def test_addresses(text, wanted):
    assert Address(9377).convert(text, None, None) == wanted


def test_the_server_stops_at_control_c(tmp_path):
    command = [sys.executable, "-m", "tvm_split.cli", "link", "--serve", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = json.loads(server.stdout.readline())["port"]
            done = call(f"127.0.0.1:{port}", *LOOSE)
            assert done.exit_code == 0, done.output
            time.sleep(0.2)
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=20)
        finally:
            server.kill()
    assert server.returncode == 0 and "stopped" in said and "measured with" in said
