"""What a layer multiplies, as an array of multipliers sees it. Plain numbers: no TVM, no file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerShape:
    """`groups` convolutions, one after another, each of `channels` inputs into `filters` outputs.

    The result has out_height x out_width positions a filter, each of a window of kernel_height x kernel_width x
    channels inputs. As matrices, one group is (positions x window) times (window x filters).
    """

    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    channels: int
    filters: int
    stride_height: int = 1
    stride_width: int = 1
    groups: int = 1

    @classmethod
    def matmul(cls, rows: int, inner: int, columns: int, groups: int = 1) -> LayerShape:
        """(rows x inner) times (inner x columns), `groups` times: a 1x1 convolution of a column of `rows` pixels."""
        return cls(rows, 1, 1, 1, inner, columns, groups=groups)

    @property
    def positions(self) -> int:
        return self.out_height * self.out_width

    @property
    def window(self) -> int:
        return self.kernel_height * self.kernel_width * self.channels

    @property
    def macs(self) -> int:
        """Multiply-adds of all groups."""
        return self.positions * self.window * self.filters * self.groups

    @property
    def height(self) -> int:
        """Rows that the windows span, padding included."""
        return (self.out_height - 1) * self.stride_height + self.kernel_height

    @property
    def width(self) -> int:
        return (self.out_width - 1) * self.stride_width + self.kernel_width

    @property
    def input_elements(self) -> int:
        """Inputs of one group that some window holds: rows that a stride jumps over are not among them."""
        rows = min(self.height, self.out_height * self.kernel_height)
        return rows * min(self.width, self.out_width * self.kernel_width) * self.channels

    @property
    def weights(self) -> int:
        """Of one group."""
        return self.window * self.filters

    @property
    def results(self) -> int:
        """Of one group."""
        return self.positions * self.filters
