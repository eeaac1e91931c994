"""Draws the images from which the pretrained bodies learn. For `scripts/pretrained`.

Usage: pretrained_images.py PICTURES FOLDER

Each picture with a transparent background becomes a class (Dosovitskiy et al., arXiv 1406.6909) and is shown in eight
scenes, seven in FOLDER/train and one in FOLDER/test: at a random place, size and angle, in changed colours, on gradients,
coloured noise, fractals (Kataoka et al., arXiv 2101.08515) or parts of other pictures.
"""

import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SIDE = 96
VIEWS = 8
TEXTURE = 160

uniform = random.uniform
numbers = np.random.default_rng(2)


def gradient() -> Image.Image:
    rows, columns = random.choice([1, 2, 3, 4, 6]), random.choice([1, 2, 3, 4, 6])
    colour = np.array([random.randint(0, 255) for _ in range(3)])
    spread = uniform(0, 120)
    grid = [[[uniform(-1, 1) * spread for _ in range(3)] for _ in range(columns)] for _ in range(rows)]
    cells = np.clip(colour + np.array(grid), 0, 255).astype(np.uint8)
    return Image.fromarray(cells).resize((SIDE, SIDE), Image.BICUBIC)


def noise() -> Image.Image:
    """Coloured noise whose amplitude falls with frequency, as in photographs."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TEXTURE), np.fft.fftfreq(TEXTURE)))
    frequency[0, 0] = 1 / TEXTURE
    exponent = uniform(0.8, 2.2)
    plane = lambda: np.fft.ifft2(np.fft.fft2(numbers.normal(size=(TEXTURE, TEXTURE))) / frequency**exponent).real
    grey, channels = plane(), []
    for _ in range(3):
        own = plane()
        channels.append(grey / grey.std() + own / own.std() * uniform(0, 0.6))
    values = np.stack(channels, -1) * uniform(10, 60) + np.array([uniform(30, 225) for _ in range(3)])
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def fractal() -> Image.Image:
    """The attractor of a random iterated function system, in one colour on another."""
    while True:
        count = random.randint(2, 6)
        maps, shifts = numbers.uniform(-1, 1, (count, 2, 2)), numbers.uniform(-1, 1, (count, 2))
        if np.all(np.linalg.norm(maps, 2, axis=(1, 2)) < 0.95):
            break
    weights = np.abs(np.linalg.det(maps)) + 1e-3
    points, kept = np.zeros((4000, 2)), []
    for step in range(40):
        chosen = numbers.choice(count, 4000, p=weights / weights.sum())
        points = np.einsum("nij,nj->ni", maps[chosen], points) + shifts[chosen]
        if step > 10:
            kept.append(points)
    points = np.concatenate(kept)
    low, high = np.percentile(points, 1, 0), np.percentile(points, 99, 0)
    cells = ((points - low) / np.maximum(high - low, 1e-6) * (TEXTURE - 1)).astype(int)
    cells = cells[((cells >= 0) & (cells < TEXTURE)).all(1)]
    density = np.zeros((TEXTURE, TEXTURE))
    np.add.at(density, (cells[:, 1], cells[:, 0]), 1)
    density = np.clip(density / max(1, np.percentile(density[density > 0], 80)), 0, 1)[..., None]
    ink, paper = (np.array([uniform(0, 255) for _ in range(3)]) for _ in range(2))
    return Image.fromarray((ink * density + paper * (1 - density)).astype(np.uint8))


def part(image: Image.Image) -> Image.Image:
    side = int(uniform(0.3, 1) * min(image.size))
    left, top = random.randint(0, image.width - side), random.randint(0, image.height - side)
    cut = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.BILINEAR)
    return cut.transpose(Image.FLIP_LEFT_RIGHT) if random.random() < 0.5 else cut


def ground(textures: list[Image.Image], recent: list[Image.Image]) -> Image.Image:
    kind = random.random()
    if kind < 0.35 or not recent:
        return gradient()
    if kind < 0.75:
        return part(random.choice(textures))
    image, other = gradient(), random.choice(recent)
    factor = SIDE * uniform(1.2, 3) / min(other.size)
    if other.width * other.height * factor * factor < 400_000:
        other = other.resize((round(other.width * factor), round(other.height * factor)), Image.BILINEAR)
    else:
        other = other.resize((300, 300))
    corner = -random.randint(0, max(0, other.width - SIDE)), -random.randint(0, max(0, other.height - SIDE))
    image.paste(other, corner, other)
    return image


def scene(picture: Image.Image, background: Image.Image) -> Image.Image:
    factor = SIDE * uniform(0.4, 1.2) / max(picture.size)
    stretch = math.exp(uniform(-0.2, 0.2))
    size = max(6, round(picture.width * factor * stretch)), max(6, round(picture.height * factor / stretch))
    thing = picture.resize(size, Image.BICUBIC, reducing_gap=2)
    if random.random() < 0.5:
        thing = thing.transpose(Image.FLIP_LEFT_RIGHT)
    thing = thing.rotate(max(-45, min(45, random.gauss(0, 15))), expand=True, resample=Image.BICUBIC)
    place = lambda free: round(free / 2 + uniform(-1, 1) * (abs(free) / 2) + uniform(-0.08, 0.08) * SIDE)
    background.paste(thing, (place(SIDE - thing.width), place(SIDE - thing.height)), thing)
    for change, low, high in (
        (ImageEnhance.Brightness, 0.6, 1.4),
        (ImageEnhance.Contrast, 0.6, 1.4),
        (ImageEnhance.Color, 0.3, 1.6),
    ):
        background = change(background).enhance(uniform(low, high))
    if random.random() < 0.15:
        background = background.filter(ImageFilter.GaussianBlur(uniform(0.5, 1.5)))
    return background


def pictures(folder: Path) -> Iterator[Image.Image]:
    """The pictures that are large enough and not nearly empty. Of equal ones, only the first."""
    seen = set()
    for path in sorted(folder.rglob("*.png")):
        if "duplicates" in str(path):
            continue
        try:
            picture = Image.open(path).convert("RGBA")
        except (OSError, ValueError):
            continue
        box = picture.getchannel("A").point(lambda level: 255 * (level > 40)).getbbox()
        if not box:
            continue
        picture = picture.crop(box)
        if min(picture.size) < 24 or max(picture.size) < 48 or max(picture.size) / min(picture.size) > 4:
            continue
        picture.thumbnail((150, 150), Image.LANCZOS)
        if (np.asarray(picture.getchannel("A")) > 128).mean() < 0.08:
            continue
        flat = Image.new("RGB", picture.size, (255, 255, 255))
        flat.paste(picture, (0, 0), picture)
        look = (np.asarray(flat.resize((8, 8), Image.BOX)) // 24).tobytes()
        if look not in seen:
            seen.add(look)
            yield picture


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    random.seed(1)
    # Some pictures have more pixels than Pillow allows by default.
    Image.MAX_IMAGE_PIXELS = None
    textures = [noise() for _ in range(400)] + [fractal() for _ in range(300)]
    recent: list[Image.Image] = []
    for number, picture in enumerate(pictures(source)):
        recent = [*recent, picture][-200:]
        for view in range(VIEWS):
            folder = target / ("test" if view == VIEWS - 1 else "train") / f"{number:05}"
            folder.mkdir(parents=True, exist_ok=True)
            scene(picture, ground(textures, recent)).save(folder / f"{view}.jpg", quality=90)


if __name__ == "__main__":
    main()
