"""Size, accuracy and speed of every precision of an exported file. Called by `scripts/bench export`.

The files are exported with `--batch 1`, so that both runtimes process one image at a time, and `deploy eval` runs them
on the test images. The precisions take turns; medians of the turns are printed.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile

TRAIN, DEPLOY = "target/release/train", "target/release/deploy"
PRECISIONS, BACKENDS = ["fp32", "fp16", "int8"], ["tract", "ort"]
# name, flags of a short training run, test images per turn
NETWORKS = [
    ("0.25 @ 64", ["--width", "0.25", "--resolution", "64", "--epochs", "1"], 1000),
    ("1.0 @ 32", ["--width", "1.0", "--resolution", "32", "--epochs", "2"], 400),
    ("1.0 @ 224", ["--width", "1.0", "--resolution", "224", "--epochs", "2", "--lr", "0.05"], 40),
]
# Training images of these runs: enough for meaningful answers, few enough for 224 px.
IMAGES = {"0.25 @ 64": 20_000, "1.0 @ 32": 12_000, "1.0 @ 224": 1500}


def subset(folder, train, test):
    """Writes the first images of MNIST as a separate data set."""
    os.makedirs(folder, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        for kind, magic, size, extents in (("images-idx3", 0x803, 784, (28, 28)), ("labels-idx1", 0x801, 1, ())):
            name = f"{prefix}-{kind}-ubyte"
            with open(os.path.join(".deps/mnist", name), "rb") as source:
                source.seek(8 + 4 * len(extents))
                values = source.read(count * size)
            with open(os.path.join(folder, name), "wb") as target:
                target.write(struct.pack(f">{2 + len(extents)}I", magic, count, *extents) + values)
    return folder


def call(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def evaluate(model, data, backend, threads):
    return json.loads(call(DEPLOY, "eval", "--model", model, "--data", data, "--backend", backend, "--threads", threads, "--format", "json"))


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench export")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each file (default: 9)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtimes (default: 1)")
    arguments = parser.parse_args()
    rows = [["width @ px", "file", "bytes", "size", "accuracy", "tract ms", "tract", "ort ms", "ort"]]
    with tempfile.TemporaryDirectory() as folder:
        for name, flags, images in NETWORKS:
            data = subset(os.path.join(folder, name), IMAGES[name], images)
            run = os.path.join(folder, "run " + name)
            print(f"training {name} on {IMAGES[name]:,} images", file=sys.stderr)
            common = ["--data", data, "--batch-size", "32", "--hold-out", "200", "--out", run]
            call(TRAIN, *flags, *common)
            files = {precision: os.path.join(folder, f"{name} {precision}.onnx") for precision in PRECISIONS}
            for precision, file in files.items():
                call(TRAIN, "export", run, "--precision", precision, "--batch", "1", "-o", file)
            seconds = {(precision, backend): [] for precision in PRECISIONS for backend in BACKENDS}
            accuracy = {}
            print(f"measuring {name}", file=sys.stderr)
            for _ in range(arguments.rounds):
                for precision, backend in seconds:
                    result = evaluate(files[precision], data, backend, str(arguments.threads))
                    seconds[precision, backend].append(result["seconds"] / result["images"])
                    accuracy[precision] = result["accuracy"]
            size = {precision: os.path.getsize(file) for precision, file in files.items()}
            for precision in PRECISIONS:
                row = [name, precision, f"{size[precision]:,}", f"{size[precision] / size['fp32']:.2f}"]
                row.append(f"{100 * accuracy[precision]:.1f} %")
                for backend in BACKENDS:
                    own, fp32 = (statistics.median(seconds[key, backend]) for key in (precision, "fp32"))
                    row += [f"{1000 * own:.2f}", f"{fp32 / own:.2f}x"]
                rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells))
    threads = f"{arguments.threads} thread" + ("s" if arguments.threads > 1 else "")
    print(f"\n{threads}, one image at a time, medians of {arguments.rounds} turns; tract and ort: speed relative to fp32")


if __name__ == "__main__":
    main()
