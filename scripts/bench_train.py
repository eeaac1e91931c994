"""Training steps of `train` against PyTorch in Python, taking turns. Called by `scripts/bench train`.

Each program reads a number of steps from a line of standard input, trains for that many steps and prints the seconds
taken. The PyTorch programs are in this file too: `bench_train.py loop a|b WIDTH RESOLUTION BATCH THREADS`.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time

# width multiplier, resolution, batch size, steps per turn
SETTINGS = [(0.25, 64, 128, 16), (0.25, 96, 32, 30), (1.0, 32, 128, 8), (1.0, 224, 32, 2)]
MNIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".deps", "mnist")


def network(width):
    """MobileNetV1 as in Table 1 of the paper, with one input channel and ten classes."""
    import torch.nn as nn

    channels = lambda count: max(int(count * width), 8)
    layers, inputs = [], channels(32)

    def convolution(outputs, kernel, stride, groups=1):
        nonlocal inputs
        first = 1 if not layers else inputs
        layers.extend([
            nn.Conv2d(first, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        ])
        inputs = outputs

    convolution(inputs, 3, 2)
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    for outputs, stride in blocks:
        convolution(inputs, 3, stride, groups=inputs)
        convolution(channels(outputs), 1, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def images_and_labels():
    import numpy

    read = lambda name, header: numpy.fromfile(os.path.join(MNIST, name), dtype=numpy.uint8)[header:]
    return read("train-images-idx3-ubyte", 16).reshape(-1, 28, 28), read("train-labels-idx1-ubyte", 8)


def usual_batches(resolution, batch):
    """(a) As in tutorials."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    images, labels = images_and_labels()
    transform = transforms.Compose([
        transforms.Resize((resolution, resolution)),
        transforms.ToTensor(),
        transforms.Normalize((0.1307,), (0.3081,)),
    ])

    class Mnist(Dataset):  # as torchvision.datasets.MNIST, without its download
        def __len__(self):
            return len(labels)

        def __getitem__(self, index):
            return transform(Image.fromarray(images[index])), int(labels[index])

    loader = DataLoader(Mnist(), batch_size=batch, shuffle=True, drop_last=True)
    while True:
        yield from loader


def tuned_batches(resolution, batch):
    """(b) The data stays on the device as bytes; whole batches are normalised and resized."""
    import torch
    import torch.nn.functional as F

    images, labels = images_and_labels()
    images, labels = torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long()
    while True:
        order = torch.randperm(len(labels))
        for start in range(0, len(labels) - batch + 1, batch):
            chosen = order[start : start + batch]
            x = images[chosen].float().mul_(1 / (255 * 0.3081)).add_(-0.1307 / 0.3081)
            x = F.interpolate(x, (resolution, resolution), mode="bilinear", align_corners=False)
            yield x.contiguous(memory_format=torch.channels_last), labels[chosen]


def loop(kind, width, resolution, batch, threads):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = network(width).train()
    tuned = kind == "b"
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True if tuned else None)
    batches = (tuned_batches if tuned else usual_batches)(resolution, batch)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            x, y = next(batches)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        print(time.perf_counter() - started, loss.item(), flush=True)


def measure(process, steps):
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return float(process.stdout.readline().split()[0])


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench train")
    parser.add_argument("ours", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each program (default: 9)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: one per core)")
    options = parser.parse_args()
    print(f"{options.threads} threads, median of {options.rounds} alternating turns, images per second\n")
    print(f"{'width @ px, batch':<20} {'train':>8} {'torch (a)':>10} {'torch (b)':>10} {'ours/a':>8} {'ours/b':>8}")
    ratios = {"a": [], "b": []}
    for width, resolution, batch, steps in SETTINGS:
        arguments = [str(value) for value in (width, resolution, batch, options.threads)]
        commands = {
            "ours": [options.ours, *arguments],
            "a": [sys.executable, __file__, "loop", "a", *arguments],
            "b": [sys.executable, __file__, "loop", "b", *arguments],
        }
        running = {
            name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for name, command in commands.items()
        }
        seconds = {name: [] for name in running}
        for process in running.values():
            measure(process, 2)  # warms up memory, caches and oneDNN's choice of kernels
        for _ in range(options.rounds):
            for name, process in running.items():
                seconds[name].append(measure(process, steps))
        for process in running.values():
            process.stdin.close()
            process.wait()
        speed = {name: batch * steps / statistics.median(times) for name, times in seconds.items()}
        for rival in ratios:
            ratios[rival].append(speed["ours"] / speed[rival])
        print(
            f"{f'{width} @ {resolution}, {batch}':<20} {speed['ours']:>8.1f} {speed['a']:>10.1f} {speed['b']:>10.1f}"
            f" {ratios['a'][-1]:>8.2f} {ratios['b'][-1]:>8.2f}",
            flush=True,
        )
    mean = lambda values: math.exp(sum(map(math.log, values)) / len(values))
    print(f"{'geometric mean':<20} {'':>30} {mean(ratios['a']):>8.2f} {mean(ratios['b']):>8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["loop"]:
        loop(sys.argv[2], float(sys.argv[3]), *map(int, sys.argv[4:7]))
    else:
        main()
