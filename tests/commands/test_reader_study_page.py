"""The page of a reader study in a real browser: rated, closed half-way, taken up again, downloaded, scored."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from monai_diffaug.cli import main
from tests.reader_studies import key_of, make, write_real, write_run

BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (os.path.exists(BROWSER) and os.path.exists(DRIVER)), reason="needs chromium, chromedriver"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reader_study_page")
    write_run(folder)
    write_real(folder)
    assert make(folder, "--num", "4", "--repeat", "0.25") == 0
    return folder


@contextmanager
def browser(profile: Path, *, width: int = 1280) -> Iterator[Any]:
    """Open Chromium on a profile; what it downloads lies in ``profile/got``. It is left to close by itself."""
    webdriver = pytest.importorskip("selenium.webdriver")
    exceptions = pytest.importorskip("selenium.common.exceptions")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile / 'profile'}")
    options.add_experimental_option("prefs", {"download.default_directory": str(profile / "got")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_window_size(width, 900)
        yield driver
        assert driver.get_log("browser") == []  # no script error, no file that was refused or missing
        with suppress(exceptions.WebDriverException):  # the page goes before it can answer
            driver.execute_cdp_cmd("Browser.close", {})
        wait_for_end(profile / "profile")
    finally:
        driver.quit()


def wait_for_end(profile: Path) -> None:
    """Wait until a browser has written what its pages keep: the driver's ``quit`` kills a slow one before that."""
    for _ in range(600):
        if not (profile / "SingletonLock").is_symlink():
            return
        time.sleep(0.1)
    raise AssertionError("the browser did not close")


class Page:
    """What a person does on the page."""

    def __init__(self, driver: Any, study: Path) -> None:
        self.driver = driver
        driver.get((study / "index.html").as_uri())

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def keys(self, text: str) -> None:
        self.driver.switch_to.active_element.send_keys(text)

    def start(self, name: str) -> None:
        self.one("#reader").send_keys(name)
        self.click("#enter button")

    def rate(self, realism: int, usefulness: int, *, by_keys: bool) -> str:
        """Answer the picture that is shown, go on, and return its code."""
        code = self.code
        if by_keys:
            self.keys(f"{realism}{usefulness}\ue007")
        else:
            self.click(f"input[name=realism][value='{realism}']")
            self.click(f"input[name=usefulness][value='{usefulness}']")
            self.click("#next")
        return code

    @property
    def code(self) -> str:
        return self.one("#picture").get_attribute("src").rpartition("/")[2].removesuffix(".png")

    @property
    def status(self) -> str:
        return self.one(".count").text

    @property
    def warning(self) -> str:
        return self.one("#warning").text

    def download(self, selector: str, folder: Path) -> Path:
        before = set(folder.glob("*.csv"))
        self.click(selector)
        for _ in range(100):
            if new := set(folder.glob("*.csv")) - before:
                return new.pop()
            time.sleep(0.1)
        raise AssertionError("nothing was downloaded")

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return {row["code"]: row for row in csv.DictReader(stream)}


def levels_of(number: int) -> tuple[int, int]:
    return 1 + number % 5, 1 + (2 * number) % 5


def test_a_study_from_first_click_to_score(made, tmp_path, capsys):
    clicked: dict[str, tuple[int, int]] = {}
    with browser(tmp_path) as driver:
        page = Page(driver, made / "study")
        assert "not for diagnosis" in page.one("#start").text
        page.start("R 1")
        assert page.one("#start").is_displayed()  # a name that cannot be one of a file is not taken
        page.one("#reader").clear()
        page.start("R1")
        for number in range(5):
            clicked[page.rate(*levels_of(number), by_keys=number % 2 == 0)] = levels_of(number)
        page.one("#remark").send_keys('not sure, "maybe"\n2nd line 3')  # digits in a remark are no answers
        half, waiting = page.status, page.code
        assert half.startswith("Picture 6 of 10 · 5 answered")
    with browser(tmp_path) as driver:  # closed and opened again
        page = Page(driver, made / "study")
        page.click("#again button")
        assert (page.status, page.code) == (half, waiting)
        assert page.one("#remark").get_attribute("value") == 'not sure, "maybe"\n2nd line 3'
        page.click("#back")
        assert page.one("input[name=realism]:checked").get_attribute("value") == str(levels_of(4)[0])
        page.click("#next")
        partial = page.download(".bar .download", tmp_path / "got")
        assert len(rows_of(partial)) == 6
        for number in range(5, 10):
            clicked[page.rate(*levels_of(number), by_keys=number % 2 == 0)] = levels_of(number)
        assert page.one("#done h1").text == "All 10 pictures are answered"
        answers = page.download("#done .download", tmp_path / "got")
    rows = rows_of(answers)
    assert {code: (int(row["realism"]), int(row["usefulness"])) for code, row in rows.items()} == clicked
    assert rows[waiting]["remark"].replace("\r", "") == 'not sure, "maybe"\n2nd line 3'
    assert all(float(row["seconds"]) >= 0 and row["answered"] for row in rows.values())
    assert sorted(clicked) == sorted(key_of(made)["pictures"])
    check_score(made, answers, clicked, tmp_path)


def check_score(made: Path, answers: Path, clicked: dict[str, tuple[int, int]], folder: Path) -> None:
    """Compare what ``score`` finds with what was clicked."""
    given = [str(made / "study.key.json"), str(answers), "--output", str(folder / "report"), "--draws", "20"]
    assert main(["reader-study", "score", *given]) == 0
    reader = json.loads((folder / "report.json").read_text("utf-8"))["readers"][0]
    shown = {code: one for code, one in key_of(made)["pictures"].items() if one["repeats"] is None}
    for kind in ("real", "synthetic"):
        for scale, index in (("realism", 0), ("usefulness", 1)):
            values = [clicked[code][index] for code, one in shown.items() if one["kind"] == kind]
            assert reader[f"{scale}_{kind}"]["value"] == pytest.approx(sum(values) / len(values), abs=1e-4)
    assert reader["reader"] == "R1" and reader["missing"] == {"realism": 0, "usefulness": 0}


def test_a_file_of_answers_goes_on_in_another_browser(made, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    with browser(tmp_path / "a") as driver:
        page = Page(driver, made / "study")
        page.start("R2")
        clicked = [page.rate(*levels_of(number), by_keys=True) for number in range(4)]
        answers = page.download(".bar .download", tmp_path / "a" / "got")
    with browser(tmp_path / "b") as driver:
        page = Page(driver, made / "study")
        foreign = tmp_path / "foreign.csv"
        foreign.write_text(answers.read_text("utf-8-sig").replace(key_of(made)["study"], "another"), "utf-8")
        page.one("#load").send_keys(str(foreign))
        time.sleep(0.3)
        assert "belongs to another study" in page.warning and page.one("#start").is_displayed()
        page.one("#load").send_keys(str(answers))
        time.sleep(0.3)
        assert page.status == "Picture 5 of 10 · 4 answered · reader R2" and not page.warning
        assert rows_of(page.download(".bar .download", tmp_path / "b" / "got")) == rows_of(answers)
        assert page.script("return order.slice(0, 4)") == clicked  # the same order as in the first browser


def test_each_reader_has_an_order_of_their_own(made, tmp_path):
    with browser(tmp_path) as driver:
        page = Page(driver, made / "study")
        orders = [page.script(f"begin('{name}'); return order") for name in ("A", "B", "A")]
    assert orders[0] == orders[2] != orders[1]
    first = {code for code, one in key_of(made)["pictures"].items() if one["repeats"]}
    for order in orders:
        for code in first:
            assert order.index(code) - order.index(key_of(made)["pictures"][code]["repeats"]) > 2


def test_a_browser_that_keeps_nothing_says_so(made, tmp_path):
    with browser(tmp_path) as driver:
        refuse = "Storage.prototype.setItem = () => { throw new Error('full') }"
        page = Page(driver, made / "study")
        page.start("R3")
        page.rate(3, 3, by_keys=True)
        assert not page.warning
        page.script(refuse)
        page.keys("4")
        assert "This browser keeps nothing" in page.warning
        assert rows_of(page.download(".bar .download", tmp_path / "got"))[page.code]["realism"] == "4"
    with browser(tmp_path) as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refuse})
        assert "This browser keeps nothing" in Page(driver, made / "study").warning


def test_the_mark_is_hidden_until_asked_for_and_noted(made, tmp_path):
    with browser(tmp_path) as driver:
        page = Page(driver, made / "study")
        page.start("R4")
        assert not page.one("figure ellipse").is_displayed()
        code = page.rate(3, 3, by_keys=True)
        page.click("#ring")
        assert page.one("figure ellipse").is_displayed()
        assert page.one("#ring").get_attribute("aria-pressed") == "true"
        marked = page.rate(3, 3, by_keys=False)
        rows = rows_of(page.download(".bar .download", tmp_path / "got"))
    assert (rows[code]["ring"], rows[marked]["ring"]) == ("0", "1")


def test_names_for_those_who_do_not_see(made, tmp_path):
    with browser(tmp_path) as driver:
        page = Page(driver, made / "study")
        page.start("R5")
        assert page.one("#picture").get_attribute("alt") == "Picture 1 of 10, to be judged"
        assert driver.switch_to.active_element.text == "Picture 1 of 10"
        assert driver.switch_to.active_element.tag_name == "h2"
        for element in driver.find_elements("css selector", "input, textarea, button"):
            if element.is_displayed():
                assert element.accessible_name, element.get_attribute("outerHTML")


@pytest.mark.parametrize("width", [500, 1280])
def test_nothing_sticks_out_and_the_picture_is_whole(made, tmp_path, width):
    with browser(tmp_path, width=width) as driver:
        page = Page(driver, made / "study")
        page.start("R6")
        assert page.script("return document.documentElement.scrollWidth <= innerWidth")
        time.sleep(0.3)
        assert page.script("return byId('picture').naturalWidth") > 0
        box = page.one("#picture").rect
        assert box["width"] == pytest.approx(box["height"], abs=1) and box["width"] > 300
        page.rate(2, 4, by_keys=False)
        assert page.status.startswith("Picture 2 of 10 · 1 answered")
