"""What is installed with us: no binding of libolm, and a vodozemac, where there is one, without known holes."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from itertools import chain

from packaging.requirements import Requirement
from packaging.version import Version

from tests.faults.harness import Break, fault
from tests.requirements import ROOT

# libolm is unmaintained and leaks key material through timing (CVE-2024-45191, -45192, -45193).
LIBOLM = {"python-olm", "olm", "pyolm", "libolm"}
# The last matrix-nio whose e2e extra, a peer in our tests, was built on it.
NIO_ON_LIBOLM = "0.25.2"
# CVE-2024-34063 and CVE-2024-40640 are in what came before.
VODOZEMAC = Version("0.7")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    listed = [*project["project"]["dependencies"], *chain(*extras.values()), *chain(*groups.values())]
    return [Requirement(each) for each in listed if isinstance(each, str)]


def with_dependencies(names):
    """These distributions and all that they bring along here."""
    found, waiting = {}, [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = here.version
        for text in here.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(normal(needed.name))
    return found


@fault(
    "T-F",
    broken=Break("pyproject.toml", '    "anyio>=4.9,<5",', '    "anyio>=4.9,<5",\n    "python-olm>=3",'),
)
def test_nothing_we_install_binds_libolm():
    names = {normal(each.name) for each in declared()}
    assert names.isdisjoint(LIBOLM)
    for each in declared():
        if normal(each.name) == "matrix-nio":
            assert not each.specifier.contains(NIO_ON_LIBOLM)
    assert set(with_dependencies(names)).isdisjoint(LIBOLM)


def test_vodozemac_where_there_is_one_is_new_enough():
    for each in declared():
        if normal(each.name) == "vodozemac":
            assert not each.specifier.contains("0.6.9")
    version = with_dependencies({"vodozemac"}).get("vodozemac")
    assert version is None or Version(version) >= VODOZEMAC
