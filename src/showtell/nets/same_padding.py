"""Max pooling with TensorFlow's padding, for networks that were ported from Keras."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class SameMaxPool2d(nn.Module):
    """Max pooling with TensorFlow's padding `same`: the size is divided by the stride, rounded up.

    With an odd number of padded pixels, TensorFlow puts one more after the map than before it.
    PyTorch pads both sides equally, which shifts every window on maps of an even size.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        assert stride > 1, "at stride 1 the last pixel cannot be left to ceil_mode"
        self.kernel, self.stride = kernel, stride

    def forward(self, values: Tensor) -> Tensor:
        """Pool [batch, channels, height, width]."""
        # ceil_mode adds the pixel that is missing at the end, without a padded copy
        before = [self._padding(size) // 2 for size in values.shape[-2:]]
        return functional.max_pool2d(values, self.kernel, self.stride, before, ceil_mode=True)

    def _padding(self, size: int) -> int:
        return max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)


def pad_pools_same(network: nn.Module) -> None:
    """Replace the max-pools of a network that have a stride above 1 by `SameMaxPool2d`."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                kernel, stride = child.kernel_size, child.stride
                if isinstance(kernel, int) and isinstance(stride, int) and stride > 1:
                    setattr(module, name, SameMaxPool2d(kernel, stride))
