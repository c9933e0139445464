"""The transforms load what the reader reads, as MONAI's own would place it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, PydicomReader, list_data_collate
from monai.transforms import Compose, Orientationd

import monai_diffaug.dicom as dicom
from monai_diffaug.dicom import BadDicom, LoadDicomSeries, LoadDicomSeriesd, read_series
from tests.dicom import phantoms
from tests.dicom.phantoms import write


@pytest.mark.parametrize("make", [phantoms.ct_series, phantoms.mr_series])
def test_a_volume(make, tmp_path):
    write(make(), tmp_path)
    image = LoadDicomSeries()(tmp_path)
    [read] = read_series(tmp_path)
    assert isinstance(image, MetaTensor) and image.dtype == torch.float32
    np.testing.assert_array_equal(image.numpy(), read.image)
    np.testing.assert_allclose(image.affine.numpy(), read.affine)
    assert image.meta["space"] == "RAS"
    np.testing.assert_allclose(image.pixdim.numpy(), read.spacing, atol=1e-6)


def test_metadata_holds_what_monais_does_and_nothing_personal(tmp_path):
    write(phantoms.ct_series(), tmp_path)
    image, reader = LoadDicomSeries()(tmp_path), PydicomReader()
    _, theirs = reader.get_data(reader.read(str(tmp_path)))
    needed = {"affine", "original_affine", "spacing", "spatial_shape", "original_channel_dim", "space"}
    assert needed <= set(theirs) and needed <= set(image.meta)
    assert not any(secret in str(image.meta) for secret in phantoms.SECRETS)


def test_in_a_pipeline(tmp_path):
    write(phantoms.mr_series(), tmp_path)
    chain = Compose(
        [LoadDicomSeriesd("image"), Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))]
    )
    image = chain({"image": str(tmp_path), "other": 1})["image"]
    assert tuple(image.shape) == (1, 10, 40, 32)
    back = chain.inverse({"image": image})["image"]
    np.testing.assert_array_equal(back.numpy(), read_series(tmp_path)[0].image)


def test_frames(tmp_path):
    write(phantoms.ultrasound(), tmp_path)
    with pytest.raises(BadDicom, match="read as 3 frames; choose one from 0 to 2"):
        LoadDicomSeries()(tmp_path)
    image = LoadDicomSeries(frame=2)(tmp_path)
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(phantoms.picture(2), -1, 0))
    assert torch.equal(image.affine, torch.eye(4, dtype=torch.float64))


def test_of_several_series_one_is_chosen(tmp_path):
    paths = write(phantoms.ct_series(), tmp_path) + write(phantoms.mr_series(), tmp_path)
    image = LoadDicomSeries(f"{phantoms.ROOT}.1.2")(paths)
    assert tuple(image.shape) == (1, 40, 32, 10)


def test_batches_and_workers(tmp_path):
    write(phantoms.ct_series(), tmp_path)
    load = pickle.loads(pickle.dumps(LoadDicomSeriesd(["a", "b"], allow_missing_keys=True)))
    batch = list_data_collate([load({"a": tmp_path}), load({"a": tmp_path})])
    assert tuple(batch["a"].shape) == (2, 1, 48, 64, 12)


def test_exported_names():
    assert all(getattr(dicom, name) is not None for name in dicom.__all__)
    assert dicom.LoadDicomSeriesD is dicom.LoadDicomSeriesDict is LoadDicomSeriesd
    with pytest.raises(AttributeError):
        dicom.no_such_name  # noqa: B018
