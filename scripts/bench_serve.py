"""Requests per second of `deploy serve` against the same model behind FastAPI and MLServer, and against the images per
second of `deploy predict`. Called by `scripts/bench serve`.

Every server has one core, and the load generator another. The servers take turns; medians are printed.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy
import psutil
from PIL import Image

DEPLOY = "target/release/deploy"
MODEL = "models/pretrained/mnist-quick.onnx"
CONNECTIONS = (1, 16, 256)

arguments = argparse.ArgumentParser()
arguments.add_argument("--rounds", type=int, default=3)
arguments.add_argument("--mlserver", required=True)
given = arguments.parse_args()
rounds = given.rounds
folder = pathlib.Path(tempfile.mkdtemp())

# A digit on 28x28 pixels, a photograph of one, and the digit as a tensor.
digit = numpy.zeros((28, 28), numpy.uint8)
digit[5:23, 13:16] = 255
Image.fromarray(digit).save(folder / "small.png")
Image.fromarray(255 - digit).convert("RGB").resize((1000, 800)).save(folder / "large.jpg", quality=85)
tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": digit.ravel().tolist()}
(folder / "tensor.json").write_text(json.dumps({"inputs": [tensor]}))
BODIES = {
    "28x28 PNG": ("small.png", "/predict"),
    "1000x800 JPEG": ("large.jpg", "/predict"),
    "tensor, JSON": ("tensor.json", "/v2/models/mnist-quick/infer"),
}

serve = [DEPLOY, "serve", "--log", "quiet", "--threads", "1", "--model", MODEL, "--listen", "127.0.0.1:18080", "--backend"]
python = pathlib.Path(sys.executable).parent
SERVERS = {
    "serve, tract": [*serve, "tract"],
    "serve, ort": [*serve, "ort"],
    "FastAPI": [
        python / "uvicorn", "bench_serve_fastapi:app", "--app-dir", "scripts", "--port", "18080", "--no-access-log",
        "--log-level", "warning",
    ],
    "MLServer": [given.mlserver, "start", folder / "mlserver"],
}
# It is told what to serve by files, and answers only tensors.
(folder / "mlserver").mkdir()
settings = {"host": "127.0.0.1", "http_port": 18080, "grpc_port": 18081, "metrics_port": 18082, "parallel_workers": 0}
(folder / "mlserver" / "settings.json").write_text(json.dumps(settings | {"debug": False}))
model = {"name": "mnist-quick", "implementation": "bench_serve_mlserver.Runtime"}
(folder / "mlserver" / "model-settings.json").write_text(json.dumps(model))


def load(body, path, connections):
    """Requests per second, median and 99th percentile of the latency in ms."""
    script = folder / "post.lua"
    kind = "application/json" if body.endswith("json") else "application/octet-stream"
    script.write_text(
        f'local file = io.open("{folder / body}", "rb")\n'
        f'wrk.method = "POST"\nwrk.body = file:read("*a")\nwrk.headers["Content-Type"] = "{kind}"\n'
        "done = function(summary, latency)\n"
        "  local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout\n"
        '  print(string.format("RESULT %f %f %f %d", summary.requests / summary.duration * 1e6,'
        " latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, errors))\nend\n"
    )
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", "-d3s", "-s", script, f"http://127.0.0.1:18080{path}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, middle, late, errors = map(float, re.search(r"RESULT (.*)", text)[1].split())
    return rate, middle, late, errors


def memory(process):
    """Memory of a process and its children in MB."""
    whole = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in [whole, *whole.children(recursive=True)]) / 1e6


def predict(body, engine, count):
    """Images per second of `deploy predict` on copies of a file."""
    copies = folder / "copies"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for number in range(count):
        shutil.copy(folder / body, copies / f"{number}-{body}")
    command = [DEPLOY, "predict", copies, "--model", MODEL, "--backend", engine, "--threads", "1", "--format", "json"]
    began = time.perf_counter()
    subprocess.run(["taskset", "-c", "0", *command], check=True, capture_output=True)
    return count / (time.perf_counter() - began)


found, alone = {}, {}
environment = os.environ | {"PYTHONPATH": "scripts"}
for _ in range(rounds):
    for engine in ("tract", "ort"):
        for kind, count in ("28x28 PNG", 20000), ("1000x800 JPEG", 300):
            alone.setdefault((kind, engine), []).append(predict(BODIES[kind][0], engine, count))
    for name, command in SERVERS.items():
        process = subprocess.Popen(["taskset", "-c", "0", *command], env=environment, stdout=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen("http://127.0.0.1:18080/v2/health/live")
                break
            except OSError:
                time.sleep(0.1)
        for kind, (body, path) in BODIES.items():
            if name == "MLServer" and not path.startswith("/v2"):
                continue
            for connections in CONNECTIONS:
                result = load(body, path, connections)
                found.setdefault((kind, connections, name), []).append((*result, memory(process)))
        process.terminate()
        process.wait()

print(f"{'':29}{'requests/s':>11}{'/ predict':>11}{'/ FastAPI':>11}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'MB':>7}")
for (kind, connections, name), results in sorted(found.items(), key=lambda item: (list(BODIES).index(item[0][0]), item[0][1])):
    rate, middle, late, errors, size = (statistics.median(column) for column in zip(*results))
    base = statistics.median(result[0] for result in found[kind, connections, "FastAPI"])
    ratio = "" if name == "FastAPI" else f"{rate / base:.1f}"
    engine = name.removeprefix("serve, ")
    share = f"{rate / statistics.median(alone[kind, engine]):.2f}" if (kind, engine) in alone else ""
    print(f"{kind:15}{connections:4}  {name:14}{rate:5.0f}{share:>11}{ratio:>11}{middle:9.2f}{late:9.2f}{errors:8.0f}{size:7.0f}")
for (kind, engine), rates in alone.items():
    print(f"predict, {engine}, {kind}: {statistics.median(rates):.0f} images/s")
