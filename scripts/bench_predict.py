"""The baseline for `deploy predict`: the same prediction as usually written in Python. Called by
`scripts/bench deploy`."""

import sys

import numpy
import onnxruntime
from PIL import Image

model, path = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
image = numpy.asarray(Image.open(path).convert("L"))[None, None]
(logits,) = session.run(["logits"], {"image": image})
print(logits.argmax())
