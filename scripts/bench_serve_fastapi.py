"""The baseline for `deploy serve`: the same model as usually served in Python. Called by `scripts/bench serve`."""

import io

import numpy
import onnxruntime
from fastapi import FastAPI, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(
    "models/pretrained/mnist-quick.onnx", options, providers=["CPUExecutionProvider"]
)
app = FastAPI()


def classify(images):
    (probabilities,) = session.run(["probabilities"], {"image": images})
    return probabilities


def classify_file(body):
    image = Image.open(io.BytesIO(body)).convert("L").resize((28, 28), Image.Resampling.BILINEAR)
    return classify(numpy.asarray(image)[None, None])


@app.get("/v2/health/live")
async def live():
    return {"live": True}


@app.post("/predict")
async def predict(request: Request):
    (probabilities,) = await run_in_threadpool(classify_file, await request.body())
    best = probabilities.argsort()[::-1][:3]
    return {"top": [{"class": int(place), "probability": float(probabilities[place])} for place in best]}


@app.post("/v2/models/mnist-quick/infer")
async def infer(request: Request):
    (tensor,) = (await request.json())["inputs"]
    images = numpy.array(tensor["data"], numpy.uint8).reshape(tensor["shape"])
    probabilities = await run_in_threadpool(classify, images)
    return {"outputs": [{"name": "probabilities", "shape": probabilities.shape, "data": probabilities.ravel().tolist()}]}
