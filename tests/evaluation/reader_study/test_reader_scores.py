"""Scores of hand-made answers, whose figures are known, and answers that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_diffaug.evaluation.reader_study.answers import read_all, read_answers, read_key
from monai_diffaug.evaluation.reader_study.scores import FIGURES, figures, mean_of_readers, score
from monai_diffaug.evaluation.reader_study.tables import markdown
from tests.reader_studies import write_answers, write_key

REAL = {f"r{number}": "real" for number in range(6)}
SYNTHETIC = {f"s{number}": "synthetic" for number in range(6)}
KINDS = {**REAL, **SYNTHETIC, "again0": "real", "again1": "synthetic"}
REPEATS = {"again0": "r0", "again1": "s0"}


@pytest.fixture
def key(tmp_path):
    return read_key(write_key(tmp_path / "study.key.json", KINDS, repeats=REPEATS))


def scored(key, tmp_path: Path, **readers: dict) -> dict:
    files = [write_answers(tmp_path / f"{name}.csv", name, levels) for name, levels in readers.items()]
    return score(key, read_all(files, key), draws=100)


def perfect(code: str) -> int:
    return 5 if KINDS[code] == "real" else 1


class TestScores:
    def test_a_reader_who_knows(self, key, tmp_path):
        report = scored(key, tmp_path, R1={code: perfect(code) for code in KINDS})
        reader = report["readers"][0]
        assert all(reader[name]["value"] == 1 for name in ("auc", "accuracy", "sensitivity", "specificity"))
        assert reader["realism_real"]["value"] == 5 and reader["realism_synthetic"]["value"] == 1
        assert reader["usefulness_real"] == {"value": 3, "low": 3, "high": 3}
        assert reader["missing"] == {"realism": 0, "usefulness": 0}
        assert reader["repeats"]["realism"] == {"pictures": 2, "kappa": 1}
        assert reader["repeats"]["usefulness"] == {"pictures": 2, "kappa": None}
        assert report["agreement"] == {"pairs": [], "fleiss_real_or_synthetic": None}
        assert report["pictures"] == {"real": 6, "synthetic": 6} and report["repeats"] == 2

    def test_a_reader_who_cannot_tell(self, key, tmp_path):
        reader = scored(key, tmp_path, R1=dict.fromkeys(KINDS, 3))["readers"][0]
        assert reader["auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
        assert (reader["accuracy"]["value"], reader["sensitivity"]["value"], reader["specificity"]["value"]) == (
            0.5,
            1,
            0,
        )

    def test_the_pool_is_the_mean_of_readers(self, key, tmp_path):
        knows, guesses = {code: perfect(code) for code in KINDS}, dict.fromkeys(KINDS, 3)
        report = scored(key, tmp_path, R1=knows, R2=guesses)
        assert report["pooled"]["auc"]["value"] == 0.75
        # Readers are redrawn too: both alike, or one of each.
        assert report["pooled"]["auc"]["low"] == 0.5 and report["pooled"]["auc"]["high"] == 1
        assert report["agreement"]["pairs"][0]["readers"] == ["R1", "R2"]
        assert report["agreement"]["pairs"][0]["realism"]["value"] == 0
        # Both say synthetic of six pictures, one each of six: observed (6 + 0) / 12, by chance 0.25^2 + 0.75^2.
        assert report["agreement"]["fleiss_real_or_synthetic"]["value"] == pytest.approx(
            (0.5 - 0.625) / 0.375, abs=1e-4
        )

    def test_repeats_do_not_count_twice(self, key, tmp_path):
        levels = {code: perfect(code) for code in KINDS}
        wrong = levels | {"again0": 1, "again1": 5}
        one, other = scored(key, tmp_path, R1=levels), scored(key, tmp_path, R1=wrong)
        assert [one["readers"][0][name] for name in FIGURES] == [other["readers"][0][name] for name in FIGURES]
        assert other["readers"][0]["repeats"]["realism"]["kappa"] == -1

    def test_missing_answers_are_counted_and_left_out(self, key, tmp_path):
        levels = {code: perfect(code) for code in KINDS if code != "s3"} | {"r1": ""}
        report = scored(key, tmp_path, R1=levels, R2={code: perfect(code) for code in KINDS})
        assert report["readers"][0]["missing"] == {"realism": 2, "usefulness": 1}
        assert report["readers"][0]["auc"]["value"] == 1
        assert report["agreement"]["pairs"][0]["realism"]["pictures"] == 10
        assert report["agreement"]["fleiss_real_or_synthetic"]["pictures"] == 10

    def test_thirds_by_size(self, key, tmp_path):
        thirds = scored(key, tmp_path, R1={code: perfect(code) for code in KINDS})["by_size"]
        assert [one["third"] for one in thirds] == ["small", "medium", "large"]
        assert [(one["real"], one["synthetic"]) for one in thirds] == [(4, 0), (2, 2), (0, 4)]
        assert [one["auc"]["value"] for one in thirds] == [None, 1, None]

    def test_same_seed_same_report(self, key, tmp_path):
        levels = {code: 1 + hash_of(code) for code in KINDS}
        assert scored(key, tmp_path, R1=levels) == scored(key, tmp_path, R1=levels)

    def test_figures_without_any_answer(self):
        nothing = np.full(4, np.nan)
        assert np.isnan(figures(nothing, nothing, np.array([True, True, False, False]))).all()
        assert np.isnan(mean_of_readers(np.full((2, 3), np.nan))).all()

    def test_table(self, key, tmp_path):
        text = markdown(scored(key, tmp_path, R1={code: perfect(code) for code in KINDS}, R2=dict.fromkeys(KINDS, 3)))
        assert "| AUC of telling apart | 1.00 [1.00, 1.00] | 0.50 [0.50, 0.50] | 0.75 [0.50, 1.00] |" in text
        assert "not for diagnosis" in text and "R1 and R2" in text


def hash_of(code: str) -> int:
    return sum(map(ord, code)) % 5


class TestRefused:
    @pytest.mark.parametrize("level", ["0", "6", "2.5", "yes", "-1"])
    def test_values(self, key, tmp_path, level):
        path = write_answers(tmp_path / "a.csv", "R1", {"r0": 3, "r1": level})
        with pytest.raises(
            ValueError, match=rf"a.csv, row 3 has realism '{level}'; answers are whole numbers from 1 to 5"
        ):
            read_answers(path, key)

    def test_another_study(self, key, tmp_path):
        with pytest.raises(ValueError, match="is of study 'other', the key is of 'bcdfg'"):
            read_answers(write_answers(tmp_path / "a.csv", "R1", {"r0": 3}, study="other"), key)

    def test_unknown_code(self, key, tmp_path):
        with pytest.raises(ValueError, match="names picture 'zzz', which is not in the study"):
            read_answers(write_answers(tmp_path / "a.csv", "R1", {"zzz": 3}), key)

    def test_a_code_twice(self, key, tmp_path):
        path = write_answers(tmp_path / "a.csv", "R1", {"r0": 3})
        path.write_text(path.read_text("utf-8") + path.read_text("utf-8").splitlines()[1])
        with pytest.raises(ValueError, match="row 3 answers picture r0 a second time"):
            read_answers(path, key)

    def test_a_reader_twice(self, key, tmp_path):
        files = [
            write_answers(tmp_path / name, reader, {"r0": 3}) for name, reader in (("a.csv", "R1"), ("b.csv", "r1"))
        ]
        with pytest.raises(ValueError, match=r"a.csv and .*b.csv are both of reader r1"):
            read_all(files, key)

    def test_several_readers_in_one_file(self, key, tmp_path):
        path = write_answers(tmp_path / "a.csv", "R1", {"r0": 3})
        path.write_text(path.read_text("utf-8") + "bcdfg,R2,1,r1,3,3,,1,0,x\n")
        with pytest.raises(ValueError, match=r"holds answers of 2 readers \(R1, R2\)"):
            read_answers(path, key)

    @pytest.mark.parametrize("levels", [{}, {"r0": ""}])
    def test_no_answers(self, key, tmp_path, levels):
        path = write_answers(tmp_path / "a.csv", "R1", levels, useful=lambda _: "")
        with pytest.raises(ValueError, match="holds no answers"):
            read_answers(path, key)

    def test_no_reader(self, key, tmp_path):
        with pytest.raises(ValueError, match="names no reader"):
            read_answers(write_answers(tmp_path / "a.csv", " ", {"r0": 3}), key)

    def test_another_file(self, key, tmp_path):
        (tmp_path / "a.csv").write_text("case,score\n1,2\n")
        with pytest.raises(ValueError, match="is no file of answers, it lacks study, reader"):
            read_answers(tmp_path / "a.csv", key)
        (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match="is not UTF-8"):
            read_answers(tmp_path / "a.csv", key)
        with pytest.raises(FileNotFoundError, match="give the files that readers have downloaded"):
            read_answers(tmp_path / "gone.csv", key)

    @pytest.mark.parametrize(
        "text", ["{", "[]", "{}", '{"study": "a", "pictures": {"b": {"kind": "x", "size": 1, "repeats": null}}}']
    )
    def test_no_key(self, tmp_path, text):
        (tmp_path / "k.json").write_text(text)
        with pytest.raises(ValueError, match="is no key of a study"):
            read_key(tmp_path / "k.json")
        with pytest.raises(FileNotFoundError, match="reader-study make"):
            read_key(tmp_path / "gone.json")


def test_semicolons_of_a_spreadsheet_are_read(key, tmp_path):
    path = write_answers(tmp_path / "a.csv", "R1", {"r0": 4, "s0": 2})
    kept = read_answers(path, key)
    rows = [line.split(",")[:6] + ["", "4.5", "0", ""] for line in path.read_text("utf-8-sig").splitlines()]
    rows[0] = path.read_text("utf-8-sig").splitlines()[0].split(",")
    path.write_text("\n".join(";".join(row) for row in rows))
    assert read_answers(path, key) == kept
