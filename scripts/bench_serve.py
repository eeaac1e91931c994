"""Requests per second of `deploy serve` against the same model behind FastAPI. Called by `scripts/bench serve`.

Every server gets both cores, and shares them with the load generator. The servers take turns; medians are printed.
"""

import argparse
import json
import pathlib
import re
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
rounds = arguments.parse_args().rounds
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

SERVERS = {
    "serve, tract": [DEPLOY, "serve", "--log", "quiet", "--backend", "tract", "--model", MODEL, "--listen", "127.0.0.1:18080"],
    "serve, ort": [DEPLOY, "serve", "--log", "quiet", "--backend", "ort", "--model", MODEL, "--listen", "127.0.0.1:18080"],
    "FastAPI": [
        sys.executable, "-m", "uvicorn", "bench_serve_fastapi:app", "--app-dir", "scripts", "--port", "18080", "--workers", "2",
        "--no-access-log", "--log-level", "warning",
    ],
}


def load(body, path, connections):
    """Requests per second, median and 99th percentile of the latency in ms."""
    script = folder / "post.lua"
    script.write_text(
        f'local file = io.open("{folder / body}", "rb")\n'
        'wrk.method = "POST"\nwrk.body = file:read("*a")\nwrk.headers["Content-Type"] = "application/octet-stream"\n'
        "done = function(summary, latency)\n"
        "  local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout\n"
        '  print(string.format("RESULT %f %f %f %d", summary.requests / summary.duration * 1e6,'
        " latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, errors))\nend\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", "-d3s", "-s", script, f"http://127.0.0.1:18080{path}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, middle, late, errors = map(float, re.search(r"RESULT (.*)", text)[1].split())
    return rate, middle, late, errors


def memory(process):
    """Memory of a process and its children in MB."""
    whole = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in [whole, *whole.children(recursive=True)]) / 1e6


found = {}
for _ in range(rounds):
    for name, command in SERVERS.items():
        process = subprocess.Popen(command)
        for _ in range(300):
            try:
                urllib.request.urlopen("http://127.0.0.1:18080/v2/health/live")
                break
            except OSError:
                time.sleep(0.1)
        for kind, (body, path) in BODIES.items():
            for connections in CONNECTIONS:
                result = load(body, path, connections)
                found.setdefault((kind, connections, name), []).append((*result, memory(process)))
        process.terminate()
        process.wait()

print(f"{'':29}{'requests/s':>11}{'/ FastAPI':>11}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'MB':>7}")
for (kind, connections, name), results in sorted(found.items(), key=lambda item: (list(BODIES).index(item[0][0]), item[0][1])):
    rate, middle, late, errors, size = (statistics.median(column) for column in zip(*results))
    base = statistics.median(result[0] for result in found[kind, connections, "FastAPI"])
    ratio = "" if name == "FastAPI" else f"{rate / base:.1f}"
    print(f"{kind:15}{connections:4}  {name:14}{rate:5.0f}{ratio:>11}{middle:9.2f}{late:9.2f}{errors:8.0f}{size:7.0f}")
