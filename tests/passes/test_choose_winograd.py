"""Which convolutions choose-winograd marks."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.choose_winograd import ChooseWinograd, pays
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import WINOGRAD, layer_calls


def layered(build, shape=(1, 64, 16, 16), kernel=(64, 64, 3, 3), constant=True, **attrs):
    def body(emit, x, w):
        weight = relax.const(np.ones(kernel, "float32")) if constant else w
        return emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, weight, **attrs))))

    return FuseActivation()(build(body, shape, kernel))


def mark(mod):
    ((_, callee),) = layer_calls(mod)
    return callee.attrs.get(WINOGRAD)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_convolution_that_pays_gets_the_choice(apply, build, wanted):
    assert mark(apply(ChooseWinograd(wanted), layered(build, padding=1))) is wanted


def test_channels_last_convolutions_too(apply, build):
    for kernel_layout in ("HWIO", "OHWI"):
        kernel = (3, 3, 64, 64) if kernel_layout == "HWIO" else (64, 3, 3, 64)
        before = layered(build, (1, 16, 16, 64), kernel, data_layout="NHWC", kernel_layout=kernel_layout)
        assert mark(apply(ChooseWinograd(), before)) is True


@pytest.mark.parametrize(
    "change",
    [
        {"strides": 2}, {"dilation": 2}, {"kernel": (64, 64, 1, 1)}, {"kernel": (64, 64, 3, 5)}, {"constant": False},
        {"kernel": (64, 32, 3, 3), "groups": 2},
    ],
    ids=str,
)  # fmt: skip
def test_others_are_left_alone(apply, build, change):
    before = layered(build, **change)
    assert ChooseWinograd()(before).same_as(before)


def test_a_mark_stays(apply, build):
    before = ChooseWinograd(False)(layered(build))
    assert ChooseWinograd()(before).same_as(before)


def test_small_images_do_not_pay_for_their_weights_and_several_do():
    assert not pays((1, 7, 7), 512, 512)
    assert pays((8, 7, 7), 512, 512)
    assert all(pays((1, size, size), 128, 128) for size in (14, 28, 56, 112))
