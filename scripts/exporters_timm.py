"""Makes files of timm, with the config.json that it saves for the Hugging Face hub. For `scripts/exporters`."""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from exporters_common import labels, main, save_reference
from exporters_weights import probabilities, settle
from PIL import Image
from timm.models._hub import save_config_for_hf
from timm.utils.onnx import onnx_export

CLASSES = 100


def make(folder: Path, paths: tuple[Path, ...], name: str, gain: float = 1) -> None:
    torch.manual_seed(11)
    network = timm.create_model(name, num_classes=CLASSES, exportable=True)
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config, is_training=False)
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    settle(network, inputs, gain=gain)
    save_reference(folder, probabilities(network, inputs))
    with warnings.catch_warnings(action="ignore"):
        onnx_export(network, str(folder / "model.onnx"), dynamic_size=False, input_size=config["input_size"])
    save_config_for_hf(network, folder / "config.json", {"label_names": labels(CLASSES)})


if __name__ == "__main__":
    makers: dict[str, Callable[[Path, tuple[Path, ...]], None]] = {
        f"timm-{name}": partial(make, name=name)
        for name in ("inception_next_atto", "repvgg_a0", "mobilenetv3_large_100", "efficientnet_lite0", "convnext_atto")
    }
    main(Path(sys.argv[1]), makers | {"timm-vit_tiny_patch16_224": partial(make, name="vit_tiny_patch16_224", gain=2)})
