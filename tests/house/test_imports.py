"""You pay for what you use: a light import, and a base install that needs none of the extras."""

from __future__ import annotations

import importlib.metadata
import pkgutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import matrixdata
from tests.requirements import ROOT

# Each of these costs more than the rest of `import matrixdata` together, or drags in what does.
HEAVY = {
    *("IPython", "ipykernel", "matplotlib", "nest_asyncio", "tqdm", "vega_datasets"),
    *("duckdb", "numpy", "pandas", "polars", "pyarrow"),
    *("jsonschema", "jsonschema_rs"),
    *("cryptography", "vodozemac"),
    *("synapse", "twisted"),
    *("hypothesis", "pytest", "trio"),
}

# Packages of ours that may need more than the base install, with the reason.
MAY_NEED_MORE = {
    "matrixdata.testing": "pytest fixtures: whoever imports them has pytest",
    "matrixdata.jupyter": "only ever imported inside a notebook",
}

# A finder that refuses everything but the standard library, ours, and the names given as arguments.
BASE_ONLY = """
import importlib, sys

allowed = {*sys.stdlib_module_names, "matrixdata", *sys.argv[1].split()}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r} (not in the base install)", name=name)

sys.meta_path.insert(0, Refuse())
for module in sys.argv[2].split():
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(f"{module}: {error}")
"""


def python(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")[
        :-1
    ]


def test_importing_is_light() -> None:
    loaded = {
        name.partition(".")[0] for name in python("import matrixdata, sys; print(*sys.modules, sep='\\n')")
    }

    assert "matrixdata" in loaded
    assert loaded.isdisjoint(HEAVY)


def base_install() -> set[str]:
    """Names of the modules that a bare `pip install matrixdata` brings, from its dependencies and theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, distributions = [Requirement(line) for line in project["dependencies"]], set[str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in distributions or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        distributions.add(name)
        waiting += [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    return {
        module
        for module, providers in importlib.metadata.packages_distributions().items()
        if any(canonicalize_name(provider) in distributions for provider in providers)
    }


def test_every_module_imports_with_the_base_install() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages(matrixdata.__path__, "matrixdata.")
        if not module.name.startswith(tuple(MAY_NEED_MORE)) and not module.name.endswith(".__main__")
    ]

    failed = python(BASE_ONLY, " ".join(base_install()), " ".join(["matrixdata", *modules]))

    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", ["pandas", "duckdb", "synapse"])
def test_the_base_install_has_none_of_the_extras(name: str) -> None:
    assert name not in base_install()
