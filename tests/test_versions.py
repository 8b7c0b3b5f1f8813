"""Test the versions that pyproject.toml allows: both ends are tested, and no others are allowed."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mlret
from mlret.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
# The extras that `make install` and `make test-lowest` install.
EXTRAS = ("kernels", "files", "train", "trim", "eval", "dev")
# Their versions are dates, which do not announce incompatible changes.
NO_UPPER_BOUND = {"regex", "furo"}


def declared() -> dict[str, list[Requirement]]:
    """Return extra -> its requirements; those of the base are under ``""``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(line) for line in some] for extra, some in lines.items()}


def pinned(file: str) -> dict[str, Version]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version.partition(" ")[0]) for name, version in pairs}


def bound(requirement: Requirement, operator: str) -> Version | None:
    found = [Version(one.version) for one in requirement.specifier if one.operator == operator]
    return found[0] if found else None


def test_the_lowest_versions_that_are_tested_are_the_lower_bounds() -> None:
    lowest = pinned("constraints-lowest.txt")
    for extra in ("", *EXTRAS):
        for requirement in declared()[extra]:
            name = canonicalize_name(requirement.name)
            assert lowest[name] == bound(requirement, ">="), f"{requirement}: run `make lowest`"


def test_the_versions_of_ci_are_allowed() -> None:
    exact = pinned("constraints.txt")
    for extra in ("", *EXTRAS):
        for requirement in declared()[extra]:
            version = exact[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


def test_no_requirement_admits_an_untested_interface() -> None:
    for extra, requirements in declared().items():
        for requirement in requirements:
            low, high = bound(requirement, ">="), bound(requirement, "<")
            assert low is not None, f"{extra}: {requirement} has no lower bound"
            if requirement.name not in NO_UPPER_BOUND:
                assert high is not None and high > low, f"{extra}: {requirement} has no upper bound"


def test_a_package_has_the_same_range_in_every_extra() -> None:
    ranges: dict[str, set[str]] = {}
    for requirements in declared().values():
        for requirement in requirements:
            ranges.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: some for name, some in ranges.items() if len(some) > 1} == {}


# The first runs the command line; the second needs Triton, which only builds of torch for GPUs bring along.
NOT_TO_IMPORT = {"mlret.__main__", "mlret.index.tokens.kernels.gpu_kernels"}
FOUND = pkgutil.walk_packages(mlret.__path__, "mlret.", onerror=lambda name: None)
MODULES = sorted({module.name for module in FOUND} - NOT_TO_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports(module: str) -> None:
    try:
        importlib.import_module(module)
    except MissingExtraError as error:
        pytest.skip(str(error))
