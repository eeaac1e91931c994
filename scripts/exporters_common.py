"""Photographs, random weights that tell them apart, and the writing of a case. For `scripts/exporters`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from numpy import ndarray
from PIL import Image

IMAGES = 100
# Photographs in the wheels of scikit-image and scikit-learn.
PHOTOGRAPHS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg"]
PHOTOGRAPHS += ["hubble_deep_field.jpg", "ihc.png", "china.jpg", "flower.jpg"]


def sources() -> list[Image.Image]:
    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images"]
    found = [folder / name for name in PHOTOGRAPHS for folder in folders if (folder / name).exists()]
    assert len(found) >= 5, found
    return [Image.open(path).convert("RGB") for path in found]


def photographs(folder: Path) -> tuple[Path, ...]:
    """JPEG files of parts of the photographs: of many sizes, shapes, qualities and colours; every tenth is grey."""
    paths = tuple(folder / f"{number:03}.jpg" for number in range(IMAGES))
    if (folder / "ready").exists():
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    random, originals = np.random.default_rng(1), sources()
    for number, path in enumerate(paths):
        original = originals[number % len(originals)]
        sides = [int(side * random.uniform(0.3, 1)) for side in original.size]
        left, top = (int(random.integers(0, whole - side + 1)) for whole, side in zip(original.size, sides))
        part = original.crop((left, top, left + sides[0], top + sides[1]))
        size = tuple(int(side) for side in np.exp(random.uniform(np.log(90), np.log(900), 2)))
        # Another light, so that red and blue differ from picture to picture.
        part = np.asarray(part.resize(size, Image.LANCZOS)) * random.uniform(0.4, 1.3, 3)
        part = Image.fromarray(part.clip(0, 255).astype(np.uint8))
        quality, subsampling = int(random.integers(60, 98)), int(random.integers(0, 3))
        (part.convert("L") if number % 10 == 9 else part).save(path, quality=quality, subsampling=subsampling)
    (folder / "ready").touch()
    return paths


def softmax(logits: ndarray) -> ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def save_reference(folder: Path, probabilities: ndarray) -> None:
    """Refuses references that could not tell a wrong preparation from a right one."""
    probabilities = np.asarray(probabilities, np.float64)
    assert len(probabilities) == IMAGES and np.allclose(probabilities.sum(1), 1, atol=1e-3), probabilities.sum(1)
    ordered = np.sort(probabilities, 1)
    print(
        f"{folder.name}: {probabilities.shape[1]} classes, {len(set(probabilities.argmax(1)))} of them first; first "
        f"{ordered[:, -1].min():.3f} to {ordered[:, -1].max():.3f}, median {np.median(ordered[:, -1]):.3f}; "
        f"median lead {np.median(ordered[:, -1] - ordered[:, -2]):.3f}",
        flush=True,
    )
    assert len(set(probabilities.argmax(1))) >= 4, "hardly any answers differ"
    assert np.median(ordered[:, -1]) < 0.99, "saturated"
    np.save(folder / "reference.npy", probabilities)


def write_labels(folder: Path, classes: int) -> None:
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels(classes)))


def labels(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


def main(folder: Path, makers: dict[str, Callable[[Path, tuple[Path, ...]], None]]) -> None:
    """Makes every case that a maker's file has."""
    paths = photographs(folder.parent / "images")
    for name, make in makers.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        make(folder / name, paths)
