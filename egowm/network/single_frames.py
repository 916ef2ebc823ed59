"""Convolutions over time that do not multiply the zeros beside a lone frame."""

from torch import Tensor, nn
from torch.nn import functional


class TemporalConv(nn.Conv3d):
    """A convolution over time, kernel (3, 1, 1) padded by 1, of which one frame meets the middle.

    Its outer taps would multiply padding: two thirds of the work of SVD's temporal layers, where a
    model makes one frame at a time.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] != 1:
            return super().forward(x)
        return functional.conv2d(x[:, :, 0], self.weight[:, :, 1], self.bias)[:, :, None]


def spare_padding(network: nn.Module) -> None:
    """Make such convolutions of a network skip the padding; weights and their names stay."""
    for module in network.modules():
        if type(module) is nn.Conv3d and _over_time(module):
            module.__class__ = TemporalConv


def _over_time(module: nn.Conv3d) -> bool:
    plain = (module.stride, module.dilation, module.groups) == ((1, 1, 1), (1, 1, 1), 1)
    return plain and module.kernel_size == (3, 1, 1) and module.padding == (1, 0, 0)
