"""The programs of this checkout, and a small federation that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lacuna_fl

REPOSITORY = Path(__file__).resolve().parents[3]
SMOKE = REPOSITORY / "configs/demo-smoke.toml"

os.environ.setdefault("LACUNA_BIN", str(REPOSITORY / "target/release"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished federation, with the models that sites trained alone."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    lacuna_fl.simulate(SMOKE, out, with_local=True).wait()
    return out


@pytest.fixture(scope="session")
def report(run_folder: Path) -> lacuna_fl.Report:
    return lacuna_fl.Report.open(run_folder)


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three synthetic patients."""
    out = tmp_path_factory.mktemp("patients") / "probe"
    return lacuna_fl.phantoms(out, "probe", cases=3, plane=32, slices=12)
