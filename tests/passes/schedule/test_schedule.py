"""The pass: which functions it schedules, where it finds the target, and that a failing rule is only logged."""

import logging

import pytest
import tvm
from tvm import relax, s_tir
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule import RULES, SCHEDULED, ScheduleKernels
from tvm_split.passes.schedule.elementwise import Default


class Broken(ScheduleRule):
    def apply(self, func, target, tunable):
        sch = s_tir.Schedule(func)
        sch.get_sblock("there is none")


@pytest.fixture()
def module(kernel):
    return tvm.IRModule({"f": kernel(lambda e, x: relax.op.nn.relu(x), (64, 1024)).with_attr("global_symbol", "f")})


def test_the_target_is_the_current_one_or_the_functions_own(module, host):
    with host:
        out = ScheduleKernels()(module)
    assert out["f"].attrs[SCHEDULED] and "T.parallel" in out["f"].script()
    assert "T.parallel" not in module["f"].script()
    out = ScheduleKernels()(tvm.IRModule({"f": module["f"].with_attr("target", host)}))
    assert out["f"].attrs[SCHEDULED]


def test_no_target_is_an_error(module):
    with pytest.raises(Exception, match=r"[Tt]arget"):
        ScheduleKernels()(module)


def test_scheduled_functions_stay(module, host):
    marked = tvm.IRModule({"f": module["f"].with_attr(SCHEDULED, True)})
    with host:
        assert ScheduleKernels()(marked)["f"].same_as(marked["f"])
        once = ScheduleKernels()(module)
        assert ScheduleKernels()(once)["f"].same_as(once["f"])


def test_a_failing_rule_is_logged_and_the_next_one_asked(module, host, caplog):
    with host, caplog.at_level(logging.INFO):
        out = ScheduleKernels([Broken(), Default()])(module)
    assert out["f"].attrs[SCHEDULED]
    assert any("f: rule Broken failed" in record.message for record in caplog.records)
    assert any("f: no rule but the default one" in record.message for record in caplog.records)


@pytest.mark.parametrize("error", [TypeError, KeyError, IndexError, AttributeError, ValueError, RuntimeError])
def test_whatever_a_rule_raises_the_next_one_is_asked(module, host, error, monkeypatch):
    def fail(self, func, target, tunable):
        raise error("no")

    monkeypatch.setattr(Broken, "apply", fail)
    with host:
        assert ScheduleKernels([Broken(), Default()])(module)["f"].attrs[SCHEDULED]


def test_the_rules_are_in_order():
    names = [type(rule).__name__ for rule in RULES]
    by_annotation = ["Packed", "Winograd", "Depthwise", "DepthwiseInt8", "DepthwiseWide"]
    by_annotation += ["TransposedConvolution", "BatchMatmul", "RowSoftmax"]
    by_shape = ["Pool", "Softmax", "Reduction", "Transpose", "Lookup", "Elementwise", "Several", "Default"]
    assert names == [*by_annotation, *by_shape]
