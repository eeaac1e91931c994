"""Makes the files of ultralytics' classifiers. For `scripts/exporters`."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from exporters_common import labels, main, save_reference
from exporters_weights import settle
from PIL import Image
from ultralytics import YOLO
from ultralytics.data.augment import classify_transforms
from ultralytics.nn.tasks import ClassificationModel

CLASSES = 20


def make(folder: Path, paths: tuple[Path, ...], name: str, pixels: int) -> None:
    torch.manual_seed(21)
    made = YOLO(f"{name}.yaml")
    task = {"task": made.model.task, "args": made.model.args}
    made.model = ClassificationModel(f"{name}.yaml", nc=CLASSES, verbose=False)
    vars(made.model).update(task)
    made.model.names = dict(enumerate(labels(CLASSES)))
    transform = classify_transforms(pixels)
    settle(made.model, torch.stack([transform(Image.open(path).convert("RGB")) for path in paths]), spread=1.5)
    weights = folder / "model.pt"
    made.save(weights)  # in fp16, so that both of the following begin with the same
    reference = YOLO(weights)
    results = [reference.predict(path, imgsz=pixels, device="cpu", verbose=False)[0] for path in paths]
    save_reference(folder, np.stack([result.probs.data.numpy() for result in results]))
    YOLO(weights).export(format="onnx", imgsz=pixels, device="cpu")
    weights.unlink()


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        {
            "ultralytics-yolo11n": partial(make, name="yolo11n-cls", pixels=224),
            "ultralytics-yolov8n_128": partial(make, name="yolov8n-cls", pixels=128),
        },
    )
