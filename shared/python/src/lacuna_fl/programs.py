"""Finds and starts Lacuna's two programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Union

from lacuna_fl.errors import LacunaWarning, ProgramNotFound, failure, warnings_of

Program = Literal["coordinator", "site-agent"]
StrPath = Union[str, "os.PathLike[str]"]

#: Names the folder of the programs, instead of those that came with this package.
VARIABLE = "LACUNA_BIN"


def find(program: Program) -> Path:
    """The program: in the folder that LACUNA_BIN names, else installed with this package, else on
    the path.
    """
    installed_name = f"lacuna-{program}"
    folder = os.environ.get(VARIABLE)
    if folder:
        for name in (installed_name, program):
            path = Path(folder, name)
            if path.is_file():
                return path.resolve()
        raise ProgramNotFound(
            f"there is no {program} in {folder}, the folder that {VARIABLE} names",
            f"name the folder that holds both programs, or unset {VARIABLE}",
        )
    for scripts in _folders_of_scripts():
        path = scripts / installed_name
        if path.is_file():
            return path
    on_path = shutil.which(installed_name)
    if on_path is not None:
        return Path(on_path)
    raise ProgramNotFound(
        f"{installed_name} is not installed",
        f"install lacuna-fl from a wheel, or let {VARIABLE} name the folder in which "
        "`cargo build --release` made the programs, such as target/release",
    )


def _folders_of_scripts() -> Iterable[Path]:
    """Where pip puts programs: for this interpreter, for this user, and below `pip --target`."""
    yield Path(sysconfig.get_path("scripts"))
    if os.name == "posix":
        yield Path(sysconfig.get_path("scripts", scheme="posix_user"))
    yield Path(__file__).parent.parent / "bin"


def start(command: Sequence[str], stdout: int) -> subprocess.Popen[str]:
    """Starts a program in a session of its own: Ctrl-C in the terminal reaches only Python, which
    passes it on once.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=sys.platform != "win32",
    )


def stop(process: subprocess.Popen[str], patience: float = 30.0) -> None:
    """Stops a program as Ctrl-C does, and kills it if that takes longer than `patience` seconds."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(program: Program, arguments: Sequence[StrPath], *, output_in_errors: bool = False) -> str:
    """Runs a program to its end and returns what it prints. Its warnings become Python's.

    Where `output_in_errors` is set, an exception's `partial` is what was printed before the
    failure.
    """
    command = [str(find(program)), *[os.fspath(argument) for argument in arguments]]
    process = start(command, subprocess.PIPE)
    try:
        output, log = process.communicate()
    except BaseException:
        stop(process)
        raise
    for warning in warnings_of(log):
        warnings.warn(warning, LacunaWarning, stacklevel=3)
    if process.returncode != 0:
        error = failure(command, process.returncode, log)
        if output_in_errors:
            error.partial = output
        raise error
    return output
