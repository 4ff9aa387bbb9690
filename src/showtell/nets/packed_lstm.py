"""An LSTM over captions of different lengths that computes no padded step.

Captions are packed: step 0 of all captions, then step 1 of those that have one, and so on, longest
caption first. So at each step the captions still going are the first rows, and everything
outside of the recurrence (word part of the gates, attention, softmax) is one large product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Packing:
    """How captions [rows, steps] are packed into one list of tokens.

    `order` [rows] sorts rows by length, longest first; `sizes` holds, for each step, how many
    rows go on; `index` [tokens] is each packed token's place in the flattened [rows, steps].
    """

    order: Tensor
    sizes: tuple[int, ...]
    index: Tensor
    rows: int
    steps: int

    @classmethod
    def plan(cls, lengths: Tensor, steps: int) -> Packing:
        """Plan the packing of rows with `lengths` [rows] steps each, out of `steps`."""
        order = torch.argsort(lengths, descending=True, stable=True)
        step = torch.arange(steps, device=lengths.device)
        alive = lengths[order][None, :] > step[:, None]  # (steps, rows), by step then row
        place = order[None, :] * steps + step[:, None]
        sizes = tuple(n for n in alive.sum(1).tolist() if n)
        return cls(order, sizes, place[alive], len(lengths), steps)

    def pack(self, padded: Tensor) -> Tensor:
        """Take [rows, steps, ...] to [tokens, ...]."""
        return padded.flatten(0, 1)[self.index]

    def unpack(self, packed: Tensor) -> Tensor:
        """Take [tokens, ...] to [rows, steps, ...], zeros where a row has ended."""
        shape = (self.rows * self.steps, *packed.shape[1:])
        padded = packed.new_zeros(shape).index_copy(0, self.index, packed)
        return padded.view(self.rows, self.steps, *packed.shape[1:])


class _PackedRecurrence(torch.autograd.Function):
    """The recurrence alone, forwards and backwards by hand.

    Autograd's own graph of the same loop costs twice the time: it makes one gradient of the
    recurrent weights at each step, where one product over all steps does.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        h: Tensor,
        c: Tensor,
        sizes: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        # inputs (tokens, 4d): word part of the gates; weight (4d, d); h, c (rows, d)
        # gates and cells are kept in float32 at least, whatever the products are made in
        wide = torch.promote_types(inputs.dtype, torch.float32)
        size = weight.shape[1]
        matrix = weight.to(dtype).t().contiguous()
        gates = inputs.to(wide, copy=True)
        cells = gates.new_empty(gates.shape[0], size)
        outputs = torch.empty_like(cells)
        h0, c0 = h.to(wide), c.to(wide)
        h, c, start = h0, c0, 0
        for n in sizes:
            gate = gates[start : start + n]
            gate += (h[:n].to(dtype) @ matrix).to(wide)
            gate[:, : 3 * size].sigmoid_()  # input, forget, output
            gate[:, 3 * size :].tanh_()  # candidate
            i, f, o, g = gate.chunk(4, dim=1)
            c = torch.addcmul(f * c[:n], i, g, out=cells[start : start + n])
            h = torch.mul(o, c.tanh(), out=outputs[start : start + n])
            start += n
        ctx.save_for_backward(gates, cells, outputs, weight, h0, c0)
        ctx.sizes, ctx.dtype = sizes, dtype
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, outputs, weight, h0, c0 = ctx.saved_tensors
        sizes, dtype = ctx.sizes, ctx.dtype
        grad = grads[0]
        matrix = weight.to(dtype)
        d_gates = torch.empty_like(gates)
        before = torch.empty_like(outputs)  # h of the step before, for the weights' gradient
        dh, dc = torch.zeros_like(h0), torch.zeros_like(c0)
        start = gates.shape[0]
        for step in range(len(sizes) - 1, -1, -1):
            n = sizes[step]
            start -= n
            here = slice(start, start + n)
            if step:
                last = slice(start - sizes[step - 1], start - sizes[step - 1] + n)
                h_last, c_last = outputs[last], cells[last]
            else:
                h_last, c_last = h0[:n], c0[:n]
            before[here] = h_last
            i, f, o, g = gates[here].chunk(4, dim=1)
            tanh_c = cells[here].tanh()
            d_out = grad[here] + dh[:n]
            d_cell = dc[:n] + d_out * o * (1 - tanh_c * tanh_c)
            d_i, d_f, d_o, d_g = d_gates[here].chunk(4, dim=1)
            torch.mul(d_cell * g, i * (1 - i), out=d_i)
            torch.mul(d_cell * c_last, f * (1 - f), out=d_f)
            torch.mul(d_out * tanh_c, o * (1 - o), out=d_o)
            torch.mul(d_cell * i, 1 - g * g, out=d_g)
            dc[:n] = d_cell * f
            dh[:n] = (d_gates[here].to(dtype) @ matrix).to(dh.dtype)
        d_weight = (d_gates.to(dtype).t() @ before.to(dtype)).to(weight.dtype)
        return d_gates, d_weight, dh, dc, None, None


class PackedLSTM(nn.Module):
    """One LSTM layer (Hochreiter and Schmidhuber, Long Short-Term Memory, 1997).

    Gates are ordered input, forget, output, candidate. The forget gate's bias starts at 1
    (Jozefowicz et al., An Empirical Exploration of Recurrent Network Architectures, 2015).
    """

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
        """Run over packed `inputs` [tokens, inputs] from states [rows, size], in packed order.

        Returns the outputs [tokens, size], in float32 or, where `inputs` are, in float64.
        """
        device = inputs.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else h.dtype
        outputs: Tensor = _PackedRecurrence.apply(
            self.input(inputs), self.recurrent.weight, h, c, sizes, dtype
        )
        return outputs

    def step(self, inputs: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step for all rows: inputs [rows, inputs], states [rows, size] to new states."""
        gates = self.input(inputs) + self.recurrent(h)
        i, f, o, g = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
