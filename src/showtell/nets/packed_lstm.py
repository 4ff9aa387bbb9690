"""An LSTM layer over captions of different lengths, packed so that no padding is computed.

Packed tokens are ordered as in PyTorch's `PackedSequence`: step 0 of all captions, then step 1 of
the captions that have one, and so on, longest caption first. Everything outside of the recurrence
(gate inputs, attention, softmax) is then one large matrix product over all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Packing:
    """How captions [rows, steps] are packed into one list of tokens.

    `order` [rows] sorts rows by length, longest first. `sizes` holds the number of rows that have
    a token at each step. `index` [tokens] is the position of each packed token in the flattened
    [rows * steps].
    """

    order: Tensor
    sizes: tuple[int, ...]
    index: Tensor
    rows: int
    steps: int

    @classmethod
    def plan(cls, lengths: Tensor, steps: int) -> Packing:
        """Plan the packing of rows with `lengths` [rows] tokens each, padded to `steps`."""
        order = torch.argsort(lengths, descending=True, stable=True)  # [rows]
        step = torch.arange(steps, device=lengths.device)  # [steps]
        is_token = lengths[order][None, :] > step[:, None]  # [steps, rows]
        position = order[None, :] * steps + step[:, None]  # [steps, rows]
        sizes = tuple(n for n in is_token.sum(1).tolist() if n)
        return cls(order, sizes, position[is_token], len(lengths), steps)

    def pack(self, padded: Tensor) -> Tensor:
        """Turn [rows, steps, ...] into [tokens, ...]."""
        return padded.flatten(0, 1)[self.index]

    def unpack(self, packed: Tensor) -> Tensor:
        """Turn [tokens, ...] into [rows, steps, ...], with zeros after the end of each row."""
        shape = (self.rows * self.steps, *packed.shape[1:])
        padded = packed.new_zeros(shape).index_copy(0, self.index, packed)
        return padded.view(self.rows, self.steps, *packed.shape[1:])


class PackedLSTM(nn.Module):
    """One LSTM layer (Hochreiter and Schmidhuber, Long Short-Term Memory, 1997).

    The forget gate's bias starts at 1 (Jozefowicz et al., An Empirical Exploration of Recurrent
    Network Architectures, 2015).
    """

    # Sequences run in PyTorch's LSTM kernel, the one of `nn.LSTM`. A recurrence in Python with a
    # backward pass written by hand was only 1.07 to 1.16 times as fast in a whole training step
    # (processor time, one thread, 256 and 512 units, float32 and bfloat16), so it was removed.
    # The parameters are two linear layers with the gates in the order input, forget, output,
    # candidate: checkpoints and bundles hold them like that, and export needs no other `step`.
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.input = nn.Linear(inputs, 4 * size)
        self.recurrent = nn.Linear(size, 4 * size, bias=False)
        for gate in self.recurrent.weight.data.chunk(4):
            nn.init.orthogonal_(gate)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.zeros_(self.input.bias)
        nn.init.ones_(self.input.bias.data[size : 2 * size])

    def forward(self, inputs: Tensor, sizes: tuple[int, ...], h: Tensor, c: Tensor) -> Tensor:
        """Run over packed `inputs` [tokens, inputs] from states [rows, size] in packed order.

        Returns the outputs [tokens, size], in float32 or, where `inputs` are, in float64.
        """
        dtype = torch.promote_types(inputs.dtype, torch.float32)
        state = [array[None, : sizes[0]].to(dtype) for array in (h, c)]  # each [1, rows, size]
        outputs, _, _ = torch.lstm(
            inputs.to(dtype),
            torch.tensor(sizes),
            state,
            self._kernel_parameters(),
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
        )
        return outputs

    def step(self, inputs: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step of all rows: inputs [rows, inputs], states [rows, size] to new states."""
        gates = self.input(inputs) + self.recurrent(h)  # [rows, 4 * size]
        i, f, o, g = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def _kernel_parameters(self) -> list[Tensor]:
        """Return weights and biases with the gates in the kernel's order: candidate third.

        They are views of one buffer, because cuDNN copies parameters that are not.
        """
        bias = self.input.bias
        parameters = (self.input.weight, self.recurrent.weight, bias, torch.zeros_like(bias))
        pieces = []
        for parameter in parameters:
            i, f, o, g = parameter.chunk(4)
            pieces += [i, f, g, o]
        buffer = torch.cat([piece.flatten() for piece in pieces])
        views = torch.split(buffer, [parameter.numel() for parameter in parameters])
        return [view.view_as(p) for view, p in zip(views, parameters, strict=True)]
