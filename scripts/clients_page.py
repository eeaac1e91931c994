"""Uses the page of a server in Chromium: draws all digits, drops an image, chooses a broken one, draws with the keys.

Usage: clients_page.py ADDRESS CHROMIUM [SCREENSHOT]
"""

import sys
import time

from playwright.sync_api import sync_playwright

address, chromium, *screenshot = sys.argv[1:]

# The strokes of each digit, points in a unit square.
STROKES = [
    [[(0.5, 0.15), (0.3, 0.3), (0.27, 0.5), (0.32, 0.75), (0.5, 0.85), (0.68, 0.75), (0.73, 0.5), (0.68, 0.3), (0.5, 0.15)]],
    [[(0.4, 0.25), (0.52, 0.15), (0.52, 0.85)]],
    [[(0.3, 0.3), (0.38, 0.18), (0.55, 0.15), (0.68, 0.25), (0.66, 0.42), (0.5, 0.6), (0.3, 0.84), (0.72, 0.84)]],
    [[(0.32, 0.2), (0.5, 0.15), (0.66, 0.25), (0.62, 0.42), (0.45, 0.48), (0.65, 0.55), (0.7, 0.7), (0.58, 0.84), (0.4, 0.85), (0.28, 0.77)]],
    [[(0.35, 0.15), (0.28, 0.5), (0.7, 0.5)], [(0.62, 0.2), (0.6, 0.88)]],
    [[(0.68, 0.15), (0.38, 0.15), (0.34, 0.45), (0.55, 0.42), (0.7, 0.55), (0.68, 0.75), (0.5, 0.86), (0.3, 0.8)]],
    [[(0.62, 0.15), (0.42, 0.32), (0.32, 0.58), (0.36, 0.78), (0.52, 0.86), (0.67, 0.75), (0.65, 0.6), (0.5, 0.53), (0.36, 0.62)]],
    [[(0.28, 0.18), (0.72, 0.18), (0.55, 0.5), (0.45, 0.86)]],
    [[(0.62, 0.25), (0.5, 0.15), (0.37, 0.25), (0.42, 0.4), (0.6, 0.55), (0.66, 0.72), (0.5, 0.86), (0.34, 0.74), (0.42, 0.55), (0.6, 0.4), (0.62, 0.25)]],
    [[(0.65, 0.3), (0.52, 0.16), (0.36, 0.25), (0.38, 0.42), (0.52, 0.47), (0.65, 0.35), (0.66, 0.3), (0.63, 0.6), (0.56, 0.87)]],
]

# Draws a seven on a canvas of its own and drops it as a file.
DROP = """async () => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  canvas.width = canvas.height = 100;
  pen.fillStyle = "white"; pen.fillRect(0, 0, 100, 100);
  pen.lineWidth = 8; pen.beginPath(); pen.moveTo(28, 18); pen.lineTo(72, 18); pen.lineTo(45, 86); pen.stroke();
  const blob = await new Promise(done => canvas.toBlob(done));
  const data = new DataTransfer();
  data.items.add(new File([blob], "seven.png", { type: "image/png" }));
  document.querySelector("#sheet").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""


def eventually(page, element, expected):
    """Waits until the element has this text."""
    end = time.monotonic() + 20
    while expected not in (found := page.inner_text(element)):
        assert time.monotonic() < end, f"{element}: expected '{expected}', found '{found}'"
        page.wait_for_timeout(50)


with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
    page = browser.new_page(viewport={"width": 760, "height": 620})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    eventually(page, "#title", "mnist-quick")
    for digit, strokes in enumerate(STROKES):
        page.click("#clear")
        box = page.locator("#sheet").bounding_box()
        place = lambda point: (box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"])
        for first, *others in strokes:
            page.mouse.move(*place(first))
            page.mouse.down()
            for point in others:
                page.mouse.move(*place(point), steps=6)
            page.mouse.up()
        eventually(page, "#label", str(digit))
        assert page.locator("#seen").is_visible()
        if screenshot and digit == 8:
            page.screenshot(path=screenshot[0])
    page.click("#clear")
    page.evaluate(DROP)
    eventually(page, "#label", "7")
    page.set_input_files("#file", {"name": "broken.png", "mimeType": "image/png", "buffer": b"nonsense"})
    eventually(page, "#error", "is not an image that can be read")
    page.click("#clear")
    page.focus("#sheet")
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 18:
        page.keyboard.press(key)
    eventually(page, "#label", "1")
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 360, "the page is wider than a phone"
    assert not problems, problems
    print("Chromium: ten digits drawn, one dropped, one drawn with the keys, an error shown, 360 px wide")
