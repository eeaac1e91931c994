"""The cases of `scripts/exporters`: what is typed for each file, and what should come of it. Needs only Python."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    name: str  # begins with its maker: exporters_MAKER.py
    exporter: str  # {package} stands for the version of a package
    network: str
    flags: str  # as the owner would type them in the folder of the file
    expected: str = "adopted"  # or "refused", or "either", where only what happens is shown
    of: str = ""  # the case whose file it adopts; default: its own
    limit: float = 1e-3  # largest difference of a probability
    reason: str = ""  # of another limit
    without: tuple[str, ...] = ()  # backends that may fail to run it

    @property
    def folder(self) -> str:
        return self.of or self.name

    @property
    def maker(self) -> str:
        return self.folder.split("-")[0]


IMAGENET = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
CROP = "--size 224 --fit crop --crop 0.875 --resize bilinear --antialias yes"
# What torchvision's `ImageClassification` does.
TORCHVISION = f"--layout nchw --color rgb --scale 1/255 {IMAGENET} {CROP} --labels labels.txt"
# What keras.utils.load_img does.
SQUASH = "--layout nhwc --size 224 --fit squash --labels labels.txt"
KERAS_TF = "--color rgb --scale 1/127.5 --mean 1,1,1 --std 1,1,1"
KERAS_CAFFE = "--color bgr --scale 1 --mean 103.939,116.779,123.68 --std 1,1,1"
KERAS_RAW = "--color rgb --scale 1 --mean 0,0,0 --std 1,1,1"

TORCHSCRIPT = "torch.onnx {torch}, TorchScript"
DYNAMO = "torch.onnx {torch}, dynamo"
KERAS = "keras {keras}, tf2onnx {tf2onnx}"
OPTIMUM = "optimum-onnx {optimum-onnx}, transformers {transformers}"

CASES = [
    Case("torch-resnet18", TORCHSCRIPT, "resnet18, any batch", f"{TORCHVISION} --scores logits"),
    Case("torch-resnet18_batch1", TORCHSCRIPT, "resnet18, batch of 1", f"{TORCHVISION} --scores logits"),
    Case("torch-mobilenet_v3", DYNAMO, "mobilenet_v3_small, weights in another file", f"{TORCHVISION} --scores logits"),
    Case(
        "torch-grey",
        TORCHSCRIPT,
        "own network, greyscale",
        "--layout nchw --color grey --scale 1/255 --mean 0.1307 --std 0.3081 --size 64x48 --fit squash"
        " --resize bilinear --antialias yes --labels labels.txt --scores logits",
    ),
    Case("torch-training", TORCHSCRIPT, "mnasnet0_5, exported in training mode", f"{TORCHVISION} --scores logits"),
    Case("torch-zoo", f"{TORCHSCRIPT}, opset 9", "resnet18, batch of 1", f"{TORCHVISION} --scores logits"),
    Case(
        "torch-half",
        f"{TORCHSCRIPT}, model.half()",
        "shufflenet_v2_x0_5, fp16 in and out",
        f"{TORCHVISION} --scores logits",
        limit=3e-2,
        reason="computes in fp16",
    ),
    Case(
        "torch-float16",
        "onnxconverter-common {onnxconverter-common}",
        "shufflenet_v2_x0_5, fp16 in and out",
        f"{TORCHVISION} --scores logits",
        limit=3e-2,
        reason="computes in fp16",
    ),
    Case("torch-map", DYNAMO, "squeezenet1_1, scores as [N, classes, 1, 1]", f"{TORCHVISION} --scores logits"),
    Case("timm-inception_next_atto", "timm {timm}", "inception_next_atto", ""),
    Case("timm-repvgg_a0", "timm {timm}", "repvgg_a0", ""),
    Case("timm-mobilenetv3_large_100", "timm {timm}", "mobilenetv3_large_100", ""),
    Case("timm-efficientnet_lite0", "timm {timm}", "efficientnet_lite0", ""),
    Case("timm-vit_tiny_patch16_224", "timm {timm}", "vit_tiny_patch16_224", ""),
    Case("timm-convnext_atto", "timm {timm}", "convnext_atto", ""),
    Case(
        "keras-mobilenet_v2",
        KERAS,
        "MobileNetV2, 'tf' preparation, bilinear",
        f"{SQUASH} {KERAS_TF} --resize bilinear --antialias yes --scores probabilities",
    ),
    Case(
        "keras-caffe",
        KERAS,
        "own network, 'caffe' preparation, nearest",
        f"{SQUASH} {KERAS_CAFFE} --resize nearest --antialias no --scores probabilities",
    ),
    Case(
        "keras-efficientnet_b0",
        "tf2onnx {tf2onnx} --saved-model, keras {keras}",
        "EfficientNetB0, 0 to 255, nearest",
        f"{SQUASH} {KERAS_RAW} --resize nearest --antialias no --scores probabilities",
    ),
    Case(
        "keras-inputs",
        KERAS,
        "own network, whose Normalization became inputs",
        f"{SQUASH} {KERAS_RAW} --resize nearest --antialias no --scores probabilities",
        expected="refused",
    ),
    Case(
        "keras-dataset",
        KERAS,
        "own network, image_dataset_from_directory",
        f"{SQUASH} {KERAS_RAW} --resize bilinear --antialias no --scores logits",
        limit=8e-2,
        reason="TensorFlow decodes JPEG with its fast transform: values differ by up to 17",
    ),
    Case(
        "keras-torch",
        "keras {keras} on torch {torch}",
        "own network, 'tf' preparation, bilinear",
        f"{SQUASH} {KERAS_TF} --resize bilinear --antialias yes --scores probabilities",
    ),
    Case("ultralytics-yolo11n", "ultralytics {ultralytics-opencv-headless}", "yolo11n-cls", ""),
    Case("ultralytics-yolov8n_128", "ultralytics {ultralytics-opencv-headless}", "yolov8n-cls, 128 pixels", ""),
    Case("huggingface-vit", OPTIMUM, "ViT, small", ""),
    Case("huggingface-mobilenet_v2", OPTIMUM, "MobileNetV2", ""),
    Case("huggingface-mobilevit", OPTIMUM, "MobileViT, BGR", ""),
    Case("huggingface-convnext", OPTIMUM, "ConvNext, small, crop_pct", ""),
    Case(
        "sklearn-logistic",
        "skl2onnx {skl2onnx}",
        "LogisticRegression on pixels",
        "--color grey --scale 1/255 --size 16 --fit squash --labels labels.txt",
        expected="refused",
    ),
    Case(
        "sklearn-forest",
        "skl2onnx {skl2onnx}",
        "RandomForestClassifier on pixels",
        "--color rgb --scale 1/255 --size 8 --fit squash --labels labels.txt --output output_probability",
        expected="refused",
    ),
    Case(
        "wrong-bgr",
        TORCHSCRIPT,
        "resnet18, typed BGR for RGB",
        f"{TORCHVISION} --scores logits".replace("rgb", "bgr"),
        expected="either",
        of="torch-resnet18",
    ),
    Case(
        "wrong-nhwc",
        TORCHSCRIPT,
        "resnet18, typed NHWC for NCHW",
        f"{TORCHVISION} --scores logits".replace("nchw", "nhwc"),
        expected="refused",
        of="torch-resnet18",
    ),
    Case(
        "wrong-nchw",
        KERAS,
        "MobileNetV2, typed NCHW for NHWC",
        f"{SQUASH} {KERAS_TF} --resize bilinear --antialias yes --scores probabilities".replace("nhwc", "nchw"),
        expected="refused",
        of="keras-mobilenet_v2",
    ),
    Case(
        "wrong-mean",
        TORCHSCRIPT,
        "resnet18, neither mean nor deviation typed",
        f"{TORCHVISION} --scores logits".replace(IMAGENET, ""),
        expected="either",
        of="torch-resnet18",
    ),
    Case(
        "wrong-scores",
        TORCHSCRIPT,
        "resnet18, typed probabilities for logits",
        f"{TORCHVISION} --scores probabilities",
        expected="refused",
        of="torch-resnet18",
    ),
    Case("wrong-nothing", TORCHSCRIPT, "resnet18, nothing typed", "", expected="refused", of="torch-zoo"),
]


if __name__ == "__main__":
    for case in CASES:
        print(f"{case.name:28} {case.network}\n    {case.flags or '(nothing typed)'}")
