"""Tasks of packed kernels: they divide the work, share it out, and keep in the second cache what is read again."""

import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import s_tir, te

from tvm_split.passes.kernels.conv2d import conv2d_packed
from tvm_split.passes.kernels.conv2d_merged import conv2d_merged
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tasks import Work, conv_tile_of, run_of, task_of, work_time
from tvm_split.passes.schedule.tiles import Tile
from tvm_split.passes.schedule.work import span

AVX512, AVX2, NEON = Machine(64, 32, 2), Machine(32, 16, 2), Machine(16, 32, 4)
machines = st.sampled_from([AVX512, AVX2, NEON, Machine(16, 16, 1)])
TILE = Tile(6, 16, 8)


def work(pixel_tiles, channel_tiles, others=1, terms=576, ahead=0, each=384, copies=True):
    return Work(TILE, pixel_tiles, channel_tiles, others, terms, ahead, each, copies, "float32")


@given(machines, st.integers(1, 400), st.integers(1, 70), st.integers(1, 60), st.integers(1, 5000), st.booleans())
def test_a_task_divides_the_work(machine, pixel_tiles, channel_tiles, others, terms, copies):
    whole = work(pixel_tiles, channel_tiles, others, terms, 100, terms, copies)
    run, group = task_of(machine, whole)
    assert pixel_tiles % run == 0 and channel_tiles % group == 0
    assert work_time(machine, whole, run, group) <= work_time(machine, whole, 1, 1)


@given(st.integers(1, 500), st.integers(1, 50), st.integers(1, 8), st.integers(1, 40), st.integers(1, 40))
def test_a_run_divides_the_tiles_within_its_bounds(tiles, others, cores, least, most):
    run = run_of(tiles, others, cores, enough=8, least=least)
    assert tiles % run == 0 and (run >= least or run == tiles)
    assert run == tiles or all(tiles // n * others % cores for n in range(run + 1, tiles + 1) if tiles % n == 0)
    assert tiles % run_of(tiles, others, cores, enough=8, most=most) == 0
    assert run_of(tiles, others, cores, enough=8, most=most) <= most


@given(machines, st.integers(4, 9), st.integers(2, 6))
def test_no_core_idles_when_the_work_divides(machine, pixels, channels):
    run, group = task_of(machine, work(machine.cores * pixels, machine.cores * channels))
    tasks = machine.cores**2 * pixels * channels // (run * group)
    assert tasks % machine.cores == 0 or tasks > 8 * machine.cores


def test_what_is_copied_is_copied_for_all_channels():
    assert task_of(AVX2, work(40, 8, others=40))[1] == 8


@pytest.mark.parametrize("l2_bytes", [1 << 18, 1 << 20, 1 << 22])
def test_weights_stay_in_the_second_cache_or_serve_many_pixels(l2_bytes):
    tile_bytes, each = 4608 * TILE.channels * 4, 4608 * TILE.pixels  # 32 tiles of weights are 9.4 MB
    run, group = task_of(Machine(32, 16, 2, l2_bytes=l2_bytes), work(16, 32, terms=4608, each=each, copies=False))
    assert group * tile_bytes + run * each * 4 <= l2_bytes or run >= 8


@pytest.mark.parametrize(("row", "merged"), [(7, True), (14, True), (13, True), (224, False)])
def test_short_rows_are_merged_where_the_tile_does_not_divide_them(row, merged):
    assert conv_tile_of(AVX2, (row, row), 512, (3, 3, 256), 1, "float32", padded=True).merged == merged


def test_rows_that_the_tile_divides_are_not_copied_in_a_panel_larger_than_the_cache():
    machine = Machine(64, 32, 2, half_vector=0.5)
    tile = conv_tile_of(machine, (28, 28), 512, (3, 3, 512), 1, "float32", padded=True)
    assert 28 % tile.pixels == 0 and not tile.merged


def test_the_first_layer_is_not_merged():
    assert not conv_tile_of(AVX2, (13, 13), 64, (3, 3, 3), 2, "float32", padded=True).merged


@settings(deadline=None)
@given(machines, st.integers(1, 40), st.integers(1, 40), st.integers(1, 200), st.sampled_from([1, 3, 5]),
       st.integers(1, 64), st.integers(1, 2))  # fmt: skip
def test_every_convolution_has_a_tile(machine, height, width, channels, kernel, inner, stride):
    window = (kernel, kernel, inner)
    tile = conv_tile_of(machine, (height, width), channels, window, stride, "float32", padded=kernel > 1)
    assert tile.pixels <= (height * width if tile.merged else width)
    assert tile.pixels * tile.vectors + tile.vectors + 1 <= machine.registers


def reads(kernel, stride, copies):
    """Elements that n tiles of 6 pixels of a 3x3 convolution of 8 channels read, as (ahead, each)."""
    data = te.placeholder(int64(1, 13, 13, 8), "float32", name="data")
    weight = te.placeholder(int64(2, 3, 3, 8, 16), "float32", name="weight")
    out = kernel(data, weight, 32, TILE, (stride, stride), (1, 1, 1, 1), (1, 1))
    sch = s_tir.Schedule(te.create_prim_func([data, weight, out]))
    sums = sch.get_sblock("sums")
    return span(sch, sums, sch.get(sums).reads[0].source, TILE.pixels, copies=copies)


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [
        (conv2d_packed, 1, (3 * 2 * 8, 3 * 6 * 8)),  # three rows, two columns more than pixels
        (conv2d_packed, 2, (3 * 1 * 8, 3 * 12 * 8)),
        (conv2d_merged, 1, (3 * 2 * 13 * 8, 3 * 6 * 8)),  # three panels, two rows more than pixels
        (conv2d_merged, 2, (0, 9 * 6 * 8)),  # nine panels of nothing but pixels
    ],
)
def test_what_is_read_follows_from_the_indices(kernel, stride, expected):
    assert reads(kernel, stride, copies=True) == expected


def test_caches_are_the_targets():
    from tvm_split.passes.schedule.machine import machine_of

    target = {"kind": "llvm", "mcpu": "haswell", "feature.l1_bytes": 49152, "feature.l2_bytes": 262144}
    machine = machine_of(tvm.target.Target(target))
    assert (machine.l1_bytes, machine.l2_bytes) == (49152, 262144)
