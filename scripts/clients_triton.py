"""Reads a model repository as Triton does.

Usage: clients_triton.py REPOSITORY
"""

import sys
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_UINT8, ModelConfig

(model,) = Path(sys.argv[1]).iterdir()
# Errors at a field, a type or a value that Triton does not know.
config = text_format.Parse((model / "config.pbtxt").read_text(), ModelConfig())
assert config.name == model.name and config.backend == "onnxruntime" and config.max_batch_size > 1
assert config.HasField("dynamic_batching")
(image,) = config.input
assert image.data_type == TYPE_UINT8 and len(image.dims) == 3
labels = (model / "labels.txt").read_text().splitlines()
for output in config.output:
    assert output.data_type == TYPE_FP32 and list(output.dims) == [len(labels)] and output.label_filename == "labels.txt"
assert (model / "1" / "model.onnx").is_file()
print(f"Triton: ModelConfig of {config.name} read: {image.name} {list(image.dims)}, {len(config.output)} outputs")
