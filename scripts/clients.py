"""Asks a server for the same tensors with tritonclient and kserve, as JSON and as bytes.

Usage: clients.py ADDRESS FILE

Writes the server's OpenAPI description to FILE, with the name and the input of its first model.
"""

import asyncio
import itertools
import json
import sys
import urllib.request

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

address, description = sys.argv[1:]


def load(path):
    with urllib.request.urlopen(address + path) as response:
        return json.load(response)


client = triton.InferenceServerClient(address.removeprefix("http://"))
assert client.is_server_live() and client.is_server_ready()
(entry,) = client.get_model_repository_index()
name = entry["name"]
assert client.is_model_ready(name) and client.is_model_ready(name, "1")
(tensor,) = client.get_model_metadata(name)["inputs"]
shape = [5, *tensor["shape"][1:]]
images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)

answers = []
wanted = (None, ["probabilities"], ["logits", "probabilities"])
for binary_in, binary_out, names, coding in itertools.product(
    (True, False), (True, False), wanted, (None, "gzip", "deflate")
):
    given = triton.InferInput(tensor["name"], shape, "UINT8")
    given.set_data_from_numpy(images, binary_data=binary_in)
    outputs = names and [triton.InferRequestedOutput(output, binary_data=binary_out) for output in names]
    result = client.infer(
        name, [given], outputs=outputs, request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    assert (result.as_numpy("logits") is None) == (names == ["probabilities"])
    answers.append(result.as_numpy("probabilities"))
first = answers[0]
assert first.shape[0] == 5 and np.allclose(first.sum(1), 1, atol=1e-5)
assert all((answer == first).all() for answer in answers), "answers of tritonclient differ"
try:
    client.infer("missing", [given])
    raise SystemExit("a missing model was found")
except triton.InferenceServerException as error:
    assert "no model is named 'missing'" in error.message(), error
print(f"tritonclient: {len(answers)} requests, JSON and binary, the same bits")


async def ask_with_kserve():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(address) and await client.is_server_ready(address)
    assert await client.is_model_ready(address, name)
    for binary in (True, False):
        given = InferInput(tensor["name"], shape, "UINT8")
        given.set_data_from_numpy(images, binary_data=binary)
        request = InferRequest(model_name=name, infer_inputs=[given])
        answer = await client.infer(address, request, model_name=name)
        (found,) = [output.as_numpy() for output in answer.outputs if output.name == "probabilities"]
        assert (found == first).all(), "answers of kserve differ"
    print("kserve: 2 requests, JSON and binary, the same bits as tritonclient's")


asyncio.run(ask_with_kserve())

api = load("/openapi.json")
api["components"]["parameters"]["model"]["schema"] = {"enum": [name, "missing"]}
properties = api["components"]["schemas"]["InferRequest"]["properties"]["inputs"]["items"]["properties"]
properties["name"] = {"const": tensor["name"]}
with open(description, "w") as file:
    json.dump(api, file)
