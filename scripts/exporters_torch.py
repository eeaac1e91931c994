"""Makes the files of torch.onnx. For `scripts/exporters`."""

import copy
import functools
import sys
import warnings
from pathlib import Path

import onnx
import torch
import torchvision
from exporters_common import main, save_reference, write_labels
from exporters_weights import probabilities, settle
from numpy import ndarray
from onnxconverter_common import float16
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms._presets import ImageClassification

CLASSES = 100


@functools.cache
def prepared(paths: tuple[Path, ...], transform: object = None) -> Tensor:
    transform = transform or ImageClassification(crop_size=224, resize_size=256)
    return torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


def export(network: nn.Module, example: Tensor, file: Path, **options: object) -> None:
    options = {"input_names": ["input"], "output_names": ["output"], "dynamo": False} | options
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(network, (example,), file, **options)


@functools.cache
def resnet18(inputs: Tensor) -> tuple[nn.Module, ndarray]:
    torch.manual_seed(2)
    network = settle(torchvision.models.resnet18(num_classes=CLASSES), inputs)
    return network, probabilities(network, inputs)


def resnet18_any_batch(folder: Path, paths: tuple[Path, ...]) -> None:
    inputs = prepared(paths)
    network, reference = resnet18(inputs)
    export(network, inputs[:1], folder / "model.onnx", dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
    save_reference(folder, reference)
    write_labels(folder, CLASSES)


def resnet18_batch1(folder: Path, paths: tuple[Path, ...], **options: object) -> None:
    inputs = prepared(paths)
    network, reference = resnet18(inputs)
    export(network, inputs[:1], folder / "model.onnx", **options)
    save_reference(folder, reference)
    write_labels(folder, CLASSES)


def zoo(folder: Path, paths: tuple[Path, ...]) -> None:
    resnet18_batch1(folder, paths, opset_version=9, input_names=["data"], output_names=["resnetv15_dense0_fwd"])


def mobilenet_v3(folder: Path, paths: tuple[Path, ...]) -> None:
    inputs = prepared(paths)
    torch.manual_seed(3)
    network = settle(torchvision.models.mobilenet_v3_small(num_classes=1000), inputs, spread=3.5)
    options = {"dynamo": True, "external_data": True, "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    export(network, inputs[:2], folder / "model.onnx", **options, verbose=False)
    assert (folder / "model.onnx.data").exists()
    save_reference(folder, probabilities(network, inputs))
    write_labels(folder, 1000)


def grey(folder: Path, paths: tuple[Path, ...]) -> None:
    steps = [transforms.Grayscale(), transforms.Resize((48, 64)), transforms.ToTensor()]
    inputs = prepared(paths, transforms.Compose([*steps, transforms.Normalize((0.1307,), (0.3081,))]))
    torch.manual_seed(4)
    network = nn.Sequential(
        *[nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Flatten(), nn.Dropout(), nn.Linear(64 * 12 * 16, 128), nn.ReLU(), nn.Linear(128, 10)],
    )
    settle(network, inputs)
    export(network, inputs[:1], folder / "model.onnx", dynamic_axes={"input": {0: "N"}, "output": {0: "N"}})
    save_reference(folder, probabilities(network, inputs))
    write_labels(folder, 10)


def training(folder: Path, paths: tuple[Path, ...]) -> None:
    inputs = prepared(paths)
    torch.manual_seed(5)
    network = settle(torchvision.models.mnasnet0_5(num_classes=CLASSES), inputs)
    options = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    # Tracing in training mode changes the running statistics, so it gets a copy.
    export(copy.deepcopy(network), inputs[:8], folder / "model.onnx", dynamic_axes=axes, **options)
    save_reference(folder, probabilities(network, inputs))
    write_labels(folder, CLASSES)


@functools.cache
def shufflenet(inputs: Tensor) -> nn.Module:
    torch.manual_seed(6)
    return settle(torchvision.models.shufflenet_v2_x0_5(num_classes=CLASSES), inputs)


def half(folder: Path, paths: tuple[Path, ...]) -> None:
    inputs = prepared(paths)
    network = copy.deepcopy(shufflenet(inputs)).half()
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    export(network, inputs[:1].half(), folder / "model.onnx", dynamic_axes=axes)
    save_reference(folder, probabilities(network, inputs.half()))
    write_labels(folder, CLASSES)


def converted_to_float16(folder: Path, paths: tuple[Path, ...]) -> None:
    inputs = prepared(paths)
    network = shufflenet(inputs)
    file = folder / "model.onnx"
    export(network, inputs[:1], file, dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
    onnx.save(float16.convert_float_to_float16(onnx.load(file)), file)
    save_reference(folder, probabilities(network, inputs))
    write_labels(folder, CLASSES)


def score_map(folder: Path, paths: tuple[Path, ...]) -> None:
    inputs = prepared(paths)
    torch.manual_seed(7)
    network = settle(torchvision.models.squeezenet1_1(num_classes=CLASSES), inputs, spread=4)
    network = nn.Sequential(network.features, network.classifier)  # without its flatten
    options = {"dynamo": True, "external_data": False, "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    export(network, inputs[:2], folder / "model.onnx", **options, verbose=False)
    save_reference(folder, probabilities(network, inputs))
    write_labels(folder, CLASSES)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        {
            "torch-resnet18": resnet18_any_batch,
            "torch-resnet18_batch1": resnet18_batch1,
            "torch-mobilenet_v3": mobilenet_v3,
            "torch-grey": grey,
            "torch-training": training,
            "torch-zoo": zoo,
            "torch-half": half,
            "torch-float16": converted_to_float16,
            "torch-map": score_map,
        },
    )
