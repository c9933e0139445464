"""The worked example of docs/dicom.md against a real Orthanc, and its picture: python -m benchmarks.draw_dicom_view

Needs root and Debian's orthanc and orthanc-dicomweb: the server runs in a network of this process's own. The study is
made of the polyp bundle's sample frames, with a made-up patient. Prints what each command says.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from scipy import ndimage

from monai_diffaug.bundle import shipped_bundles
from monai_diffaug.cli import main as run
from monai_diffaug.dicom.peers import open_peer
from monai_diffaug.dicom.settings import load_settings
from tests.dicom import phantoms
from tests.dicom.loopback import own_network
from tests.dicom.peer_files import write_config
from tests.dicom.servers import HTTP, PASSWORD, USER, orthanc

SHOWN = ("SyntheticData", "PatientName", "PatientID", "StudyDescription", "SeriesDescription", "ImageComments",
         "ImageType", "Manufacturer", "DerivationDescription")  # fmt: skip
SIDE = 300


def study(count: int) -> list[pydicom.Dataset]:
    """Return sample frames as VL Endoscopic images."""
    made = []
    for number, path in enumerate(
        sorted((shipped_bundles()["polyp_endoscopy"] / "samples" / "frames").iterdir())[:count]
    ):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        one = phantoms.endoscopy(instance=number + 1)
        one.Rows, one.Columns, one.PixelData = *pixels.shape[:2], pixels.tobytes()
        made.append(one)
    return made


def asked(path: str, body: bytes | None = None) -> bytes:
    """Return what Orthanc's own web door answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{HTTP}{path}", data=body)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read()


def rendered(uid: str) -> Image.Image:
    """Return an instance as Orthanc renders it."""
    query = {"Level": "Instance", "Query": {"SOPInstanceUID": uid}}
    (found,) = json.loads(asked("/tools/find", json.dumps(query).encode()))
    return Image.open(io.BytesIO(asked(f"/instances/{found}/preview"))).convert("RGB")


def outlined(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """Return a picture with the edge of a mask in green."""
    pixels = np.array(picture)
    pixels[ndimage.binary_dilation(mask, iterations=2) & ~mask] = (0, 255, 90)
    return Image.fromarray(pixels)


def drawn(source: Image.Image, image: pydicom.Dataset, seg: pydicom.Dataset) -> Image.Image:
    """Return source, synthetic frame and segment side by side, and the header below."""
    after, mask = rendered(image.SOPInstanceUID), seg.pixel_array.astype(bool).reshape(image.Rows, image.Columns)
    sheet = Image.new("RGB", (3 * SIDE, after.height * SIDE // after.width + 16 * len(SHOWN) + 12), "black")
    for index, one in enumerate((source, after, outlined(after, mask))):
        one.thumbnail((SIDE, SIDE))
        sheet.paste(one, (index * SIDE, 0))
    for row, name in enumerate(SHOWN):
        place = 8, sheet.height - 16 * (len(SHOWN) - row) - 4
        ImageDraw.Draw(sheet).text(place, f"{name}: {image[name].value}"[:150], fill="white")
    return sheet


def said(*command: str) -> None:
    print("$ monai-diffaug", *command)
    print("->", run(["dicom", *command]))


def example(work: Path, config: Path, number: int) -> Image.Image:
    """Go from find to verify, and return the picture."""
    peer = open_peer(load_settings(config, "dimse").peer)
    frames = study(number)
    for one in frames:
        peer.store(one)
    peer.close()
    uid, options = str(frames[0].StudyInstanceUID), ("--config", str(config))
    said("find", "dimse", "--where", f"StudyInstanceUID={uid}", *options)
    said("pull", "dimse", "--study", uid, "--output", str(work / "study"), *options)
    places: tuple[Any, ...] = ("--input", str(work / "study"), "--output", str(work / "out"))
    said("generate", "--bundle", "polyp_endoscopy", *places, "--num", str(2 * number), "--batch-size", "4",
         "--site-secret", str(work / "secret"), "--device", "cpu")  # fmt: skip
    said("push", str(work / "out" / "dicom"), "--to", "dimse", *options)
    said("push", str(work / "out" / "dicom"), "--to", "dimse", "--send", *options)
    said("verify", str(work / "out" / "dicom"), "--at", "web", *options)
    lines = (work / "out" / "generated" / "exported.jsonl").read_text("utf-8").splitlines()
    shown = json.loads(lines[0])
    image, seg = (pydicom.dcmread(work / "out" / "dicom" / name) for name in shown["files"])
    return drawn(Image.open(work / "out" / "imported" / shown["source"]).convert("RGB"), image, seg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images/dicom_view.jpg"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, own_network(), orthanc(Path(name) / "orthanc"):
        example(Path(name), write_config(Path(name)), 4).save(args.output, quality=88)


if __name__ == "__main__":
    main()
