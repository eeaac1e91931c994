"""How fast `deploy` is: whole processes against Python, threads over a folder, tract with our operators and as released,
the time that our code adds to the engines, and other runtimes. Called by `scripts/bench deploy`.

The programs compared take turns; medians of the turns are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import bench_export
import numpy
from PIL import Image

DEPLOY, TRAIN = "target/release/deploy", "target/release/train"
QUICK = "models/pretrained/mnist-quick.onnx"
PICTURES = 1000
NETWORKS = [
    ("0.25 @ 64", ["--width", "0.25", "--resolution", "64", "--epochs", "6", "--lr", "0.05"]),
    ("0.25 @ 224", ["--width", "0.25", "--resolution", "224", "--epochs", "6", "--lr", "0.05"]),
    ("1.0 @ 224", ["--width", "1.0", "--resolution", "224", "--epochs", "2", "--lr", "0.05"]),
]


def pictures(folder):
    """The first test images as PNG files."""
    with open(".deps/mnist/t10k-images-idx3-ubyte", "rb") as file:
        file.seek(16)
        images = numpy.frombuffer(file.read(PICTURES * 784), numpy.uint8).reshape(PICTURES, 28, 28)
    for index, image in enumerate(images):
        Image.fromarray(image).save(os.path.join(folder, f"{index:04}.png"))
    return os.path.join(folder, "0000.png")


def seconds(*command):
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True)
    taken = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed:\n{done.stderr.decode()}")
    return taken


def alternating(rounds, commands):
    """Median seconds of each command over this many turns, after a warm-up turn."""
    times = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            taken = seconds(*command)
            if turn:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def network(name, flags, folder):
    """The run of a network, trained for a minute, and its model file."""
    run = os.path.join(folder, name.replace(" ", ""))
    data = bench_export.subset(os.path.join(folder, "data"), 1500, 300)
    bench_export.call(TRAIN, *flags, "--data", data, "--out", run, "--hold-out", "100", "--batch-size", "16")
    bench_export.call(TRAIN, "export", run, "-o", run + ".onnx")
    return run, run + ".onnx"


def start(rounds, image):
    predict = [DEPLOY, "predict", image, "--backend"]
    times = alternating(rounds, {
        "tract": [*predict, "tract"],
        "ort": [*predict, "ort"],
        "python": [sys.executable, "scripts/bench_predict.py", QUICK, image],
    })
    print("Whole process, one image, embedded model, warm file cache")
    for name, label in (("tract", "deploy, tract"), ("ort", "deploy, ONNX Runtime"), ("python", "Python, onnxruntime and Pillow")):
        print(f"  {label:32} {1e3 * times[name]:8.1f} ms   {times['python'] / times[name]:6.1f} x")


def folder(rounds, pictures, models):
    print(f"\nA folder of {PICTURES:,} images of 28x28 px, tract, whole process")
    for name, model in models:
        predict = [DEPLOY, "predict", pictures, "--format", "csv", "--backend", "tract", "--model", model, "--threads"]
        commands = {threads: [*predict, threads] for threads in ("1", "2")}
        # Every image twice: the time of the second thousand excludes the start of the process.
        commands |= {threads + "+": [*command, pictures] for threads, command in commands.items()}
        times = alternating(rounds, commands)
        one, two = (PICTURES / times[threads] for threads in ("1", "2"))
        further = (times["1+"] - times["1"]) / (times["2+"] - times["2"])
        print(f"  {name:12} 1 thread {one:7.0f} img/s   2 threads {two:7.0f} img/s   {two / one:5.2f} x, "
              f"the next {PICTURES:,}: {further:5.2f} x")


def runtimes(rounds, models):
    print("\nOne image, one thread, medians in ms")
    print(f"  {'':12} {'ort':>8} {'tract':>8} {'released':>8}  stock/own  tract/ort   our code adds: tract, ort (batch 1, 32)")
    for name, model in models:
        report = json.loads(bench_export.call(
            DEPLOY, "bench", "--model", model, "--threads", "1", "--batch-sizes", "1,32", "--runtimes", "tract,tract-stock,ort",
            "--rounds", str(rounds), "--format", "json"))
        median, added = {}, []
        for series in report["series"]:
            key, batch, more = series["runtime"]["name"], series["batch"], series["added"]
            median[key, batch] = series["seconds"]["p50"]
            if key != "tract as released":
                text = f"{1e6 * more['seconds']:+.0f} us" if batch == 1 else f"{100 * more['share']:+.1f} %"
                added.append(f"{key} {text}")
        ort, own, stock = (1e3 * median[key, 1] for key in ("onnxruntime", "tract", "tract as released"))
        text = ", ".join(added)
        print(f"  {name:12} {ort:8.3f} {own:8.3f} {stock:8.3f}  {stock / own:8.2f}x  {own / ort:8.2f}x   {text}")


def others(rounds, python, runs):
    print("\nOne image of the network's size, one thread, other runtimes: median ms (largest difference of the logits)")
    for name, run in runs:
        files = []
        for precision in ("fp32", "int8"):
            files.append(f"{run}-{precision}.onnx")
            flags = ["--precision", precision, "--preprocess", "none", "--outputs", "logits", "--batch", "1"]
            bench_export.call(TRAIN, "export", run, "-o", files[-1], *flags)
        found = json.loads(bench_export.call(python, "scripts/bench_deploy_others.py", str(rounds), *files))
        columns = [f"{name} {each['ms']:.3f} ({each['difference']:.0e})" for name, each in found.items()]
        print(f"  {name:12} {'   '.join(columns)}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench deploy")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--others", required=True, help="Python with onnxruntime, OpenVINO and ncnn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = os.path.join(place, "pictures")
        os.mkdir(data)
        image = pictures(data)
        networks = [(name, *network(name, flags, place)) for name, flags in NETWORKS]
        models = [(name, model) for name, _, model in networks]
        start(arguments.rounds, image)
        folder(arguments.rounds, data, models)
        runtimes(arguments.rounds, models)
        others(arguments.rounds, arguments.others, [(name, run) for name, run, _ in networks])


if __name__ == "__main__":
    main()
