"""Real series, where a folder of data is there: images and contours equal the NIfTI files that came with them."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_diffaug.dicom import read_label, read_series

DATA = Path(os.environ.get("MONAI_DIFFAUG_TEST_DATA", ""))
SARCOMA = sorted((DATA / "soft_tissue_sarcoma").glob("STS_*/*")) if DATA.name else []
CT = DATA / "totalsegmentator_ct" / "example_ct_dicom"


@pytest.mark.skipif(not SARCOMA, reason="MONAI_DIFFAUG_TEST_DATA names no folder with soft_tissue_sarcoma")
def test_images_and_contours_equal_their_nifti_files():
    for folder in SARCOMA:
        [image] = read_series(folder / "dicom" / "image")
        values, mask = (nibabel.load(next((folder / "nifti" / one).iterdir())) for one in ("image", "mask"))
        np.testing.assert_allclose(image.affine, values.affine, atol=1e-3)
        np.testing.assert_array_equal(image.image[0], values.get_fdata())
        label = read_label(folder / "dicom" / "mask", image, by_position=True)
        np.testing.assert_array_equal(label.array != 0, mask.get_fdata() > 0.5)


@pytest.mark.skipif(not DATA.name or not CT.is_dir(), reason="MONAI_DIFFAUG_TEST_DATA names no folder with a CT")
def test_a_compressed_ct_whose_identifiers_were_emptied():
    [image] = read_series(CT)
    assert image.stored.shape == (1, 512, 512, 20) and image.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert image.image.min() == -1024
