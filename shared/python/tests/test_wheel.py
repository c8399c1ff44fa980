"""The wheel's tag says the glibc that the programs need."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from lacuna_fl import programs


def hook() -> ModuleType:
    path = Path(__file__).parents[1] / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("objdump") is None, reason="there is no objdump")
def test_the_glibc_of_the_tag_is_that_of_the_newest_symbol() -> None:
    program = programs.find("coordinator")
    symbols = subprocess.check_output(["objdump", "-T", program], text=True)
    found = [(int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols)]
    assert hook().glibc(program) == max(found)


def test_a_file_that_needs_no_glibc_is_no_program_for_the_wheel(tmp_path: Path) -> None:
    file = tmp_path / "coordinator"
    file.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(RuntimeError, match="refers to no symbol of glibc"):
        hook().glibc(file)
