"""An exported network in runtimes that others wrote, against PyTorch. Called by `scripts/interop`."""

import copy
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx2torch
import onnxruntime
import openvino
import torch
import torch.nn.functional as F
from torch import nn

MNIST = Path(".deps/mnist")
IMAGES = 1000
# Largest difference of a logit, most other answers: from PyTorch in fp32, and between two runtimes with one file.
TOLERANCES = {"fp32": (1e-3, 1), "fp16": (0.05, 1), "int8": (math.inf, 5)}
MUTUAL_TOLERANCES = {"fp32": (1e-3, 1), "fp16": (1e-3, 1), "int8": (math.inf, 5)}
ACCURACY_TOLERANCE = 0.005
# What is known not to load. Anything else that does not is an error.
KNOWN_REFUSALS = {
    ("onnx2torch", "fp16"),  # it wants every weight as an initialiser, not behind a Cast
    ("onnx2torch", "int8"),  # it has no QuantizeLinear
    ("OpenCV", "int8"),  # it wants axis = 0 spelled out in the file
}


# -- the network, from the paper and from the checkpoint, by nothing that `train` is made of


class Layer(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-5)
        self.relu6 = nn.ReLU6()


class MobileNetV1(nn.Module):
    """Table 1 of arXiv 1704.04861, with the preparation of the pictures in front."""

    def __init__(self, metadata: dict):
        super().__init__()
        architecture, preprocessing = metadata["architecture"], metadata["data"]["preprocessing"]
        narrow = lambda channels: max(int(architecture["width"] * channels), 8)
        blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        self.resolution = architecture["resolution"]
        for name in ("mean", "std"):
            values = torch.tensor(preprocessing[name]).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        inputs = narrow(32)
        self.body = nn.Sequential()
        self.body.stem = Layer(architecture["channels"], inputs, 3, architecture["stem_stride"])
        for number, (channels, stride) in enumerate(blocks, 1):
            block = nn.Sequential()
            block.depthwise = Layer(inputs, inputs, 3, stride, groups=inputs)
            block.pointwise = Layer(inputs, narrow(channels), 1, 1)
            self.body.add_module(f"block{number}", block)
            inputs = narrow(channels)
        self.body.pool = nn.AdaptiveAvgPool2d(1)
        self.body.flatten = nn.Flatten()
        self.body.classifier = nn.Linear(inputs, architecture["classes"])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = (image.float() / 255 - self.mean) / self.std
        return self.body(F.interpolate(x, (self.resolution,) * 2, mode="bilinear", align_corners=False))

    def logits(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self(torch.from_numpy(images)).numpy()


def read_safetensors(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """The checkpoint's own words and its tensors."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = json.loads(header.pop("__metadata__")["checkpoint"])
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        values = np.frombuffer(data[start + first : start + end], np.dtype("<f4"))
        tensors[name] = torch.from_numpy(values.copy()).view(entry["shape"])
    return metadata, tensors


def torch_name(name: str) -> str:
    """What PyTorch calls a tensor of the checkpoint."""
    layer, _, last = name.rpartition(".")
    norm = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}
    if layer.endswith(".norm"):
        return f"{layer}.{norm[last]}"
    return name if layer == "classifier" else f"{layer}.conv.{last}"


def read_network(path: Path) -> MobileNetV1:
    metadata, tensors = read_safetensors(path)
    prefix = "average." if metadata["recipe"]["ema"] > 0 else "model."
    network = MobileNetV1(metadata).eval()
    weights = {torch_name(name.removeprefix(prefix)): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    missing, unexpected = network.body.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return network


def rounded_to_fp16(network: MobileNetV1) -> MobileNetV1:
    """What the fp16 file holds: batch norms folded in, then the weights rounded, the biases not."""
    network = copy.deepcopy(network)
    for layer in [module for module in network.modules() if isinstance(module, Layer)]:
        layer.conv, layer.norm = nn.utils.fuse_conv_bn_eval(layer.conv, layer.norm), nn.Identity()
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data = module.weight.data.half().float()
    return network


# -- the runtimes


def session(file: Path, as_written: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def opencv_logits(file: Path, images: np.ndarray, batch: int) -> np.ndarray:
    network = cv2.dnn.readNetFromONNX(str(file))
    answers = []
    for start in range(0, len(images), batch):
        network.setInput(images[start : start + batch], "image")
        answers.append(network.forward("logits"))
    return np.concatenate(answers)


def openvino_model(file: Path) -> openvino.CompiledModel:
    # On its own it computes fp32 files in bf16 where the processor can, which says nothing about the file.
    return openvino.Core().compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})


def onnx2torch_logits(file: Path, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return onnx2torch.convert(str(file)).eval()(torch.from_numpy(images))[0].numpy()


def deploy(*arguments: str | Path) -> dict:
    done = subprocess.run([os.environ["DEPLOY"], *arguments, "--format", "json"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def deploy_logits(file: Path, backend: str, pictures: list[Path], reference: np.ndarray) -> np.ndarray:
    """`deploy` tells probabilities: their logarithms are the logits but for a constant, which the reference lends."""
    options = ["--backend", backend, "--threads", "1", "--top-k", str(reference.shape[1])]
    logits = np.empty_like(reference)
    for row, prediction in zip(logits, deploy("predict", "--model", file, *options, *pictures)["predictions"], strict=True):
        for answer in prediction["top"]:
            row[answer["class"]] = math.log(answer["probability"])
    return logits + (reference - logits).mean(1, keepdims=True)


def runtimes(images: np.ndarray, pictures: list[Path], reference: np.ndarray) -> dict[str, Callable[[Path], np.ndarray]]:
    """What yields a file's logits, by name."""
    ort, opencv = f"onnxruntime {onnxruntime.__version__}", f"OpenCV {cv2.__version__}"
    found = {
        ort: lambda file: session(file).run(["logits"], {"image": images})[0],
        f"{ort}, as written": lambda file: session(file, as_written=True).run(["logits"], {"image": images})[0],
        f"{opencv}, 1 at once": lambda file: opencv_logits(file, images, 1),
        f"{opencv}, {len(images)} at once": lambda file: opencv_logits(file, images, len(images)),
        f"OpenVINO {version('openvino')}": lambda file: openvino_model(file)(images)["logits"],
        f"onnx2torch {version('onnx2torch')}": lambda file: onnx2torch_logits(file, images),
    }
    versions = {backend["name"]: backend["version"] for backend in deploy("backends")["backends"]}
    for name, option in [("tract", "tract"), ("onnxruntime", "ort")]:
        found[f"deploy, {name} {versions[name]}"] = lambda file, option=option: deploy_logits(
            file, option, pictures, reference
        )
    return found


# -- table 1: do all of them read the files alike?


def export(run: str, file: Path, *options: str) -> Path:
    command = [os.environ["TRAIN"], "export", run, "-o", file, "--overwrite", *options]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"interop: {' '.join(map(str, command))} failed")
    return file


def first_line(error: Exception) -> str:
    lines = str(getattr(error, "err", error)).strip("> \n").splitlines()  # cv2.error begins with its own source file
    return lines[0][:200] if lines else type(error).__name__


def checked(file: Path) -> str:
    """The word of ONNX's own checker and of its strict shape inference."""
    try:
        onnx.checker.check_model(file, full_check=True)
        onnx.shape_inference.infer_shapes(onnx.load(file), check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        return first_line(error)
    return "ok"


def other_answers(a: np.ndarray, b: np.ndarray) -> int:
    return int((a.argmax(1) != b.argmax(1)).sum())


def within(difference: np.ndarray, others: int, tolerance: tuple[float, int]) -> bool:
    return bool(abs(difference).max() <= tolerance[0]) and others <= tolerance[1]  # not so for NaN


def disagreements(answers: dict[str, np.ndarray], precision: str, reference: np.ndarray, labels: np.ndarray) -> list[str]:
    accuracy = lambda logits: (logits.argmax(1) == labels).mean()
    found = []
    for name, logits in answers.items():
        same = within(logits - reference, other_answers(logits, reference), TOLERANCES[precision])
        if not same or abs(accuracy(logits) - accuracy(reference)) > ACCURACY_TOLERANCE:
            found.append(f"{precision}: {name} disagrees with PyTorch in fp32")
    for (one, a), (two, b) in itertools.combinations(answers.items(), 2):
        difference = a - b
        difference -= difference.mean(1, keepdims=True)  # the constant that `deploy` does not tell
        same = within(difference, other_answers(a, b), MUTUAL_TOLERANCES[precision])
        if not same or abs(accuracy(a) - accuracy(b)) > ACCURACY_TOLERANCE:
            found.append(f"{precision}: {one} and {two} disagree")
    return found


def print_table(rows: list[list[str]], left: int) -> None:
    """The first `left` columns to the left, numbers to the right; a row that ends early ends in free text."""
    widths = [max(map(len, column)) for column in zip(*(row for row in rows if len(row) == len(rows[0])))]
    for row in rows:
        cells = [f"{cell:{'<' if i < left else '>'}{widths[i]}}" for i, cell in enumerate(row)]
        print("  ".join(cells).rstrip(), flush=True)


def compare(run: str, files: Path, network: MobileNetV1, images: np.ndarray, labels: np.ndarray) -> list[str]:
    """Prints the table and returns what is wrong."""
    reference = network.logits(images)
    pictures = [files / f"{number:04}.png" for number in range(len(images))]
    for picture, image in zip(pictures, images):
        cv2.imwrite(str(picture), image[0])
    pytorch = f"PyTorch {torch.__version__}"
    rows = [["file", "checker", "runtime", "max diff", "mean diff", "other answers", "accuracy"]]
    wrong = []
    for precision in TOLERANCES:
        file = export(run, files / f"{precision}.onnx", "--precision", precision)
        verdict = checked(file)
        if verdict != "ok":
            wrong.append(f"{precision}: the checker refuses it: {verdict}")
        answers = {}
        if precision == "fp32":
            answers[f"{pytorch}, the reference"] = reference
        if precision == "fp16":
            answers[f"{pytorch}, weights so rounded"] = rounded_to_fp16(network).logits(images)
        prefix = [precision, "ok" if verdict == "ok" else "refused"]
        for name, logits_of in runtimes(images, pictures, reference).items():
            try:
                answers[name] = logits_of(file)
            except Exception as error:
                rows.append([*prefix, name, f"cannot load: {first_line(error)}"])
                if (name.split()[0], precision) not in KNOWN_REFUSALS:
                    wrong.append(f"{precision}: {name} should load it")
        for name, logits in answers.items():
            difference = abs(logits - reference)
            numbers = [f"{difference.max():.1e}", f"{difference.mean():.1e}", str(other_answers(logits, reference))]
            rows.append([*prefix, name, *numbers, f"{(logits.argmax(1) == labels).mean():.2%}"])
        wrong += disagreements(answers, precision, reference, labels)
    print(f"{run}: the first {len(images)} test images, logits against {pytorch} in fp32\n")
    print_table(rows, 3)
    operations = [operation.get_rt_info() for operation in openvino_model(file).get_runtime_model().get_ops()]
    convolutions = Counter(str(one["runtimePrecision"]) for one in operations if one["layerType"] == "Convolution")
    print(f"\nOpenVINO computes the convolutions of the int8 file in: {dict(convolutions)}")
    return wrong


# -- table 2: is our file any worse than PyTorch's own?


def torch_export(network: MobileNetV1, images: np.ndarray, file: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.from_numpy(images[:2]),),
            file,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
    return file


def milliseconds(work: Callable[[], object], times: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) * 1000 / times


def alternate(measurements: list[Callable[[], float]], rounds: int) -> list[float]:
    """The median of each, taking turns after one turn to warm up."""
    turns = [[measure() for measure in measurements] for _ in range(rounds + 1)][1:]
    return [statistics.median(values) for values in zip(*turns)]


def latency(file: Path, images: np.ndarray, times: int) -> Callable[[], float]:
    loaded = session(file)
    return lambda: milliseconds(lambda: loaded.run(["logits"], {"image": images}), times)


def race(run: str, files: Path, network: MobileNetV1, images: np.ndarray, rounds: int) -> None:
    ours = export(run, files / "logits.onnx", "--outputs", "logits")  # PyTorch's has no other output either
    both = [ours, torch_export(network, images, files / "torch.onnx")]
    graphs = [onnx.load(file).graph for file in both]
    picture = files / "one.png"
    cv2.imwrite(str(picture), images[0, 0])
    tract = ["--backend", "tract", "--threads", "1"]
    measured: dict[str, Callable[[Path], Callable[[], float]]] = {
        "onnxruntime: load, ms": lambda file: lambda: milliseconds(lambda: session(file)),
        "onnxruntime: 1 image, ms": lambda file: latency(file, images[:1], 100),
        "onnxruntime: 32 images, ms": lambda file: latency(file, images[:32], 10),
        "tract: deploy predict, one picture, ms": lambda file: (
            lambda: milliseconds(lambda: deploy("predict", picture, "--model", file, *tract))
        ),
        "tract: deploy eval, images/s": lambda file: (
            lambda: deploy("eval", "--model", file, "--data", MNIST, *tract)["images_per_second"]
        ),
    }
    rows = [["", "ours", "torch's", "ours / torch's"]]
    figure = lambda name, values: rows.append([name, *(f"{value:.5g}" for value in values), f"{values[0] / values[1]:.2f}"])
    rows.append(["bytes", *(f"{file.stat().st_size:,}" for file in both), f"{both[0].stat().st_size / both[1].stat().st_size:.2f}"])
    figure("nodes", [len(graph.node) for graph in graphs])
    operators = [Counter(node.op_type for node in graph.node) for graph in graphs]
    rows += [[f"  {name}", *(str(one[name]) for one in operators), ""] for name in sorted(operators[0] | operators[1])]
    for name, of in measured.items():
        figure(name, alternate([of(file) for file in both], rounds))
    print(f"\nfp32 file against torch.onnx.export of PyTorch {torch.__version__}, 1 thread, median of {rounds} alternating turns\n")
    print_table(rows, 1)


def main() -> None:
    run, files, tables, rounds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    read = lambda name, header: np.fromfile(MNIST / name, np.uint8)[header:]
    images = read("t10k-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[:IMAGES]
    labels = read("t10k-labels-idx1-ubyte", 8)[:IMAGES]
    network = read_network(Path(run) / "best.safetensors")
    wrong = compare(run, files, network, images, labels) if "1" in tables else []
    if "2" in tables:
        race(run, files, network, images, rounds)
    sys.exit("\n".join(["", *wrong]) if wrong else 0)


if __name__ == "__main__":
    main()
