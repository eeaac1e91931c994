"""Writes the card of a trained model in Markdown, from the output of the programs. Called by `scripts/pretrained`."""

import csv
import json
import sys
import tomllib
from pathlib import Path

name, recipe, facts = sys.argv[1:4]
figures, inspected, tract, ort = (
    json.loads(Path(facts, f"{part}.json").read_text()) for part in ("figures", "inspected", "tract", "ort")
)
card = inspected["card"]
training, inputs, architecture = card["training"], card["input"], card["architecture"]
with open(f"runs/pretrained/{name}/recipe.toml", "rb") as file:
    used = tomllib.load(file)
held_out = used["hold_out"]
chosen = "the epoch" if used["exported_epoch"] == "best" else "the temperature"
digits = inputs["content"]["kind"] == "digit"

print(f"# {name}\n")
print(f"{'Handwritten digits' if digits else 'Images'} of {inputs['height']}×{inputs['width']} px, "
      f"{len(card['labels'])} classes: {', '.join(card['labels'])}. Made by `scripts/pretrained {name}`.\n")
rows = [
    ("network", f"{architecture['kind']}, width {architecture['width']}, {architecture['resolution']} px, "
                f"first stride {architecture['stem_stride']}"),
    ("trained on", f"{training['data_set']}: "
                   + (f"{training['images']:,} images of the training set; {held_out:,} others were used to choose {chosen}"
                      if held_out else f"all {training['images']:,} images of the training set")),
    ("recipe", f"`{recipe}`, seed {training['seed']}, epoch {training['epochs']}"),
    ("trained with", training["trained_with"]),
    ("test accuracy, tract", f"{100 * tract['accuracy']:.2f} % ({tract['correct']:,} of {tract['images']:,})"),
    ("test accuracy, ONNX Runtime", f"{100 * ort['accuracy']:.2f} % ({ort['correct']:,} of {ort['images']:,})"),
    ("95 % interval", "{:.2f} % to {:.2f} %".format(*(100 * bound for bound in figures["accuracy_interval"]))),
    ("calibration error (ECE)", f"{100 * tract['calibration']['ece']:.2f} %; {100 * figures['calibration']['ece']:.2f} % as "
                                f"trained, before the temperature {card['confidence']['temperature']}"),
    ("multiply-adds", f"{inspected['multiply_adds']:,} per image"),
    ("parameters in the file", f"{inspected['parameters']:,}"),
    ("size", f"{inspected['bytes']:,} bytes"),
    ("input", f"`{inputs['name']}`, {inputs['element']} [N, {inputs['channels']}, {inputs['height']}, {inputs['width']}]"),
]
print("| | |\n|---|---|")
for row in rows:
    print("| {} | {} |".format(*row))
recall, weakest = min((entry["recall"], label) for entry, label in zip(figures["classes"], figures["labels"]))
print(f"\nWeakest class: {weakest}, recall {100 * recall:.1f} %.\n")
if used["name"] == "tutorial":
    with open(Path(facts, "history.csv"), newline="") as file:
        epochs = list(csv.DictReader(file))
    print("## Training\n\nThe source tutorial reports a mean training loss of 0.0175 in its fifth epoch.\n")
    print("| epoch | mean training loss | test loss | test accuracy |\n|---|---|---|---|")
    for epoch in epochs:
        print(f"| {epoch['epoch']} | {float(epoch['train_loss']):.4f} | {float(epoch['test_loss']):.4f} "
              f"| {100 * float(epoch['test_accuracy']):.2f} % |")
    print()
print("## Limits\n")
if digits and not used["outliers"]["share"]:
    print("It knows only single digits. It was trained without images of anything else, so it takes more of those for digits "
          "than\nmnist-quick does.")
elif digits:
    print("It knows only single digits. Most other images are unknown to it, but about a third of printed letters are "
          "taken\nfor digits. MNIST's digits were written in the United States in the 1990s: sevens with a bar and ones "
          "with a flag are rarer\nthere than elsewhere.")
else:
    print("It knows only these classes and classifies everything else as one of them. It was trained on grey images of "
          "a single\nitem, centred and light on black, not on photographs of everyday scenes.")
