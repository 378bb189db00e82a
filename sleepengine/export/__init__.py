"""What is left of a model once training is over: smaller, sparse, or for another runtime."""

from sleepengine.export.onnx_file import export_onnx
from sleepengine.export.report import Exported, ExportReport
from sleepengine.export.semi_structured import two_of_four_model
from sleepengine.export.smaller import smaller_model
from sleepengine.export.sparse import SparseLinear, sparse_model

__all__ = [
    "ExportReport",
    "Exported",
    "SparseLinear",
    "export_onnx",
    "smaller_model",
    "sparse_model",
    "two_of_four_model",
]
