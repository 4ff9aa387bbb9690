"""A network that could read other files is refused before ONNX Runtime sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from showtell.bundle import ENCODER, REQUIRED, load_bundle
from showtell.bundle import onnx_check as module
from showtell.bundle.onnx_check import MAX_DEPTH, check_onnx, read_onnx
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.errors import BundleError
from showtell.files.folders import shipped_models_dir
from support.tiny_bundles import rehash, tiny_networks, write_bundle


def outside(location: str = "../secret") -> TensorProto:
    """Return a tensor whose values are in another file."""
    tensor = TensorProto(name="values", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["values"], value=tensor)


def subgraph(tensor: TensorProto) -> GraphProto:
    return helper.make_graph([constant(tensor)], "inner", [], [])


def in_initializer(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_a_node(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(constant(tensor))


def in_a_list_of_tensors(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["values"])
    node.attribute.add(name="values", type=AttributeProto.TENSORS).tensors.append(tensor)


def in_a_branch(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=subgraph(tensor)))


def in_a_list_of_graphs(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Switch", output=["values"])
    node.attribute.add(name="graphs", type=AttributeProto.GRAPHS).graphs.append(subgraph(tensor))


def in_a_branch_in_a_branch(model: ModelProto, tensor: TensorProto) -> None:
    inner = helper.make_node("If", ["x"], ["y"], then_branch=subgraph(tensor))
    branch = helper.make_graph([inner], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], else_branch=branch))


def in_sparse_values(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_sparse_indices(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)


def in_a_sparse_attribute(model: ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["values"])
    node.attribute.add(name="sparse_value").sparse_tensor.values.CopyFrom(tensor)


def in_training(model: ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


PLACES: list[Callable[[ModelProto, TensorProto], None]] = [
    in_initializer,
    in_a_node,
    in_a_list_of_tensors,
    in_a_branch,
    in_a_list_of_graphs,
    in_a_branch_in_a_branch,
    in_sparse_values,
    in_sparse_indices,
    in_a_sparse_attribute,
    in_training,
]


def encoder() -> ModelProto:
    return tiny_networks()[ENCODER]


@pytest.mark.parametrize("location", ["../secret", "beside.bin", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("place", PLACES)
def test_values_outside_the_file_are_refused_wherever_they_are(
    place: Callable[[ModelProto, TensorProto], None], location: str
) -> None:
    model = encoder()
    place(model, numpy_helper.from_array(np.float32([1, 2]), "values"))
    check_onnx(model.SerializeToString(), "a.onnx")
    model = encoder()
    place(model, outside(location))
    with pytest.raises(BundleError, match=r"^a\.onnx: .*external data"):
        check_onnx(model.SerializeToString(), "a.onnx")


@pytest.mark.parametrize("fields", [("data_location",), ("external_data",)])
def test_either_sign_of_values_outside_is_enough(fields: tuple[str, ...]) -> None:
    tensor = outside()
    for field in {"data_location", "external_data"} - set(fields):
        tensor.ClearField(field)
    model = encoder()
    in_initializer(model, tensor)
    with pytest.raises(BundleError, match="external data"):
        check_onnx(model.SerializeToString(), "a.onnx")


def with_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))


def with_foreign_node(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("PyOp", ["x"], ["y"], domain="evil\x1b[0m"))


def with_functions(model: ModelProto) -> None:
    """Each of 30 functions calls the one before twice, which ONNX Runtime would write out."""
    call = partial(helper.make_node, domain="com.microsoft")
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    for number in range(30):
        nodes = [call(f"f{number}", ["x"], ["t"]), call(f"f{number}", ["t"], ["y"])]
        if not number:
            nodes = [helper.make_node("Relu", ["x"], ["y"])]
        name = f"f{number + 1}"
        model.functions.append(
            helper.make_function("com.microsoft", name, ["x"], ["y"], nodes, sets)
        )
    model.opset_import.append(sets[1])
    model.graph.node.append(call("f30", ["pixels"], ["doubled"]))


def with_context(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", [], ["y"], domain="com.microsoft"))


def with_loop(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["n"], ["y"], body=subgraph(TensorProto())))


def with_scan(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Scan", ["x"], ["y"], body=subgraph(TensorProto())))


def with_settings(model: ModelProto) -> None:
    model.metadata_props.add(key="ort_config", value="{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_domain, "unknown domain 'ai.onnx.contrib'"),
        (with_foreign_node, r"unknown domain 'evil\\x1b\[0m'"),
        (with_functions, "functions of its own, which can multiply without end"),
        (with_context, "operator EPContext, which opens other files"),
        (with_loop, "operator Loop, which can run without end"),
        (with_scan, "operator Scan, which can run for days"),
        (with_settings, "sets options of ONNX Runtime"),
    ],
)
def test_foreign_operators_and_settings_are_refused(
    change: Callable[[ModelProto], None], message: str
) -> None:
    model = encoder()
    change(model)
    with pytest.raises(BundleError, match=message):
        check_onnx(model.SerializeToString(), "a.onnx")


def message(number: int, content: bytes) -> bytes:
    """Return a protobuf field that holds bytes."""
    size, encoded = len(content), b""
    while size > 127:
        encoded, size = encoded + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + content


def nested_graphs(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = message(1, message(5, message(6, graph)))  # node, attribute, subgraph
    return message(7, graph)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"PK\x03\x04", "not an ONNX file, or damaged"),
        (b"<html>", "not an ONNX file, or damaged"),
        (b"\x00\x01", "not an ONNX file, or damaged"),  # field 0
        (b"\x3a\x05ab", "not an ONNX file, or damaged"),  # longer than the file
        (b"\x3b\x3c", "not an ONNX file, or damaged"),  # a group
        (b"\x08" + b"\xff" * 20, "not an ONNX file, or damaged"),  # a number without end
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not an ONNX file, or damaged"),
        (b"\x09\x01", "not an ONNX file, or damaged"),
        (b"\x18\x00\x00\x00ORTM" + b"\x00" * 40, "ONNX Runtime's own format"),
        (nested_graphs(MAX_DEPTH), "nested too deeply"),
    ],
)
def test_bytes_that_are_no_network_are_refused(data: bytes, fault: str) -> None:
    with pytest.raises(BundleError, match=rf"^a\.onnx: .*{fault}"):
        check_onnx(data, "a.onnx")


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FIELDS", 1000)
    with pytest.raises(BundleError, match="more than 1,000 parts"):
        check_onnx(b"\x08\x01" * 1001, "a.onnx")
    monkeypatch.setattr(module, "MAX_ONNX_BYTES", 100)
    with pytest.raises(BundleError, match="larger than 100 bytes"):
        check_onnx(b"\x08\x01" * 60, "a.onnx")


def test_shipped_networks_and_unknown_fields_are_read() -> None:
    for folder in shipped_models_dir().iterdir():
        for name in REQUIRED:
            if name.endswith(".onnx"):
                assert read_onnx(load_bundle(folder, verify=False).file(name))
    check_onnx(message(15, b"later") + encoder().SerializeToString(), "a.onnx")


def leads_outside(message: Message) -> bool:
    """Whether a tensor in a message, at any depth, has its values elsewhere, as `onnx` sees it."""
    if isinstance(message, TensorProto) and (message.external_data or message.data_location):
        return True
    parts = [value for field, value in message.ListFields() if field.message_type]
    return any(
        leads_outside(part)
        for value in parts
        for part in ([value] if isinstance(value, Message) else value)
    )


@settings(max_examples=300)
@given(st.data())
def test_what_is_accepted_has_no_values_outside_as_onnx_reads_it(data: st.DataObject) -> None:
    model = encoder()
    for place in data.draw(st.lists(st.sampled_from(PLACES), max_size=2)):
        place(model, outside())
    content = bytearray(model.SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_onnx(bytes(content), "a.onnx")
    except BundleError:
        return
    with suppress(DecodeError):
        assert not leads_outside(onnx.load_model_from_string(bytes(content)))


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(BundleError):
        check_onnx(content, "a.onnx")


def test_bundle_with_a_network_that_reads_another_file_does_not_load(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    (tmp_path / "tiny" / "beside.bin").write_bytes(bytes(8))
    model = encoder()
    in_initializer(model, outside("beside.bin"))
    (tmp_path / "tiny" / ENCODER).write_bytes(model.SerializeToString())
    rehash(bundle.path)
    with pytest.raises(BundleError, match=r"encoder\.onnx: .*external data"):
        OnnxModel(load_bundle(bundle.path))


def test_network_is_loaded_from_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    bundle = write_bundle(tmp_path / "tiny")
    given_to_it: list[object] = []
    session = onnxruntime.InferenceSession

    def watched(model: object, *arguments: object, **options: object) -> object:
        given_to_it.append(model)
        return session(model, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    OnnxModel(bundle)
    assert [type(model) for model in given_to_it] == [bytes] * 3
