"""Register tiles: they fit, their lanes are a power of two, and little is computed for nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tiles import MIN_LANES, STACK_BYTES, tile_of

AVX512, ZEN4 = Machine(64, 32, 2), Machine(64, 32, 2, half_vector=0.5)
AVX2, NEON = Machine(32, 16, 2), Machine(16, 32, 4)
machines = st.sampled_from([AVX512, ZEN4, AVX2, NEON, Machine(16, 16, 1, products=1)])


@settings(deadline=None)
@given(machines, st.integers(1, 4000), st.integers(1, 7000), st.integers(1, 5000), st.booleans())
def test_a_tile_fits(machine, row, channels, terms, copies):
    tile = tile_of(machine, row, channels, terms, "float32", copies=copies)
    vectors = tile.channels // tile.lanes
    assert tile.channels == vectors * tile.lanes
    assert tile.lanes in (4, 8, 16) and tile.lanes <= machine.lanes("float32")
    assert tile.pixels * vectors + vectors + 1 + machine.products <= machine.registers
    assert tile.pixels * tile.channels * 4 < STACK_BYTES
    assert tile.pixels <= row
    assert tile.channels < 2 * max(channels, MIN_LANES)


@given(machines, st.integers(1, 300), st.integers(1, 100), st.integers(1, 500))
def test_exact_tiles_divide(machine, row, quads, terms):
    assert 4 * quads % tile_of(machine, row, 4 * quads, terms, "float32", exact=True).channels == 0


def test_nothing_divides_a_prime():
    with pytest.raises(ValueError, match="7 output channels"):
        tile_of(AVX2, 14, 7, 64, "float32", exact=True)


@pytest.mark.parametrize("machine", [AVX512, ZEN4, AVX2, NEON])
@pytest.mark.parametrize("row", [7, 13, 14, 26, 52, 56, 112])
@pytest.mark.parametrize("channels", [64, 96, 112, 240, 320, 512])
def test_usual_layers_waste_little_and_hide_latency(machine, row, channels):
    tile = tile_of(machine, row, channels, 576, "float32")
    done = -(-row // tile.pixels) * tile.pixels * -(-channels // tile.channels) * tile.channels
    assert done <= (1.16 if row > 7 else 1.3) * row * channels  # 7 x 2 vectors do not fit 16 registers
    assert tile.pixels * tile.channels // tile.lanes >= 8


def test_narrow_vectors_where_they_cost_less():
    assert tile_of(ZEN4, 56, 24, 96, "float32").lanes == 8  # three halves instead of two wholes
    assert tile_of(AVX512, 56, 24, 96, "float32").lanes == 16
