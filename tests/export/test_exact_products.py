"""Products in 8 bits are the same with and without VNNI instructions."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper

from showtell.bundle import DECODER_BEGIN, DECODER_STEP
from showtell.export.exact_products import LARGEST_PAIR, limit_pairs, with_exact_products
from showtell.export.quantize import at_precision
from showtell.files.folders import shipped_models_dir

INPUTS, OUTPUTS = 37, 12
SHIPPED = ("flickr8k", "general")

weights_in_8_bits = arrays(
    np.int8, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.integers(-127, 127)
)


def product_without_vnni(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Multiply as VPMADDUBSW does: sums of two neighbouring products are cut off at 16 bits.

    ONNX Runtime 1.32 gave these numbers with its kernels for AVX2, and those for AVX-512 without
    VNNI.
    """
    odd = len(weights) % 2
    left = np.pad(activations.astype(np.int64), ((0, 0), (0, odd)))
    right = np.pad(weights.astype(np.int64), ((0, odd), (0, 0)))
    products = left[:, :, None] * right[None]
    return np.clip(products[:, ::2] + products[:, 1::2], -(2**15), 2**15 - 1).sum(1)


def largest_activations(weights: np.ndarray) -> np.ndarray:
    """Return rows of activations that make sums as large, and as small, as a column's can be."""
    return np.concatenate([weights.T > 0, weights.T < 0]).astype(np.uint8) * 255


def int8_weights(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    names = [node.input[1] for node in graph.graph.node if node.op_type == "MatMulInteger"]
    return {name: values[name] for name in names}


def is_exact(weights: np.ndarray) -> bool:
    activations = largest_activations(weights)
    exact = activations.astype(np.int64) @ weights.astype(np.int64)
    return np.array_equal(product_without_vnni(activations, weights), exact)


def sums_fit_into_16_bits(weights: np.ndarray) -> bool:
    """Whether no activations make a sum of two products that is cut off."""
    pairs = np.pad(weights.astype(np.int64), ((0, len(weights) % 2), (0, 0)))
    pairs = 255 * pairs.reshape(-1, 2, weights.shape[1])
    largest, smallest = pairs.clip(min=0).sum(1).max(), pairs.clip(max=0).sum(1).min()
    return bool(smallest >= -(2**15) and largest < 2**15)


@pytest.fixture(scope="module")
def linear_graph() -> onnx.ModelProto:
    """One layer from `x` [rows, INPUTS] to `y` [rows, OUTPUTS], with normal weights."""
    weight = np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "layer.weight"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", INPUTS])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", OUTPUTS])],
        [numpy_helper.from_array(weight, "layer.weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@given(weights_in_8_bits)
def test_no_sum_of_two_products_is_cut_off_after_limiting(bits: np.ndarray) -> None:
    limited, _ = limit_pairs(bits)
    assert is_exact(limited)


@given(weights_in_8_bits)
def test_weights_that_are_limited_stay_as_they_are(bits: np.ndarray) -> None:
    limited, _ = limit_pairs(bits)
    again, factors = limit_pairs(limited)
    assert np.array_equal(again, limited)
    assert (factors == 1).all()


def test_a_pair_at_the_limit_keeps_its_weights() -> None:
    bits = np.array([[64, 127], [LARGEST_PAIR - 64, -127]], np.int8)
    limited, factors = limit_pairs(bits)
    assert np.array_equal(limited, bits)
    assert (factors == 1).all()

    weights = np.random.default_rng(0).normal(size=(256, 64))
    bits = np.rint(weights / np.abs(weights).max(0) * 127).astype(np.int8)
    limited, factors = limit_pairs(bits)
    of_7_bits = np.rint(bits / 2) * 2.0
    assert np.square(limited * factors - bits).sum() < 0.6 * np.square(of_7_bits - bits).sum()


def test_products_of_an_exported_graph_are_exact_and_close_to_float32(
    linear_graph: onnx.ModelProto,
) -> None:
    content = at_precision(linear_graph, "int8")
    [weights] = int8_weights(onnx.load_model_from_string(content)).values()
    assert is_exact(weights)
    rows = np.random.default_rng(1).normal(size=(50, INPUTS)).astype(np.float32)
    exact, quantised = (
        onnxruntime.InferenceSession(graph).run(None, {"x": rows})[0]
        for graph in (linear_graph.SerializeToString(), content)
    )
    assert np.abs(quantised - exact).max() < 0.05 * np.abs(exact).max()


def test_a_limited_graph_stays_as_it_is(linear_graph: onnx.ModelProto) -> None:
    graph = onnx.load_model_from_string(at_precision(linear_graph, "int8"))
    assert with_exact_products(graph) == graph


@pytest.mark.parametrize("model", SHIPPED)
@pytest.mark.parametrize("network", [DECODER_BEGIN, DECODER_STEP])
def test_products_of_the_shipped_models_are_exact(model: str, network: str) -> None:
    weights = int8_weights(onnx.load(shipped_models_dir() / model / network))
    assert weights
    assert [name for name, bits in weights.items() if not sums_fit_into_16_bits(bits)] == []
