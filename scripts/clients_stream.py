"""Sends a video of ffmpeg to `deploy predict --stream`, and compares the answers with those for its images as files.

Usage: clients_stream.py DEPLOY FFMPEG FOLDER
"""

import json
import subprocess
import sys
from pathlib import Path

deploy, ffmpeg, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
FRAMES = 60
video = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=size=320x240:rate=30:duration={FRAMES / 30}"]


def answers(*arguments, given=None):
    done = subprocess.run([deploy, "predict", *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [(line.get("frame"), line["top"]) for line in lines]


# The same images as a stream, in the forms that cameras use, and as files.
for name, form in [
    ("MJPEG", ["-c:v", "mjpeg", "-f", "image2pipe"]),
    ("PNG", ["-c:v", "png", "-f", "image2pipe"]),
    ("MJPEG over HTTP", ["-c:v", "mjpeg", "-f", "mpjpeg"]),
]:
    stream = subprocess.run([*video, *form, "-"], capture_output=True, check=True).stdout
    ending = "png" if name == "PNG" else "jpg"
    codec = form[:2]
    subprocess.run([*video, *codec, "-f", "image2", folder / f"{form[-1]}-%03d.{ending}"], check=True)
    files = answers(*sorted(folder.glob(f"{form[-1]}-*.{ending}")), "--format", "jsonl")
    assert len(files) == FRAMES
    found = answers("--stream", "-", given=stream)
    assert found == [(number, top) for number, (_, top) in enumerate(files, 1)], f"{name}: answers differ"
    third = answers("--stream", "-", "--every", "3", given=stream)
    assert third == found[::3], f"{name}: --every 3"

# A camera that is faster than the model: images are skipped, and the last one is answered.
camera = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=1000:duration=0.3"]
with subprocess.Popen([*camera, "-c:v", "mjpeg", "-f", "image2pipe", "-"], stdout=subprocess.PIPE) as sending:
    command = [deploy, "predict", "--stream", "-", "--latest"]
    lines = subprocess.run(command, stdin=sending.stdout, capture_output=True, check=True).stdout.splitlines()
numbers = [json.loads(line)["frame"] for line in lines]
assert numbers == sorted(set(numbers)) and numbers[-1] == 300, numbers
print(f"ffmpeg: {FRAMES} images as MJPEG, PNG and over HTTP, answered as files; --latest answered {len(numbers)} of 300")
