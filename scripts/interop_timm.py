"""Imports random weights of timm's MobileNetV1 with `train import` and compares logits with timm's. For `scripts/interop`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from interop import deploy_logits, print_table, session
from numpy import ndarray
from PIL import Image
from safetensors.torch import save_file
from timm.models.efficientnet import _gen_mobilenet_v1

IMAGES = 100
CLASSES = 1000
# Largest difference of a logit for the same pixels, and for the same file. The second has room for JPEG decoders and
# resizers, which round differently, and for the probabilities that `deploy` prints in place of logits.
SAME_PIXELS, SAME_FILE = 1e-4, 2e-3


def network(width: float) -> torch.nn.Module:
    """timm's network with random weights, norms and running statistics."""
    made = _gen_mobilenet_v1("mobilenetv1_100", width)
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        elif "bn" in name and tensor.is_floating_point():
            tensor.normal_(0, 0.3)
    return made.eval()


def photographs(folder: Path) -> list[Path]:
    """JPEG files of smooth random images, of many sizes."""
    random = np.random.default_rng(1)
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(IMAGES):
        coarse = random.integers(0, 256, (*random.integers(2, 12, 2), 3), np.uint8)
        size = tuple(int(side) for side in random.integers(100, 700, 2))
        paths.append(folder / f"{number:03}.jpg")
        Image.fromarray(coarse).resize(size, Image.BICUBIC).save(paths[-1], quality=int(random.integers(70, 96)))
    return paths


def run(program: str, *arguments: object) -> None:
    done = subprocess.run([os.environ[program], *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"interop: {program.lower()} {' '.join(map(str, arguments))} failed\n{done.stderr}")


def compare(width: float, paths: list[Path], folder: Path) -> tuple[list[list[str]], bool]:
    made, folder = network(width), folder / f"timm-{width}"
    folder.mkdir(exist_ok=True)
    weights, labels, imported = folder / "weights.safetensors", folder / "labels.txt", folder / "run"
    save_file(made.state_dict(), weights)
    labels.write_text("\n".join(f"class {number}" for number in range(CLASSES)))
    run("TRAIN", "import", weights, "--labels", labels, "--out", imported)
    files = {name: imported / f"{name}.onnx" for name in ("fp32", "int8")}
    for precision, file in files.items():
        run("TRAIN", "export", imported, "--data", paths[0].parent, "--precision", precision, "-o", file)
        run("DEPLOY", "parity", file, "--pictures", paths[0].parent)
    seen = folder / "seen"
    run("DEPLOY", "predict", "--model", files["fp32"], "--save-input", seen, *paths)
    inputs = np.stack([np.asarray(Image.open(seen / f"{path.stem}.png")).transpose(2, 0, 1) for path in paths])
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=made))
    with torch.inference_mode():
        same = made(torch.from_numpy(inputs) / 255 * 2 - 1).numpy()
        own = made(torch.stack([transform(Image.open(path)) for path in paths])).numpy()
    rows, agree = [], True

    def add(name: str, logits: ndarray, reference: ndarray, limit: float) -> None:
        nonlocal agree
        largest, spread = np.abs(logits - reference).max(), np.ptp(reference, axis=0).max()
        other = int((logits.argmax(1) != reference.argmax(1)).sum())
        rows.append([f"width {width}", name, f"{largest:.1e}", f"{spread:.1e}", str(other)])
        agree &= bool(largest <= limit)

    add("onnxruntime, same pixels", session(files["fp32"]).run(["logits"], {"image": inputs})[0], same, SAME_PIXELS)
    for backend in ("tract", "ort"):
        for what, reference, limit in (("pixels", same, SAME_PIXELS), ("file", own, SAME_FILE)):
            logits = deploy_logits(files["fp32"], backend, paths, reference)
            add(f"deploy --backend {backend}, same {what}", logits, reference, limit)
    return rows, agree


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    torch.set_num_threads(1)
    paths = photographs(folder / "photographs")
    rows, agree = [["", "", "largest difference", "between images", "answers differ"]], True
    for width in (1.0, 0.5):
        found, holds = compare(width, paths, folder)
        rows += found
        agree &= holds
    print(f"\nlogits of random weights of timm {timm.__version__} through train import, against timm, on {IMAGES} JPEG files\n")
    print_table(rows, 2)
    if not agree:
        sys.exit("\ninterop: logits differ from timm's")


if __name__ == "__main__":
    main()
