"""Puts Lacuna's two programs into the wheel, if LACUNA_WHEEL_PROGRAMS names their folder.

Without it the wheel is pure Python, and the programs must be installed in another way. With it, pip
installs them as `lacuna-coordinator` and `lacuna-site-agent`; licences in the same folder are put
into the wheel too. The wheel's tag says which version of
glibc they need: that of the newest symbol that one of them refers to.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = ("coordinator", "site-agent")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = os.environ.get("LACUNA_WHEEL_PROGRAMS")
        # An editable wheel is a link to this folder; its programs are found by LACUNA_BIN.
        if not folder or version == "editable":
            return
        files = {name: Path(folder, name).resolve(strict=True) for name in PROGRAMS}
        scripts = {str(file): f"lacuna-{name}" for name, file in files.items()}
        build_data["shared_scripts"] = scripts
        build_data["pure_python"] = False
        # The licences of what is linked into the programs travel with them.
        for licence in Path(folder).glob("LICEN*"):
            build_data["extra_metadata"][str(licence.resolve())] = f"licenses/{licence.name}"
        major, minor = max(glibc(file) for file in files.values())
        machine = platform.machine()
        build_data["tag"] = f"py3-none-manylinux_{major}_{minor}_{machine}"


def glibc(program: Path) -> tuple[int, int]:
    """The oldest glibc with which a program starts. Reads all bytes, so it may say a newer one than
    is needed, but never an older one.
    """
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)", program.read_bytes())
    if not found:
        raise RuntimeError(f"{program} refers to no symbol of glibc: is it a program for Linux?")
    return max((int(major), int(minor)) for major, minor in found)
