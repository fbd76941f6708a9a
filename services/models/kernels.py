"""Which 8-bit multiplication is exact on this processor.

x86 processors without VNNI multiply u8 by s8 with ``vpmaddubsw``, which adds two products in 16 bits and saturates: with
full-range weights the sums are silently wrong. ONNX Runtime multiplies u8 by u8 there with wider, slower instructions
that are exact. So the faster form is used only where a probe at the saturating extreme comes out right.
"""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from services.models.files import ModelError

_ROWS = (1, 2, 16)  # one row is a kernel of its own, and so are tails of a tile
_DEPTH, _COLUMNS = 1536, 384  # the deepest product of the model
_LARGEST_INPUT = 255


def session(model: bytes) -> ort.InferenceSession:
    """Return a session that computes on the thread that calls ``run``.

    A second thread inside one run makes it slower as soon as another process wants the core; parallel runs on one
    session use the cores better.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; advice about graph shapes is not for operators
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def signed_weights_are_exact() -> bool:
    """Whether u8 x s8 products are exact here; if not, u8 x u8 are, or ``ModelError``."""
    if _is_exact(np.full((_DEPTH, _COLUMNS), 127, np.int8)):
        return True
    if _is_exact(np.full((_DEPTH, _COLUMNS), 255, np.uint8)):
        return False
    raise ModelError("this processor and ONNX Runtime multiply 8-bit integers inexactly; vectors would be wrong")


def _is_exact(weight: np.ndarray[tuple[int, int], np.dtype[np.int8 | np.uint8]]) -> bool:
    inputs = [helper.make_tensor_value_info("a", TensorProto.UINT8, ["rows", _DEPTH])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, ["rows", _COLUMNS])]
    product = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    graph = helper.make_graph([product], "probe", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    probe = session(model.SerializeToString())
    expected = _LARGEST_INPUT * int(weight[0, 0]) * _DEPTH
    return all(
        bool(np.all(probe.run(None, {"a": np.full((rows, _DEPTH), _LARGEST_INPUT, np.uint8)})[0] == expected))
        for rows in _ROWS
    )
