"""Makes files of skl2onnx, which are not image classifiers. For `scripts/exporters`."""

import sys
from pathlib import Path

import numpy as np
import skl2onnx
from exporters_common import main, save_reference, write_labels
from PIL import Image
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

CLASSES = 7


def make(folder: Path, pixels: np.ndarray, model: ClassifierMixin, **options: object) -> None:
    pixels = (pixels.reshape(len(pixels), -1) / 255).astype(np.float32)
    model.fit(pixels, np.arange(len(pixels)) % CLASSES)  # the photograph that the picture is a part of
    save_reference(folder, model.predict_proba(pixels))
    (folder / "model.onnx").write_bytes(skl2onnx.to_onnx(model, pixels[:1], **options).SerializeToString())
    write_labels(folder, CLASSES)


def logistic(folder: Path, paths: tuple[Path, ...]) -> None:
    pixels = np.stack([np.asarray(Image.open(path).convert("L").resize((16, 16))) for path in paths])
    make(folder, pixels, LogisticRegression(C=0.01))


def forest(folder: Path, paths: tuple[Path, ...]) -> None:
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((8, 8))) for path in paths])
    make(folder, pixels, RandomForestClassifier(20, max_depth=4, random_state=1), options={"zipmap": False})


if __name__ == "__main__":
    main(Path(sys.argv[1]), {"sklearn-logistic": logistic, "sklearn-forest": forest})
