"""Orders of axes: what a reshape makes of one, against NumPy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.passes.axis_order import as_is, permuted, reshaped


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_reshapes_keep_an_order_where_they_say(data):
    """Against NumPy: the memory of one, reshaped, is the memory of the other."""
    parts = data.draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))

    def joined():
        found = [1]
        for part in parts:
            if data.draw(st.booleans()):
                found.append(1)
            found[-1] *= part
        return tuple(found)

    shape, target = joined(), joined()
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    made = reshaped(shape, order, target)
    tensor = np.arange(np.prod(parts)).reshape(shape)
    if order == as_is(len(shape)):
        assert made is not None
    if made is not None:
        memory = tensor.transpose(order).reshape(permuted(target, made))
        np.testing.assert_array_equal(memory, tensor.reshape(target).transpose(made))
