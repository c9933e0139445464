"""A folder appears whole or not at all."""

from __future__ import annotations

import pytest

from monai_diffaug.generation.handover.staging import staged


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_it_appears_at_the_end(tmp_path, there):
    output = tmp_path / "a" / "out"
    if there:
        output.mkdir(parents=True)
    with staged(output) as folder:
        (folder / "file").touch()
        assert output.exists() == there and folder.parent == output.parent
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["out", "file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_what_failed(tmp_path, error):
    with pytest.raises(error), staged(tmp_path / "out") as folder:
        (folder / "file").touch()
        raise error
    assert not list(tmp_path.iterdir())


def test_what_a_killed_export_left_is_no_obstacle(tmp_path):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "half").touch()
    with staged(tmp_path / "out") as folder:
        assert not list(folder.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ValueError, match="is not an empty folder"), staged(tmp_path / "out"):
        pass
    with pytest.raises(ValueError, match="cannot be made"), staged(tmp_path / "out" / "below"):
        pass
