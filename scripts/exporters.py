"""Adopts the files of other people's exporters and compares probabilities with theirs. For `scripts/exporters`."""

import argparse
import fnmatch
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from exporters_cases import CASES, Case
from numpy import ndarray

SCRIPTS = Path(__file__).parent


def digest(*files: str) -> str:
    return hashlib.sha256(b"".join((SCRIPTS / file).read_bytes() for file in files)).hexdigest()[:12]


def made(cache: Path, maker: str) -> Path:
    """The folder of a maker's cases. They are made again if the scripts that make them have changed."""
    cache = cache / digest("exporters_common.py", "exporters_weights.py")
    script = f"exporters_{maker}.py"
    folder = cache / f"{maker}-{digest(script)}"
    if (folder / "ready").exists():
        return folder
    print(f"exporters: making the files of {maker} in {folder}", file=sys.stderr, flush=True)
    for old in [*cache.parent.glob("*"), *cache.glob(f"{maker}-*")]:
        if old != cache:
            shutil.rmtree(old)
    folder.mkdir(parents=True)
    log = folder / "log"
    with log.open("w") as output:
        # Each in its own process: two frameworks in one would fight over threads and memory.
        done = subprocess.run([sys.executable, SCRIPTS / script, folder], stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"exporters: {script} failed:\n{log.read_text()[-3000:]}")
    (folder / "ready").touch()
    return folder


def deploy(*arguments: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run([os.environ["DEPLOY"], *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


def predicted(file: Path, backend: str, pictures: list[Path], classes: int) -> ndarray:
    options = ["--model", file, "--backend", backend, "--top-k", str(classes), "--format", "json"]
    probabilities = np.full((len(pictures), classes), np.nan)
    answers = json.loads(deploy("predict", *options, *pictures))["predictions"]
    for row, answer in zip(probabilities, answers, strict=True):
        for score in answer["top"]:
            row[score["class"]] = score["probability"]
    return probabilities


@dataclass
class Outcome:
    case: Case
    refusal: str = ""
    # The worst of all backends that run it.
    same: int = sys.maxsize
    largest: float = 0.0
    # Why a backend does not run it.
    failures: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def try_case(case: Case, folder: Path, file: Path, backends: list[str], images: int) -> Outcome:
    outcome = Outcome(case)
    try:
        deploy("adopt", "model.onnx", "-o", file, *shlex.split(case.flags), folder=folder)
    except RuntimeError as error:
        outcome.refusal = str(error)
        if case.expected == "adopted":
            outcome.wrong.append(f"refused: {error}")
        return outcome
    if case.expected == "refused":
        outcome.wrong.append("adopted, but it should be refused")
    reference = np.load(folder / "reference.npy")[:images]
    pictures = sorted((folder.parent.parent / "images").glob("*.jpg"))[:images]
    ordered, first = np.sort(reference, 1), reference.argmax(1)
    # If every probability may differ by the limit, only a lead of twice that is sure.
    clear = ordered[:, -1] - ordered[:, -2] > 2 * case.limit
    for backend in backends:
        try:
            found = predicted(file, backend, pictures, reference.shape[1])
        except (RuntimeError, IndexError) as error:
            outcome.failures[backend] = str(error)
            if case.expected == "adopted" and backend not in case.without:
                outcome.wrong.append(f"{backend} does not run it: {error}")
            continue
        differs = found.argmax(1) != first
        largest = float(abs(found - reference).max())
        outcome.same = min(outcome.same, int((~differs).sum()))
        outcome.largest = max(outcome.largest, largest)
        if case.expected != "adopted":
            continue
        if (differs & clear).any():
            outcome.wrong.append(f"{backend}: another class comes first for some files")
        if not largest <= case.limit:  # also for NaN
            outcome.wrong.append(f"{backend}: a probability differs by {largest:.1e}, the limit is {case.limit:.0e}")
    return outcome


def first_line(text: str, most: int = 160) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= most else f"{line[: most - 1]}…"


def row(outcome: Outcome) -> list[str]:
    case = outcome.case
    exporter = re.sub(r"\{([^}]+)\}", lambda found: version(found[1]), case.exporter)
    if outcome.refusal:
        reason = outcome.refusal.split("error: ")[-1]
        return [case.name, exporter, case.network, f"refused: {first_line(reason)}", "", "", ""]
    runs = ", ".join(f"not {backend}: {first_line(why, 60)}" for backend, why in outcome.failures.items()) or "all"
    largest = f"{outcome.largest:.0e}" + (f" ({case.reason})" if case.reason else "")
    return [case.name, exporter, case.network, "adopted", runs, str(outcome.same), largest]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--case", action="append")
    parser.add_argument("--backend", action="append")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--make", action="store_true")
    options = parser.parse_args()
    patterns = options.case or ["*"]
    for pattern in patterns:
        if not fnmatch.filter([case.name for case in CASES], pattern):
            print(f"exporters: there is no case '{pattern}' (see scripts/exporters --list)", file=sys.stderr)
            sys.exit(2)
    cases = [case for case in CASES if any(fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)]
    folders = {maker: made(options.cache, maker) for maker in dict.fromkeys(case.maker for case in cases)}
    if options.make:
        print("\n".join(dict.fromkeys(str(folders[case.maker] / case.folder) for case in cases)))
        return
    has = json.loads(deploy("backends", "--format", "json"))["backends"]
    backends = options.backend or [backend["name"] for backend in has if backend["available"]]
    titles = ["case", "exporter", "network", "outcome", "engines", f"same class of {options.images}"]
    for cells in ([*titles, "largest difference"], ["---"] * 7):
        print(f"| {' | '.join(cells)} |")
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        keep.mkdir(parents=True, exist_ok=True)
        for case in cases:
            file = keep / f"{case.name}.onnx"
            file.unlink(missing_ok=True)
            outcome = try_case(case, folders[case.maker] / case.folder, file, backends, options.images)
            print(f"| {' | '.join(row(outcome))} |", flush=True)
            wrong += [f"{case.name}: {problem}" for problem in outcome.wrong]
            if not options.keep:
                file.unlink(missing_ok=True)
    if wrong:
        sys.exit("\nexporters: " + "\nexporters: ".join(wrong))


if __name__ == "__main__":
    main()
