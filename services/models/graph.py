"""Turns the shipped model into one that multiplies in 8-bit integers, from the very same weights.

The shipped file keeps weights as int8 with one scale a column but multiplies them as float32. Here each linear layer
becomes one ``DynamicQuantizeMatMul``: its input is quantised to 8 bits on the fly, the product is summed in exact 32-bit
integers. The weights are taken over bit for bit, nothing is requantised. With *float_products* a layer multiplies as the shipped file
does. Other differences, all for speed and without effect on
the result beyond float rounding: query, key and value are one product; attention is one operator; embeddings stay int8
until a row is looked up; there is no mask, since a run holds one unpadded text; mean pooling and normalisation happen
inside.

The graph is run with basic optimisations only: the fused SkipLayerNormalization that stronger ones put in is nine times
slower on the CPU than the two operators it replaces (ONNX Runtime 1.32).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.models.files import ModelError

DIMENSION = 384
LAYERS = 6
HEADS = 12
INPUT = "input_ids"
OUTPUT = "sentence_vector"
_CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
_EPSILON = 1e-12  # of the layer normalisations, from the model's configuration
_UNSIGNED_ZERO = 128

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer as shipped: int8 ``weight`` (in, out), a ``scale`` a column, ``bias``."""

    weight: Array
    scale: Array
    bias: Array

    @staticmethod
    def joined(layers: list["Linear"]) -> "Linear":
        """Return one layer whose output is the outputs of *layers* side by side."""
        return Linear(
            np.concatenate([layer.weight for layer in layers], axis=1),
            np.concatenate([layer.scale for layer in layers]),
            np.concatenate([layer.bias for layer in layers]),
        )


@dataclass(frozen=True, slots=True)
class Source:
    """The parameters of the shipped file by the names of the original model."""

    arrays: dict[str, Array]
    linears: dict[str, Linear]

    @staticmethod
    def parse(shipped: bytes) -> "Source":
        """Read the shipped file; ``ModelError`` if it does not have the expected form."""
        graph = onnx.load_from_string(shipped).graph
        arrays = {item.name.removeprefix("inner."): numpy_helper.to_array(item) for item in graph.initializer}
        products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
        linears = {}
        for node in graph.node:
            # The exporter names weights by number but biases by layer: a layer is found by the bias added to its product.
            if node.op_type == "Add" and node.input[0] in products and node.input[1].endswith(".bias"):
                weight, bias = products[node.input[0]], node.input[1].removeprefix("inner.")
                scale = arrays[f"{weight}_scale"].reshape(-1)
                linears[bias.removesuffix(".bias")] = Linear(arrays[f"{weight}_q"], scale, arrays[bias])
        if len(linears) != LAYERS * 6:
            raise ModelError(f"expected {LAYERS * 6} linear layers in the shipped model, found {len(linears)}")
        return Source(arrays, linears)


def build(source: Source, *, signed_weights: bool, float_products: bool = False) -> bytes:
    """Return the model as ONNX bytes: ``input_ids`` (1, n) int64 -> ``sentence_vector`` (1, 384) of length 1.

    *signed_weights* chooses how the weights are written, not their values: both forms give bit-identical vectors where
    the processor multiplies exactly (``services.models.kernels``). With *float_products* it makes no difference.
    """
    graph = _Graph(signed_weights=signed_weights, float_products=float_products)
    hidden = _embed(graph, source)
    for number in range(LAYERS):
        hidden = _encode(graph, source, f"encoder.layer.{number}", hidden)
    mean = graph.node("ReduceMean", [hidden, graph.constant(np.array([1]))], keepdims=0)
    graph.node("LpNormalization", [mean], output=OUTPUT, axis=-1, p=2)
    return graph.serialize()


@dataclass
class _Graph:
    """Collects nodes and constants under numbered names."""

    signed_weights: bool
    float_products: bool = False
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], *, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        output = output or name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def linear(self, layer: Linear, hidden: str) -> str:
        if self.float_products:
            weight = (layer.weight * layer.scale).astype(np.float32)
            product = self.node("MatMul", [hidden, self.constant(weight)])
            return self.node("Add", [product, self.constant(layer.bias)])
        weight, zero = layer.weight, np.zeros(len(layer.scale), np.int8)
        if not self.signed_weights:
            weight = (weight.astype(np.int16) + _UNSIGNED_ZERO).astype(np.uint8)
            zero = np.full(len(layer.scale), _UNSIGNED_ZERO, np.uint8)
        constants = [self.constant(value) for value in (weight, layer.scale, zero, layer.bias)]
        return self.node("DynamicQuantizeMatMul", [hidden, *constants], domain=_CONTRIB)

    def normalize(self, source: Source, name: str, hidden: str) -> str:
        parameters = [self.constant(source.arrays[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.node("LayerNormalization", [hidden, *parameters], epsilon=_EPSILON, axis=-1)

    def thirds(self, hidden: str) -> list[str]:
        names = [f"{hidden}.{part}" for part in ("query", "key", "value")]
        self.nodes.append(helper.make_node("Split", [hidden], names, axis=-1, num_outputs=3))
        return names

    def serialize(self) -> bytes:
        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.INT64, [1, "tokens"])]
        outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, DIMENSION])]
        graph = helper.make_graph(self.nodes, "all-MiniLM-L6-v2", inputs, outputs, self.constants)
        operators = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=operators, ir_version=9)
        return bytes(model.SerializeToString())


def _embed(graph: _Graph, source: Source) -> str:
    words, positions = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    rows = graph.node("Gather", [graph.constant(source.arrays[f"{words}_q"]), INPUT])
    scales = graph.node("Gather", [graph.constant(source.arrays[f"{words}_scale"]), INPUT])
    word = graph.node("Mul", [graph.node("Cast", [rows], to=TensorProto.FLOAT), scales])
    # All tokens are of type 0, so its vector belongs to the position table once and for all.
    table = source.arrays[f"{positions}_q"] * source.arrays[f"{positions}_scale"]
    table = (table + source.arrays["embeddings.token_type_embeddings.weight"][0]).astype(np.float32)
    zero = graph.constant(np.array([0]))
    length = graph.node("Shape", [INPUT], start=1, end=2)
    position = graph.node("Slice", [graph.constant(table), zero, length, zero])
    return graph.normalize(source, "embeddings.LayerNorm", graph.node("Add", [word, position]))


def _encode(graph: _Graph, source: Source, layer: str, hidden: str) -> str:
    heads = [source.linears[f"{layer}.attention.self.{part}"] for part in ("query", "key", "value")]
    parts = graph.thirds(graph.linear(Linear.joined(heads), hidden))
    attended = graph.node("MultiHeadAttention", parts, domain=_CONTRIB, num_heads=HEADS)
    projected = graph.linear(source.linears[f"{layer}.attention.output.dense"], attended)
    hidden = graph.normalize(source, f"{layer}.attention.output.LayerNorm", graph.node("Add", [hidden, projected]))
    inner = graph.linear(source.linears[f"{layer}.intermediate.dense"], hidden)
    outer = graph.linear(source.linears[f"{layer}.output.dense"], graph.node("Gelu", [inner], domain=_CONTRIB))
    return graph.normalize(source, f"{layer}.output.LayerNorm", graph.node("Add", [hidden, outer]))
