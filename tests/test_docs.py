"""Every command and every piece of Python in README and docs runs, in order, from the repository's root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/quickstart.md",
    "docs/in_the_loop.md",
    "docs/handover.md",
    "docs/classical.md",
    "docs/targeted.md",
    "docs/reader_study.md",
)
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.M | re.S)


def commands(text: str) -> list[str]:
    """Return the command lines of a block, comments and continuation lines resolved."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def sets_up(command: str) -> bool:
    """Whether a command makes an environment of its own; what it runs after that is what is tested here."""
    return "-m venv" in command or command.startswith("bash tests/run")


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A folder with the shipped bundles, as a clone has them."""
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page, workspace):
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment["OMP_NUM_THREADS"] = "1"
    python: list[str] = []
    for language, text in BLOCK.findall((ROOT / page).read_text("utf-8")):
        if language == "python":
            python.append(text)
            continue
        for command in commands(text):
            if not sets_up(command):
                run(["bash", "-c", command], workspace, environment)
    if python:
        run([sys.executable, "-c", "from pathlib import Path\n" + "\n".join(python)], workspace, environment)


def test_first_command_of_readme_makes_the_gallery(workspace):
    """README's first line sets up an environment; what it runs then is run here in this one."""
    from monai_diffaug.cli import main

    block = next(
        text for language, text in BLOCK.findall((ROOT / "README.md").read_text("utf-8")) if language == "bash"
    )
    line = next(command for command in commands(block) if "monai-diffaug" in command)
    arguments = line.split("monai-diffaug ")[1].split()
    arguments[arguments.index("--output") + 1] = str(workspace / "gallery")
    arguments[arguments.index("--images") + 1] = str(ROOT / arguments[arguments.index("--images") + 1])
    assert main(arguments) == 0
    assert (workspace / "gallery" / "gallery.html").stat().st_size > 100_000


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bundles/*/docs/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
def test_wheel_carries_the_bundles(tmp_path):
    """An installed package finds its shipped bundles, configs and page template."""
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".git", ".venv*", "*.egg-info", "build", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=ignore)
    (source / "bundles" / "texture_demo" / "output").mkdir()
    (source / "bundles" / "texture_demo" / "output" / "patient.png").touch()  # what a run has left there
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), "."]
    run(build, source, dict(os.environ))
    wheel = next(tmp_path.glob("*.whl"))
    installed = tmp_path / "installed"
    run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "-q", "--target", str(installed), str(wheel)],
        tmp_path,
        dict(os.environ),
    )
    code = (
        "import monai_diffaug, monai_diffaug.bundle as b; from importlib import resources as r;"
        "assert monai_diffaug.__file__.startswith('@'), monai_diffaug.__file__;"
        "root = b.shipped_bundles()['texture_demo']; assert str(root).startswith('@'), root;"
        "b.load_synthesizer('texture_demo'); assert len(list((root / 'samples/frames').glob('*.png'))) == 12;"
        "assert not (root / 'output').exists() and (root / 'LICENSE').is_file() and list((root / 'docs').iterdir());"
        "assert (r.files('monai_diffaug.generation') / 'gallery_template.html').is_file();"
        "assert (r.files('monai_diffaug.evaluation.reader_study') / 'page.html').is_file();"
        "from monai_diffaug.template import TEMPLATE as t; assert (t / 'configs/train_validator.json').is_file();"
        "assert (t / 'LICENSE').is_file() and (t.parent / 'grids/3d.json').is_file()"
    ).replace("@", str(installed))
    run([sys.executable, "-c", code], tmp_path, {**os.environ, "PYTHONPATH": str(installed)})


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
