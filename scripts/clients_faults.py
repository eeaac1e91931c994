"""Sends `deploy serve` good, broken and interrupted requests from 256 clients at once, and checks every answer.

Usage: clients_faults.py DEPLOY MINUTES

Fails at a wrong answer, at an error of the server, and if a request in progress is lost at SIGTERM.
"""

import asyncio
import collections
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

deploy, minutes = sys.argv[1], float(sys.argv[2])
CLIENTS = 256
folder = Path(tempfile.mkdtemp())
shipped = Path("models/pretrained")
counts = collections.Counter()


def png(pixels, width, height):
    """A grey PNG image. Its pixels may be fewer than its size says."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def lines(width, height, numbers):
    """A picture of a few bright lines, as bytes of a PNG's rows."""
    rows = [bytearray(width) for _ in range(height)]
    for _ in range(numbers.randint(1, 3)):
        x, y, dx, dy = numbers.uniform(8, 20), 5.0, numbers.uniform(-0.4, 0.4), 1.0
        for _ in range(18):
            for ink in (0, 1):
                rows[int(y)][min(max(int(x) + ink, 0), width - 1)] = 255
            x, y = x + dx, y + dy
    return b"".join(b"\0" + row for row in rows), [value for row in rows for value in row]


def post(path, body, headers=()):
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "Connection: close", "", ""]
    return "\r\n".join(head).encode() + body


def infer(data, shape):
    tensor = {"name": "image", "shape": shape, "datatype": "UINT8", "data": data}
    return post("/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode())


async def ask(request, pieces=1, pause=0.0):
    """The status and the body of an answer. `None` if the server ended the connection without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        step = -(-len(request) // pieces)
        for start in range(0, len(request), step):
            writer.write(request[start : start + step])
            await writer.drain()
            await asyncio.sleep(pause)
        text = await reader.read()
    except ConnectionError:
        return None, b""
    finally:
        writer.close()
    if not text:
        return None, b""
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def leave(request, after):
    """Sends a part of a request, waits, and goes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await asyncio.sleep(after)
    writer.close()


numbers = random.Random(1)
pictures = [lines(28, 28, numbers) for _ in range(20)]
images = [png(rows, 28, 28) for rows, _ in pictures]
# A bar, large enough to take long.
row = b"\0" + bytes(1400) + bytes([255]) * 200 + bytes(1400)
large = png((b"\0" + bytes(3000)) * 500 + row * 2000 + (b"\0" + bytes(3000)) * 500, 3000, 3000)
hostile = [
    (b"", 400),
    (b"not an image", 422),
    (images[0][:60], 422),
    (png(b"", 60000, 60000), 422),
    (png(b"\0" * 100, 5000, 5000), 422),
    (b"\xff\xd8\xff\xe0" + os.urandom(5000), 422),
    (b"P5 99999 99999 255\n", 422),
]
tensors = [
    infer([0], [1, 1, 28, 28]),
    infer([0] * 784, [1, 1, 28, 28 << 40]),
    infer([300] * 784, [1, 1, 28, 28]),
    infer([], [0, 1, 28, 28]),
    post("/v2/models/digits/infer", b"[" * 100_000),
    post("/v2/models/digits/infer", b"{}", ["Inference-Header-Content-Length: 999999999999"]),
]


def answer(body):
    return json.loads(body)["predictions"][0]["top"]


def same(one, other):
    """Whether two answers agree. On some processors, images that run together are rounded in another way."""
    labels = [[each["label"] for each in answer] for answer in (one, other)]
    return labels[0] == labels[1] and all(abs(a["probability"] - b["probability"]) < 1e-5 for a, b in zip(one, other))


async def client(number, until):
    own = random.Random(number)
    while time.monotonic() < until:
        kind = own.choices(
            ["image", "tensor", "reloaded", "slow", "hostile image", "hostile tensor", "half", "gone", "noise"],
            [30, 15, 15, 3, 10, 10, 8, 6, 3],
        )[0]
        which = own.randrange(len(images))
        status = body = None
        try:
            if kind == "image":
                status, body = await ask(post("/predict?model=digits", images[which]))
                assert status != 200 or same(answer(body), expected["digits"][which]), "a wrong answer"
            elif kind == "tensor":
                status, body = await ask(infer(pictures[which][1], [1, 1, 28, 28]))
                if status == 200:
                    found = json.loads(body)["outputs"][0]["data"]
                    assert all(abs(a - b) < 1e-4 for a, b in zip(found, logits[which], strict=True)), "wrong logits"
            elif kind == "reloaded":
                status, body = await ask(post("/predict?model=changing", images[which]))
                known = [expected["digits"][which], expected["fashion"][which]]
                assert status != 200 or any(same(answer(body), each) for each in known), "an answer of neither model"
            elif kind == "slow":
                status, body = await ask(post("/predict?model=digits", images[which]), 20, 0.1)
                assert status != 200 or same(answer(body), expected["digits"][which]), "a wrong answer"
            elif kind == "hostile image":
                bad, wanted = own.choice(hostile)
                status, body = await ask(post("/predict", bad))
                assert status in (wanted, 503), f"{wanted} expected"
            elif kind == "hostile tensor":
                status, body = await ask(own.choice(tensors))
                assert status in (400, 503), "400 expected"
            elif kind == "half":
                request = post("/predict", images[which])
                await leave(request[: own.randrange(len(request))], own.uniform(0, 2))
            elif kind == "gone":
                await leave(post("/predict", own.choice([images[which], large])), 0)
            else:
                status, body = await ask(os.urandom(own.randrange(1, 3000)) + b"\r\n\r\n")
                assert status in (None, 400, 408, 414, 431), "400 expected"
            if kind in ("image", "tensor", "reloaded", "slow"):
                assert status in (200, 503), "no answer"
        except (AssertionError, ValueError, KeyError, IndexError) as error:
            raise SystemExit(f"{kind}: {error}: {status} {(body or b'')[:300]}")
        counts[kind, status] += 1


async def change(until):
    """Replaces a model's file again and again, now and then by a broken one."""
    for number in range(10**9):
        if time.monotonic() > until:
            return
        new = folder / "new.onnx"
        if number % 5 == 4:
            new.write_bytes(b"broken")
        else:
            shutil.copy(shipped / f"{['mnist', 'fashion'][number % 2]}-quick.onnx", new)
        new.rename(folder / "changing.onnx")
        counts["reloads", None] += 1
        await asyncio.sleep(2)


def resident():
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


async def measure(until):
    """Seconds and MiB, once per second, and at least three times: a slope takes two in the second half."""
    began, sizes = time.monotonic(), []
    while time.monotonic() < until or len(sizes) < 3:
        sizes.append((time.monotonic() - began, resident()))
        await asyncio.sleep(1)
    return sizes


def slope(sizes):
    """MiB per minute, by least squares."""
    count = len(sizes)
    x, y = sum(one for one, _ in sizes) / count, sum(other for _, other in sizes) / count
    return 60 * sum((one - x) * (other - y) for one, other in sizes) / sum((one - x) ** 2 for one, _ in sizes)


async def metric(name):
    _, text = await ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    lines = [line for line in text.decode().splitlines() if line.startswith(f'{name}{{model="digits"}}')]
    return float(lines[0].split()[1]) if lines else 0


async def main():
    global expected, logits
    # What the server says while nothing else goes on. `predict` says the same, as its tests know.
    ask_all = lambda model: asyncio.gather(*(ask(post(f"/predict?model={model}", image)) for image in images))
    expected = {model: [answer(body) for _, body in await ask_all(model)] for model in ("digits", "fashion")}
    found = [await ask(infer(pixels, [1, 1, 28, 28])) for _, pixels in pictures]
    logits = [json.loads(body)["outputs"][0]["data"] for _, body in found]
    until = time.monotonic() + 60 * minutes
    sizes, *_ = await asyncio.gather(measure(until), change(until), *(client(number, until) for number in range(CLIENTS)))

    # The server must answer all requests that it has received, even after SIGTERM.
    together = await metric("deploy_run_images_sum") / await metric("deploy_run_images_count")
    total = "deploy_images_total"
    before = await metric(total)
    waiting = [asyncio.create_task(ask(post("/predict?model=digits", large))) for _ in range(64)]
    while await metric(total) < before + 64:
        await asyncio.sleep(0.01)
    server.send_signal(signal.SIGTERM)
    ended = collections.Counter(status for status, _ in await asyncio.gather(*waiting))
    assert ended == {200: 64}, f"at SIGTERM: {ended}"
    assert server.wait(40) == 0
    half = sizes[len(sizes) // 2 :]
    for (kind, status), count in sorted(counts.items(), key=str):
        print(f"  {kind:15} {status or '':>4} {count:8}")
    print(
        f"faults: {sum(counts.values())} in {minutes:g} minutes from {CLIENTS} clients, no wrong answer ({together:.1f} images"
        f" per run); 64 of 64 answered after SIGTERM; memory {sizes[0][1]:.0f} MiB at first, {half[0][1]:.0f} at half-time, {sizes[-1][1]:.0f} at the end:"
        f" {slope(half):+.2f} MiB per minute in the second half"
    )


shutil.copy(shipped / "mnist-quick.onnx", folder / "changing.onnx")
models = [f"digits={shipped}/mnist-quick.onnx", f"fashion={shipped}/fashion-quick.onnx", f"changing={folder}/changing.onnx"]
command = [deploy, "serve", "--listen", "127.0.0.1:0", "--log", "quiet"]
command += [argument for model in models for argument in ("--model", model)]
server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
said = []
try:
    while not (said and said[-1].startswith("serving")):
        said.append(server.stderr.readline())
        assert said[-1], f"the server ended: {said}"
    port = int(said[-1].rsplit(":", 1)[1])
    asyncio.run(main())
    log = server.stderr.read()
    assert "worker" not in log and "panic" not in log, log
finally:
    server.kill()
    shutil.rmtree(folder)
