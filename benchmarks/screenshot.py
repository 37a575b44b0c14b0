"""Picture ``report.html`` of a study as a PNG: ``python benchmarks/screenshot.py results/published/reference-1/<machine> docs/report.png``.

Needs selenium (the ``dev`` extra), and chromium and chromedriver on the machine. The page is made anew from the study,
light, 1280 pixels wide; its SHA-256 is kept in the picture.
"""

import argparse
import base64
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from selenium import webdriver

WIDTH, COLOURS = 1280, 256


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--height", type=int, default=1040)
    asked = parser.parse_args()
    document = (asked.study / "report.html").read_text(encoding="utf-8")
    picture = Image.open(io.BytesIO(shoot(document, asked.height)))
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=8, dither=Image.Dither.NONE)
    of = PngInfo()
    of.add_text("Source", hashlib.sha256(document.encode()).hexdigest())
    few.save(asked.picture, optimize=True, pnginfo=of)


def shoot(document, height):
    """The PNG of a page's first ``height`` pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ["--headless=new", "--hide-scrollbars", *(["--no-sandbox"] if os.geteuid() == 0 else [])]:
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
            file.write(document)
            file.flush()
            size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
            )
            browser.get(Path(file.name).as_uri())
            return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
