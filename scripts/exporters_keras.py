"""Makes the files of Keras. For `scripts/exporters`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from exporters_common import main, save_reference, softmax, write_labels
from keras import layers
from numpy import ndarray

CLASSES = 50


def settle(network: keras.Model, inputs: ndarray, spread: float = 2.0) -> keras.Model:
    """As `settle` in exporters_weights.py."""
    random = np.random.default_rng(1)
    norms = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for layer in network.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)) and layer.kernel.shape[0] > 1:
            kernel = np.asarray(layer.get_weights()[0])
            means = random.normal(0, 3 * kernel.std(), kernel.shape[2:])
            layer.set_weights([0.3 * kernel + means, *layer.get_weights()[1:]])
    for norm in norms:
        norm.gamma.assign(random.uniform(0.5, 1, norm.gamma.shape))
        norm.beta.assign(random.normal(1, 0.3, norm.beta.shape))
        norm.momentum = 0.0  # the statistics of the one batch
    network(inputs[:50], training=True)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    head = network.layers[-1]
    features = keras.Model(network.inputs, head.input).predict(inputs, verbose=0)
    weights, bias = (np.asarray(values) for values in head.get_weights())
    logits = features @ weights + bias
    scale = spread / logits.std(0)
    bias = (bias - logits.mean(0)) * scale + random.normal(0, spread / 4, scale.shape)
    head.set_weights([weights * scale, bias])
    return network


def loaded(paths: tuple[Path, ...], **options: str) -> ndarray:
    images = [keras.utils.load_img(path, target_size=(224, 224), **options) for path in paths]
    return np.stack([keras.utils.img_to_array(image) for image in images])


def save(folder: Path, network: keras.Model, inputs: ndarray, logits: bool = False, command: bool = False) -> None:
    """Exports by Keras, or through a SavedModel by the command of tf2onnx."""
    settle(network, inputs)
    scores = network.predict(inputs, verbose=0)
    save_reference(folder, softmax(scores) if logits else scores)
    file = folder / "model.onnx"
    if command:
        with tempfile.TemporaryDirectory() as saved:
            network.export(saved, format="tf_saved_model", verbose=False)
            convert = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", saved, "--output", file]
            subprocess.run(convert, check=True)
    else:
        network.export(file, format="onnx", verbose=False)
    write_labels(folder, CLASSES)


def own_network(activation: str | None = "softmax", rescale: bool = False) -> keras.Model:
    """A small residual network."""
    given = keras.Input((224, 224, 3))
    x = layers.Rescaling(1 / 255)(given) if rescale else given
    x = layers.Conv2D(24, 7, strides=2, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for channels in (48, 96, 192):
        shortcut = layers.BatchNormalization()(layers.Conv2D(channels, 1, strides=2, use_bias=False)(x))
        x = layers.ZeroPadding2D()(x)
        x = layers.Conv2D(channels, 3, strides=2, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("swish")(layers.Add()([x, shortcut]))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(given, layers.Dense(CLASSES, activation=activation)(x))


def mobilenet_v2(folder: Path, paths: tuple[Path, ...]) -> None:
    keras.utils.set_random_seed(41)
    network = keras.applications.MobileNetV2(weights=None, alpha=0.5, classes=CLASSES)
    images = loaded(paths, interpolation="bilinear")
    save(folder, network, keras.applications.mobilenet_v2.preprocess_input(images))


def caffe(folder: Path, paths: tuple[Path, ...]) -> None:
    keras.utils.set_random_seed(42)
    save(folder, own_network(), keras.applications.resnet.preprocess_input(loaded(paths)))


def efficientnet_b0(folder: Path, paths: tuple[Path, ...]) -> None:
    keras.utils.set_random_seed(43)
    network = keras.applications.EfficientNetB0(weights=None, classes=CLASSES)
    save(folder, network, loaded(paths), command=True)


def more_inputs(folder: Path, paths: tuple[Path, ...]) -> None:
    """The mean and deviation of a Normalization layer become inputs of the file, which no longer has their values."""
    keras.utils.set_random_seed(46)
    x = given = keras.Input((224, 224, 3))
    x = layers.Normalization(mean=[120.0, 110, 100], variance=[3600.0, 3500, 3700])(x)
    x = layers.Conv2D(16, 7, strides=4, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    save(folder, keras.Model(given, x), loaded(paths))


def dataset(folder: Path, paths: tuple[Path, ...]) -> None:
    keras.utils.set_random_seed(44)
    options = {"labels": None, "shuffle": False, "image_size": (224, 224), "verbose": False}
    batches = keras.utils.image_dataset_from_directory(paths[0].parent, **options)
    inputs = np.concatenate([batch.numpy() for batch in batches])
    save(folder, own_network(activation=None, rescale=True), inputs, logits=True)


def on_torch(folder: Path, paths: tuple[Path, ...]) -> None:
    keras.utils.set_random_seed(45)
    images = loaded(paths, interpolation="bilinear")
    save(folder, own_network(), keras.applications.mobilenet_v2.preprocess_input(images))


if __name__ == "__main__":
    if keras.backend.backend() == "torch":
        main(Path(sys.argv[1]), {"keras-torch": on_torch})
    else:
        makers = {"keras-mobilenet_v2": mobilenet_v2, "keras-caffe": caffe, "keras-efficientnet_b0": efficientnet_b0}
        main(Path(sys.argv[1]), makers | {"keras-dataset": dataset, "keras-inputs": more_inputs})
        # Keras reads its backend when it is imported.
        subprocess.run([sys.executable, *sys.argv], check=True, env=os.environ | {"KERAS_BACKEND": "torch"})
