"""The packed LSTM equals `nn.LSTM` in outputs and gradients, for captions of any lengths."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from showtell.nets.packed_lstm import PackedLSTM, Packing

lengths_of_rows = st.lists(st.integers(1, 7), min_size=1, max_size=9)


def torch_order(gates: Tensor) -> Tensor:
    """Ours are input, forget, output, candidate; torch's are input, forget, candidate, output."""
    i, f, o, g = gates.chunk(4)
    return torch.cat([i, f, g, o])


def same_lstm(ours: PackedLSTM) -> nn.LSTM:
    torch_lstm = nn.LSTM(ours.input.in_features, ours.size, batch_first=True).double()
    with torch.no_grad():
        torch_lstm.weight_ih_l0.copy_(torch_order(ours.input.weight))
        torch_lstm.weight_hh_l0.copy_(torch_order(ours.recurrent.weight))
        torch_lstm.bias_ih_l0.copy_(torch_order(ours.input.bias))
        torch_lstm.bias_hh_l0.zero_()
    return torch_lstm


def drawn(lengths: list[int], inputs: int, size: int, seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    rows, steps = len(lengths), max(lengths)
    shapes = (rows, steps, inputs), (rows, size), (rows, size)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@settings(max_examples=40)
@given(lengths_of_rows, st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_packed_lstm_equals_torch_lstm_in_outputs_and_all_gradients(
    lengths: list[int], inputs: int, size: int, seed: int
) -> None:
    words, h, c = drawn(lengths, inputs, size, seed)
    ours = PackedLSTM(inputs, size).double()
    torch_lstm = same_lstm(ours)
    packing = Packing.plan(torch.tensor(lengths), max(lengths))
    order = packing.order
    outputs = packing.unpack(ours(packing.pack(words), packing.sizes, h[order], c[order]))

    packed = pack_padded_sequence(
        words, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    expected, _ = pad_packed_sequence(torch_lstm(packed, (h[None], c[None]))[0], batch_first=True)
    torch.testing.assert_close(outputs, expected)

    weight = torch.randn_like(expected)
    mine = torch.autograd.grad((outputs * weight).sum(), [words, h, c, *ours.parameters()])
    parameters = [torch_lstm.weight_ih_l0, torch_lstm.bias_ih_l0, torch_lstm.weight_hh_l0]
    others = torch.autograd.grad((expected * weight).sum(), [words, h, c, *parameters])
    others = (*others[:3], *(torch_order(grad) for grad in others[3:]))  # the swap undoes itself
    for name, a, b in zip(
        ("inputs", "h", "c", "weight", "bias", "recurrent"), mine, others, strict=True
    ):
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


def test_gradients_of_the_packed_run_pass_gradcheck() -> None:
    lengths = [3, 1, 4, 4, 2]
    words, h, c = drawn(lengths, 3, 2)
    lstm = PackedLSTM(3, 2).double()
    packing = Packing.plan(torch.tensor(lengths), 4)
    weights = [parameter.detach().requires_grad_() for parameter in lstm.parameters()]

    def run(inputs: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(lstm.named_parameters()), weights, strict=True))
        arguments = (packing.pack(inputs), packing.sizes, h, c)
        return torch.func.functional_call(lstm, named, arguments)

    assert torch.autograd.gradcheck(run, (words, h, c, *weights))


@settings(max_examples=40)
@given(lengths_of_rows, st.integers(0, 1000))
def test_single_steps_give_the_outputs_of_the_packed_run(lengths: list[int], seed: int) -> None:
    words, h, c = drawn(lengths, 3, 4, seed)
    lstm = PackedLSTM(3, 4).double()
    packing = Packing.plan(torch.tensor(lengths), max(lengths))
    outputs = lstm(packing.pack(words), packing.sizes, h[packing.order], c[packing.order])
    outputs = packing.unpack(outputs)
    for step in range(max(lengths)):
        h, c = lstm.step(words[:, step], h, c)
        alive = torch.tensor(lengths) > step
        torch.testing.assert_close(outputs[alive, step], h[alive])
        assert not outputs[~alive, step].any()


def test_bfloat16_products_stay_close_and_states_stay_float32() -> None:
    lengths = [5, 9, 2, 9]
    words, h, c = (t.detach().float() for t in drawn(lengths, 16, 32))
    lstm = PackedLSTM(16, 32)
    packing = Packing.plan(torch.tensor(lengths), 9)
    arguments = packing.pack(words), packing.sizes, h[packing.order], c[packing.order]
    exact = lstm(*arguments)
    exact.square().sum().backward()
    gradient = lstm.recurrent.weight.grad.clone()
    lstm.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        near = lstm(*arguments)
    near.square().sum().backward()
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.05
    off = (lstm.recurrent.weight.grad - gradient).norm() / gradient.norm()
    assert lstm.recurrent.weight.grad.dtype == torch.float32
    assert off < 0.05


def test_forget_gates_start_open() -> None:
    bias = PackedLSTM(3, 4).input.bias
    assert bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8


@settings(max_examples=80)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=10), st.integers(0, 3))
def test_packing_and_unpacking_keeps_every_token_and_nothing_else(
    lengths: list[int], padding: int
) -> None:
    steps = max(lengths) + padding
    packing = Packing.plan(torch.tensor(lengths), steps)
    padded = torch.arange(1.0, len(lengths) * steps + 1).view(len(lengths), steps, 1)
    alive = torch.arange(steps)[None] < torch.tensor(lengths)[:, None]
    packed = packing.pack(padded)
    assert len(packed) == sum(packing.sizes) == sum(lengths)
    assert torch.equal(packing.unpack(packed), padded * alive[..., None])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=10))
def test_packed_tokens_are_ordered_by_step_then_longest_caption_first(lengths: list[int]) -> None:
    packing = Packing.plan(torch.tensor(lengths), 6)
    ordered = [lengths[row] for row in packing.order.tolist()]
    assert ordered == sorted(lengths, reverse=True)
    expected = [
        row * 6 + step for step in range(6) for row in packing.order.tolist() if lengths[row] > step
    ]
    assert packing.index.tolist() == expected
    assert list(packing.sizes) == [n for s in range(6) if (n := sum(x > s for x in lengths))]
