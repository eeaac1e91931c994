"""Makes the files of Hugging Face's exporter, optimum. For `scripts/exporters`."""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from exporters_common import labels, main, save_reference, softmax
from exporters_weights import settle
from optimum.exporters.onnx import main_export
from PIL import Image

CLASSES = 20
NAMES = {"id2label": dict(enumerate(labels(CLASSES)))}
NAMES["label2id"] = {name: number for number, name in NAMES["id2label"].items()}


def make(folder: Path, paths: tuple[Path, ...], network: torch.nn.Module, processor: object, gain: float = 1) -> None:
    # One at a time, as the shapes differ.
    inputs = [processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"] for path in paths]
    settle(network, torch.cat(inputs), gain=gain)
    with torch.inference_mode():
        logits = torch.cat([network(pixel_values=values).logits for values in inputs])
    save_reference(folder, softmax(logits.numpy()))
    with tempfile.TemporaryDirectory() as saved, warnings.catch_warnings(action="ignore"):
        network.save_pretrained(saved)
        processor.save_pretrained(saved)
        main_export(saved, folder, task="image-classification", library_name="transformers", local_files_only=True)


def vit(folder: Path, paths: tuple[Path, ...]) -> None:
    torch.manual_seed(31)
    sizes = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 192}
    network = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, **NAMES))
    make(folder, paths, network, transformers.ViTImageProcessor(), gain=3)


def mobilenet_v2(folder: Path, paths: tuple[Path, ...]) -> None:
    torch.manual_seed(32)
    config = transformers.MobileNetV2Config(depth_multiplier=0.5, **NAMES)
    network = transformers.MobileNetV2ForImageClassification(config)
    make(folder, paths, network, transformers.MobileNetV2ImageProcessor())


def mobilevit(folder: Path, paths: tuple[Path, ...]) -> None:
    torch.manual_seed(33)
    # As apple/mobilevit-xx-small.
    sizes = {"hidden_sizes": [64, 80, 96], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320], "expand_ratio": 2.0}
    network = transformers.MobileViTForImageClassification(transformers.MobileViTConfig(**sizes, **NAMES))
    crop = {"size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}}
    make(folder, paths, network, transformers.MobileViTImageProcessor(**crop))


def convnext(folder: Path, paths: tuple[Path, ...]) -> None:
    torch.manual_seed(34)
    sizes = {"depths": [1, 1, 3, 1], "hidden_sizes": [40, 80, 160, 320], "layer_scale_init_value": 0.5}
    network = transformers.ConvNextForImageClassification(transformers.ConvNextConfig(**sizes, **NAMES))
    # As facebook/convnext-tiny-224, but for the share.
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.9, resample=3)
    make(folder, paths, network, processor)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        {
            "huggingface-vit": vit,
            "huggingface-mobilenet_v2": mobilenet_v2,
            "huggingface-mobilevit": mobilevit,
            "huggingface-convnext": convnext,
        },
    )
