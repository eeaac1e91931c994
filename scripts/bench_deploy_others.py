"""One image on one thread in other runtimes: ONNX Runtime, OpenVINO and ncnn. Called by `scripts/bench deploy`.

Usage: bench_deploy_others.py ROUNDS FP32 INT8

Both are files of `train export --preprocess none --outputs logits --batch 1`. The runtimes take turns; prints a JSON object
with the median milliseconds of each, and how far its logits are from those of ONNX Runtime in fp32.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import ncnn
import numpy
import onnxruntime
import openvino

rounds, fp32, int8 = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def with_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0].ravel()


def with_openvino(path):
    # Without the hint, processors with AMX compute in bfloat16.
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    return lambda image: next(iter(request.infer([image]).values())).ravel()


def with_ncnn(path, folder):
    # The converter is a program of the package pnnx, which needs none of the package's dependencies.
    converter = next(pathlib.Path(sys.prefix).glob("lib/python*/site-packages/pnnx/pnnx"))
    target = folder / "model.onnx"
    target.write_bytes(pathlib.Path(path).read_bytes())
    subprocess.run([converter, target], check=True, capture_output=True, cwd=folder)
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))

    def run(image):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image[0]))
        return numpy.array(extractor.extract("out0")[1]).ravel()

    return run


with tempfile.TemporaryDirectory() as place:
    runtimes = {
        "onnxruntime": with_onnxruntime(fp32),
        "openvino": with_openvino(fp32),
        "ncnn": with_ncnn(fp32, pathlib.Path(place)),
        "onnxruntime, int8": with_onnxruntime(int8),
        "openvino, int8": with_openvino(int8),
    }
    shape = onnxruntime.InferenceSession(fp32).get_inputs()[0].shape
    images = numpy.random.default_rng(1).normal(size=(20, *shape)).astype(numpy.float32)
    expected = [runtimes["onnxruntime"](image) for image in images]
    times = {name: [] for name in runtimes}
    for turn in range(rounds + 1):
        for name, run in runtimes.items():
            calls = []
            while len(calls) < 5 or sum(calls) < 0.1:
                began = time.perf_counter()
                run(images[len(calls) % len(images)])
                calls.append(time.perf_counter() - began)
            if turn:
                times[name].append(1e3 * statistics.median(calls))
    found = {}
    for name, run in runtimes.items():
        difference = max(float(abs(run(image) - logits).max()) for image, logits in zip(images, expected))
        found[name] = {"ms": statistics.median(times[name]), "difference": difference}
    print(json.dumps(found))
