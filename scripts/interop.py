"""Compares exported files in other people's runtimes with an independent PyTorch network. For `scripts/interop`."""

import copy
import itertools
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
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
from numpy import ndarray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import nn

MNIST = Path(".deps/mnist")
IMAGES = 1000
# Largest difference of a logit, and most answers that differ beyond a near tie, against PyTorch in fp32 and between two
# runtimes of one file. The cost of int8 depends on the network, and `train export` judges it; a wrong graph costs more.
TOLERANCES = {"fp32": (1e-3, 1), "fp16": (0.05, 1), "int8": (math.inf, 20)}
MUTUAL_TOLERANCES = TOLERANCES | {"fp16": (1e-3, 1)}
# How much worse our int8 file may be than that of ONNX Runtime's quantizer.
LOST_ACCURACY, EXTRA_BYTES = 0.0005, 0.1
# Any other failure to load is an error.
KNOWN_REFUSALS = {
    ("onnx2torch", "fp16"),  # expects every weight as an initialiser, not behind a Cast
    ("onnx2torch", "int8"),  # has no QuantizeLinear
}


class Layer(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-5)
        self.relu6 = nn.ReLU6()


class MobileNetV1(nn.Module):
    """Image preparation and Table 1 of arXiv 1704.04861, written independently of `train`."""

    def __init__(self, architecture: dict, preprocessing: dict):
        super().__init__()
        narrow = lambda channels: max(int(architecture["width"] * channels), 8)
        blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        self.resolution = architecture["resolution"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocessing[name]).view(1, -1, 1, 1))
        inputs = narrow(32)
        self.stem = Layer(architecture["channels"], inputs, 3, architecture["stem_stride"])
        self.blocks = nn.Sequential()
        for number, (channels, stride) in enumerate(blocks, 1):
            block = nn.Sequential()
            block.depthwise = Layer(inputs, inputs, 3, stride, groups=inputs)
            block.pointwise = Layer(inputs, narrow(channels), 1, 1)
            self.blocks.add_module(f"block{number}", block)
            inputs = narrow(channels)
        self.classifier = nn.Linear(inputs, architecture["classes"])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = (image.float() / 255 - self.mean) / self.std
        x = F.interpolate(x, (self.resolution, self.resolution), mode="bilinear", align_corners=False)
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))

    def logits(self, images: ndarray) -> ndarray:
        with torch.inference_mode():
            return self(torch.from_numpy(images)).numpy()


def read_safetensors(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = json.loads(header.pop("__metadata__")["checkpoint"])
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        values = np.frombuffer(data[start + first : start + end], "<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return metadata, tensors


def torch_name(name: str) -> str:
    layer, _, last = name.rpartition(".")
    layer = f"blocks.{layer}" if layer.startswith("block") else layer
    if layer.endswith(".norm"):
        last = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}[last]
    elif layer != "classifier":
        last = f"conv.{last}"
    return f"{layer}.{last}"


def read_network(path: Path) -> MobileNetV1:
    metadata, tensors = read_safetensors(path)
    if (metadata["architecture"]["kind"], metadata["data"]["name"]) != ("mobilenet-v1", "mnist"):
        sys.exit(f"interop: {path} is not a mobilenet-v1 trained on MNIST: give the folder of another run")
    network = MobileNetV1(metadata["architecture"], metadata["data"]["preprocessing"]).eval()
    prefix = "average." if metadata["recipe"]["ema"] > 0 else "model."
    shipped = [name for name in tensors if name.startswith(prefix)]
    ours = {torch_name(name.removeprefix(prefix)): tensors[name] for name in shipped}
    # The rest are PyTorch's batch counters, and mean and std, which come from the metadata.
    theirs = {name: tensor for name, tensor in network.state_dict().items() if name not in ours}
    assert all(name in ("mean", "std") or name.endswith("num_batches_tracked") for name in theirs), theirs.keys()
    network.load_state_dict(theirs | ours)
    return network


def calibrated(network: MobileNetV1, file: Path) -> MobileNetV1:
    """The network with the temperature in the file's card: the only thing that `train export` changes."""
    cards = [entry.value for entry in onnx.load(file).metadata_props if entry.key == "model_card"]
    temperature = json.loads(cards[0])["confidence"]["temperature"]
    network = copy.deepcopy(network)
    for parameter in network.classifier.parameters():
        parameter.data = (parameter.data.double() / temperature).float()
    return network


def rounded_to_fp16(network: MobileNetV1) -> MobileNetV1:
    """The network of the fp16 file: batch norms folded in, then the weights rounded, but not the biases."""
    network = copy.deepcopy(network)
    for layer in [module for module in network.modules() if isinstance(module, Layer)]:
        layer.conv, layer.norm = nn.utils.fuse_conv_bn_eval(layer.conv, layer.norm), nn.Identity()
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data = module.weight.data.half().float()
    return network


def session(file: Path, as_written: bool = False, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimised:
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 3  # hides the warning that the graph is for this processor only
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def opencv_logits(file: Path, images: ndarray, batch: int) -> ndarray:
    network = cv2.dnn.readNetFromONNX(str(file))
    answers = []
    for start in range(0, len(images), batch):
        network.setInput(images[start : start + batch], "image")
        answers.append(network.forward("logits"))
    return np.concatenate(answers)


def openvino_model(file: Path) -> openvino.CompiledModel:
    # By default it computes in bf16 if the processor supports it, which would hide errors in the file.
    return openvino.Core().compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})


def onnx2torch_logits(file: Path, images: ndarray) -> ndarray:
    with torch.inference_mode():
        return onnx2torch.convert(str(file)).eval()(torch.from_numpy(images))[0].numpy()


def deploy(*arguments: str | Path) -> dict:
    done = subprocess.run([os.environ["DEPLOY"], *arguments, "--format", "json"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def deploy_logits(file: Path, backend: str, pictures: list[Path], reference: ndarray) -> ndarray:
    """The logits up to a constant, from the probabilities that `deploy` prints. The reference supplies the constant."""
    options = ["--model", file, "--backend", backend, "--threads", "1", "--top-k", str(reference.shape[1])]
    logits = np.empty_like(reference)
    for row, prediction in zip(logits, deploy("predict", *options, *pictures)["predictions"], strict=True):
        for answer in prediction["top"]:
            row[answer["class"]] = math.log(answer["probability"])
    return logits + (reference - logits).mean(1, keepdims=True)


def runtimes(images: ndarray, pictures: list[Path], reference: ndarray) -> dict[str, Callable[[Path], ndarray]]:
    ort, opencv = f"onnxruntime {version('onnxruntime')}", f"OpenCV {cv2.__version__}"
    ours = {backend["name"]: f"{backend['name']} {backend['version']}" for backend in deploy("backends")["backends"]}
    return {
        ort: lambda file: session(file).run(["logits"], {"image": images})[0],
        f"{ort}, as written": lambda file: session(file, as_written=True).run(["logits"], {"image": images})[0],
        f"{opencv}, 1 at once": lambda file: opencv_logits(file, images, 1),
        f"{opencv}, {len(images)} at once": lambda file: opencv_logits(file, images, len(images)),
        f"OpenVINO {version('openvino')}": lambda file: openvino_model(file)(images)["logits"],
        f"onnx2torch {version('onnx2torch')}": lambda file: onnx2torch_logits(file, images),
        f"deploy, {ours['tract']}": lambda file: deploy_logits(file, "tract", pictures, reference),
        f"deploy, {ours['ort']}": lambda file: deploy_logits(file, "ort", pictures, reference),
    }


def export(run: str, file: Path, *options: str) -> Path:
    command = [os.environ["TRAIN"], "export", run, "--data", str(MNIST), "-o", str(file), "--overwrite", *options]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"interop: {' '.join(command)} failed")
    return file


def first_line(error: Exception) -> str:
    # OpenCV and OpenVINO begin with positions in their source code.
    lines = str(getattr(error, "err", error)).strip("> \n").splitlines()
    telling = [line for line in lines if not line.startswith("Exception from")]
    return f"{type(error).__name__}: {telling[0]}"[:300] if telling else type(error).__name__


def check(file: Path) -> None:
    onnx.checker.check_model(file, full_check=True)
    onnx.shape_inference.infer_shapes(onnx.load(file), check_type=True, strict_mode=True, data_prop=True)


def other_answers(a: ndarray, b: ndarray) -> int:
    return int((a.argmax(1) != b.argmax(1)).sum())


def agree(a: ndarray, b: ndarray, tolerance: tuple[float, int]) -> bool:
    largest, most = tolerance
    near = abs(a - b).max() <= largest  # false for NaN
    # Rounding alone can change an answer to one with nearly the same logit (as in `deploy/src/agreement.rs`).
    rows = np.arange(len(a))
    gaps = a[rows, a.argmax(1)] - a[rows, b.argmax(1)]
    others = (gaps > 2 * largest).sum() if math.isfinite(largest) else other_answers(a, b)
    return bool(near) and int(others) <= most


def disagreements(answers: dict[str, ndarray], precision: str, reference: ndarray) -> list[str]:
    found = [
        f"{precision}: {name} disagrees with PyTorch in fp32"
        for name, logits in answers.items()
        if not agree(logits, reference, TOLERANCES[precision])
    ]
    if found:
        return found
    # `deploy` does not print the constant, so it is removed.
    centred = [(name, logits - logits.mean(1, keepdims=True)) for name, logits in answers.items()]
    for (one, a), (other, b) in itertools.combinations(centred, 2):
        if not agree(a, b, MUTUAL_TOLERANCES[precision]):
            found.append(f"{precision}: {one} disagrees with {other}")
    return found


def print_table(rows: list[list[str]], left: int) -> None:
    """Aligns the first `left` columns to the left and the others to the right. A shorter row ends in free text."""
    widths = [max(map(len, column)) for column in zip(*(row for row in rows if len(row) == len(rows[0])))]
    for row in rows:
        cells = [f"{cell:{'<' if i < left else '>'}{widths[i]}}" for i, cell in enumerate(row)]
        print("  ".join(cells).rstrip(), flush=True)


def compare(run: str, files: Path, network: MobileNetV1, images: ndarray, labels: ndarray) -> list[str]:
    """Prints table 1 and returns what is wrong."""
    network = calibrated(network, export(run, files / "fp32.onnx"))
    reference = network.logits(images)
    pictures = [files / f"{number:04}.png" for number in range(len(images))]
    for picture, image in zip(pictures, images):
        cv2.imwrite(str(picture), image[0])
    pytorch = {"fp32": network, "fp16": rounded_to_fp16(network)}
    rows = [["file", "checker", "runtime", "max diff", "mean diff", "answers differ", "accuracy"]]
    wrong = []
    for precision in TOLERANCES:
        file = export(run, files / f"{precision}.onnx", "--precision", precision)
        contestants = runtimes(images, pictures, reference)
        if precision in pytorch:
            contestants = {f"PyTorch {version('torch')}": lambda _: pytorch[precision].logits(images)} | contestants
        verdict = "ok"
        try:
            check(file)
        except Exception as error:
            verdict = "rejected"
            wrong.append(f"{precision}: the checker rejects the file: {first_line(error)}")
        answers = {}
        for name, logits_of in contestants.items():
            try:
                logits = answers[name] = logits_of(file)
            except Exception as error:
                rows.append([precision, verdict, name, f"cannot load: {first_line(error)}"])
                if (name.split()[0], precision) not in KNOWN_REFUSALS:
                    wrong.append(f"{precision}: {name} cannot load the file")
                continue
            difference, right = abs(logits - reference), (logits.argmax(1) == labels).mean()
            figures = [f"{difference.max():.1e}", f"{difference.mean():.1e}", str(other_answers(logits, reference))]
            rows.append([precision, verdict, name, *figures, f"{right:.1%}"])
        wrong += disagreements(answers, precision, reference)
    print(f"{run}: the first {len(images)} test images; logits against PyTorch in fp32\n")
    print_table(rows, 3)
    return wrong


def torch_export(network: MobileNetV1, images: ndarray, file: Path) -> Path:
    example = (torch.from_numpy(images[:2]),)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    batch = ({0: torch.export.Dim("N")},)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(network, example, file, **names, dynamic_shapes=batch, external_data=False, verbose=False)
    return file


def milliseconds(work: Callable[[], object], times: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) * 1000 / times


def latencies(file: Path, images: ndarray) -> dict[str, Callable[[], float]]:
    loaded = session(file)
    run = lambda batch, times: milliseconds(lambda: loaded.run(["logits"], {"image": images[:batch]}), times)
    return {
        "onnxruntime: 1 image, ms": lambda: run(1, 100),
        "onnxruntime: 32 images, ms": lambda: run(32, 10),
    }


def measurements(file: Path, images: ndarray, picture: Path) -> dict[str, Callable[[], float]]:
    tract = ["--model", file, "--backend", "tract", "--threads", "1"]
    return {
        "onnxruntime: load, ms": lambda: milliseconds(lambda: session(file)),
        **latencies(file, images),
        "deploy, tract: whole process, ms": lambda: milliseconds(lambda: deploy("predict", picture, *tract)),
        "deploy, tract: test set, images/s": lambda: deploy("eval", "--data", MNIST, *tract)["images_per_second"],
    }


def medians(measured: list[dict[str, Callable[[], float]]], turns: int) -> Iterator[tuple[str, list[float]]]:
    for name in measured[0]:
        taking_turns = [[one[name]() for one in measured] for _ in range(turns + 1)]
        yield name, [statistics.median(values) for values in zip(*taking_turns[1:])]  # the first warms up


def operators(file: Path) -> Counter:
    return Counter(node.op_type for node in onnx.load(file).graph.node)


def compared(name: str, values: list[float], form: str = ",.4g") -> list[str]:
    return [name, *(f"{value:{form}}" for value in values), f"{values[0] / values[1]:.2f}"]


def race(run: str, files: Path, network: MobileNetV1, images: ndarray, turns: int) -> None:
    """Prints table 2."""
    # Without probabilities, as in torch's file.
    ours = export(run, files / "ours.onnx", "--outputs", "logits")
    both = [ours, torch_export(network, images, files / "torch.onnx")]
    picture = files / "picture.png"
    cv2.imwrite(str(picture), images[0, 0])
    rows = [["", "ours", "torch's", "ratio"]]
    counts = [operators(file) for file in both]
    rows.append(compared("KB", [file.stat().st_size / 1000 for file in both]))
    rows.append(compared("nodes", [count.total() for count in counts]))
    rows += [[f"  {name}", *(str(count[name]) for count in counts), ""] for name in sorted(counts[0] | counts[1])]
    rows += itertools.starmap(compared, medians([measurements(file, images, picture) for file in both], turns))
    print(f"\n{run} as fp32 against torch.onnx.export; 1 thread, medians of {turns} alternating turns\n")
    print_table(rows, 1)


def mix(value: int) -> int:
    """SplitMix64's step, as in `train/src/seed.rs`."""
    z = (value + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def calibration(run: str) -> ndarray:
    """The images that `train export` calibrates with: the first of those that the weights were fitted to."""
    recipe = read_safetensors(Path(run) / "best.safetensors")[0]["recipe"]
    images, held_out = read_images("train"), recipe["hold_out"]
    if held_out == 0:
        return images[:IMAGES]
    torch.manual_seed(mix(mix(mix(recipe["seed"]) ^ 2)))  # the purpose HoldOut at position 0
    return images[torch.randperm(len(images))[held_out : held_out + IMAGES].numpy()]


class Batches(CalibrationDataReader):
    def __init__(self, images: ndarray):
        self.batches = iter(np.split(images, range(100, len(images), 100)))

    def get_next(self) -> dict[str, ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def ort_quantize(fp32: Path, images: ndarray, file: Path) -> Path:
    """Quantizes the same as we do: convolutions with their activations, and the classifier, but not the preparation."""
    logging.getLogger().setLevel(logging.ERROR)  # hides the advice to fold batch norms, which they are
    quantize_static(
        fp32,
        file,
        Batches(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Clip", "Gemm"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    return file


def activation_scales(file: Path) -> list[float]:
    """In the order of the layers."""
    graph = onnx.load(file).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [float(constants[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"]


def compare_int8(run: str, files: Path, images: ndarray, labels: ndarray, turns: int) -> list[str]:
    """Prints table 3 and returns what is wrong."""
    fp32 = export(run, files / "ours.onnx", "--outputs", "logits")
    ours = export(run, files / "ours-int8.onnx", "--outputs", "logits", "--precision", "int8")
    both = [ours, ort_quantize(fp32, calibration(run), files / "onnxruntime-int8.onnx")]
    wrong = []
    # With other calibration images, the scales would differ by percents. Only onnxruntime quantizes the input of the
    # classifier: its last scale.
    scales, theirs = map(activation_scales, both)
    if len(theirs) != len(scales) + 1 or not np.allclose(scales, theirs[:-1], rtol=1e-5, atol=0):
        wrong.append("int8: the activation scales differ from those of onnxruntime's quantizer with the same images")
    sizes, rights, graphs = [file.stat().st_size for file in both], [], []
    for file in both:
        optimised = file.with_suffix(".optimised.onnx")
        loaded = session(file, optimised=optimised)
        answers = [loaded.run(["logits"], {"image": part})[0].argmax(1) for part in np.split(images, 10)]
        rights.append(int((np.concatenate(answers) == labels).sum()))
        graphs.append(operators(optimised))
    accuracies = [100 * right / len(labels) for right in rights]
    rows = [["", "ours", "onnxruntime's", "ratio"], compared("bytes", sizes, ",")]
    rows.append(["accuracy, %", *(f"{x:.2f}" for x in accuracies), f"{accuracies[0] - accuracies[1]:+.2f} points"])
    rows.append(compared("nodes", [operators(file).total() for file in both]))
    rows.append(compared("nodes in onnxruntime, optimised", [graph.total() for graph in graphs]))
    rows.append(compared("  QLinearConv", [graph["QLinearConv"] for graph in graphs]))
    rows += itertools.starmap(compared, medians([latencies(file, images) for file in both], turns))
    print(f"\n{run} as int8 against onnxruntime.quantization, calibrated with the same {IMAGES} training images;")
    print(f"accuracy on {len(labels)} test images; 1 thread, medians of {turns} alternating turns\n")
    print_table(rows, 1)
    if rights[1] - rights[0] > LOST_ACCURACY * len(labels):
        wrong.append("int8: our file is less accurate than that of onnxruntime's quantizer")
    if sizes[0] > sizes[1] * (1 + EXTRA_BYTES):
        wrong.append("int8: our file is larger than that of onnxruntime's quantizer")
    return wrong


def read_images(part: str) -> ndarray:
    return np.fromfile(MNIST / f"{part}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 1, 28, 28)


def main() -> None:
    run, files, tables, turns = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = read_images("t10k")
    labels = np.fromfile(MNIST / "t10k-labels-idx1-ubyte", np.uint8)[8:]
    network = read_network(Path(run) / "best.safetensors")
    wrong = compare(run, files, network, images[:IMAGES], labels[:IMAGES]) if "1" in tables else []
    if "2" in tables:
        race(run, files, network, images, turns)
    if "3" in tables:
        wrong += compare_int8(run, files, images, labels, turns)
    if wrong:
        sys.exit("\ninterop: " + "\ninterop: ".join(wrong))


if __name__ == "__main__":
    main()
