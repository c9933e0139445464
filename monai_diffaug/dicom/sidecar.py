"""What an imported image needs to go back: which stored frames it came from and how its numbers were stored.

No name, identifier of a patient, date or description goes in. Unique identifiers of instances do, since export looks up
the originals by them: keep sidecars where the originals may be.
"""

from __future__ import annotations

from typing import Any

from monai_diffaug.dicom.images import BadDicom, DicomImage, Plane

FORMAT = 1
FILE = (
    ("sop_class_uid", "SOPClassUID"),
    ("modality", "Modality"),
    ("photometric", "PhotometricInterpretation"),
    ("bits_allocated", "BitsAllocated"),
    ("bits_stored", "BitsStored"),
    ("pixel_representation", "PixelRepresentation"),
    ("lossy", "LossyImageCompression"),
)
"""What is equal in all files of an image: key and attribute."""
PLACE = (("position", "ImagePositionPatient"), ("orientation", "ImageOrientationPatient"), ("spacing", "PixelSpacing"))


def sidecar_of(image: DicomImage, *, scale: float = 1.0, offset: float = 0.0) -> dict[str, Any]:
    """Return the JSON object that is kept beside an imported image.

    Args:
        image: what was read.
        scale, offset: modality value = scale * value in the written file + offset.
    """
    header = image.planes[0].header
    body: dict[str, Any] = {"format": FORMAT, "series_uid": image.series_uid}
    body |= {key: _plain(header.get(name)) for key, name in FILE}
    body["transfer_syntax"] = str(header.file_meta.get("TransferSyntaxUID", ""))
    body |= {"shape": list(image.stored.shape), "scale": scale, "offset": offset}
    if image.affine is not None:
        body["affine"] = image.affine.tolist()
    body["planes"] = [_plane(plane) for plane in image.planes]
    return body


def check_sidecar(body: dict[str, Any], image: DicomImage) -> None:
    """Raise BadDicom where an image that was read again is not what a sidecar was written for."""
    if body.get("format") != FORMAT:
        raise BadDicom(f"the sidecar has format {body.get('format')!r}, not {FORMAT}; import the series again")
    there = sidecar_of(image)
    for key in ("series_uid", "shape", "photometric", "pixel_representation", "planes"):
        if body.get(key) != there[key]:
            raise BadDicom(
                f"series {image.series_uid} is not what was imported: its {key.replace('_', ' ')} differs from the "
                "sidecar; import it again"
            )


def _plane(plane: Plane) -> dict[str, Any]:
    told = {key: _plain(plane.header.get(name)) for key, name in PLACE}
    return {
        "sop_uid": plane.sop_uid,
        "frame": plane.frame + 1,  # as DICOM counts
        "slope": plane.slope,
        "intercept": plane.intercept,
        "padding": None if plane.padding is None else list(plane.padding),
        **{key: value for key, value in told.items() if value is not None},
    }


def _plain(value: Any) -> Any:
    """Return an attribute's value as JSON has it."""
    if value is None or isinstance(value, int | str):
        return None if value is None else (str(value) if isinstance(value, str) else int(value))
    return [float(one) for one in value] or None
