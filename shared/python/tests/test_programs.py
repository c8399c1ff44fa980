"""Finding the programs, and their failures as exceptions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lacuna_fl
from lacuna_fl import errors, programs


def test_importing_loads_neither_pandas_nor_torch() -> None:
    code = "import lacuna_fl, sys; sys.exit('pandas' in sys.modules or 'torch' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(lacuna_fl.__file__).parents[1]
    )


def test_the_variable_comes_before_what_is_installed_and_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, scripts, on_path = tmp_path / "named", tmp_path / "scripts", tmp_path / "path"
    for folder, name in (
        (named, "site-agent"),
        (scripts, "lacuna-site-agent"),
        (on_path, "lacuna-site-agent"),
    ):
        folder.mkdir()
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(programs, "_folders_of_scripts", lambda: [scripts])
    monkeypatch.setenv("PATH", str(on_path))
    monkeypatch.setenv("LACUNA_BIN", str(named))
    assert programs.find("site-agent") == named / "site-agent"
    monkeypatch.delenv("LACUNA_BIN")
    assert programs.find("site-agent") == scripts / "lacuna-site-agent"
    (scripts / "lacuna-site-agent").unlink()
    assert programs.find("site-agent") == on_path / "lacuna-site-agent"
    (on_path / "lacuna-site-agent").unlink()
    with pytest.raises(lacuna_fl.ProgramNotFound, match="lacuna-site-agent is not installed"):
        programs.find("site-agent")


def test_a_folder_without_the_program_is_an_error_even_if_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACUNA_BIN", str(tmp_path))
    with pytest.raises(lacuna_fl.ProgramNotFound, match="LACUNA_BIN names"):
        programs.find("coordinator")


def test_a_failure_has_the_programs_message_hint_and_exit_code(tmp_path: Path) -> None:
    with pytest.raises(lacuna_fl.ConfigurationError) as caught:
        programs.run("coordinator", ["status", "--run-folder", tmp_path / "nothing"])
    error = caught.value
    assert error.exit_code == 3
    assert "nothing" in error.message and not error.message.startswith("error")
    assert error.hint is not None and str(error) == f"{error.message}\nhint: {error.hint}"
    assert error.command[1] == "status"


def test_wrong_usage_is_an_error_of_its_own() -> None:
    with pytest.raises(lacuna_fl.UsageError, match="--no-such-option"):
        programs.run("site-agent", ["score", "--no-such-option"])


def test_each_exit_code_has_its_exception() -> None:
    kinds = {
        1: lacuna_fl.InternalError,
        2: lacuna_fl.UsageError,
        3: lacuna_fl.ConfigurationError,
        4: lacuna_fl.DataError,
        5: lacuna_fl.FederationError,
        6: lacuna_fl.DiskError,
        130: lacuna_fl.InterruptedRun,
        143: lacuna_fl.InterruptedRun,
        # A code that no program of ours has, and the signal SIGSEGV.
        99: lacuna_fl.InternalError,
        -11: lacuna_fl.InternalError,
    }
    for code, kind in kinds.items():
        assert type(errors.failure(["program"], code, "error: it broke\n")) is kind, code


def test_messages_and_hints_can_have_several_lines() -> None:
    log = "1 of 2 done\nwarning: odd\nerror: one\n  two: hint\nhint: try\n  this\n"
    error = errors.failure(["program"], 4, log)
    assert (error.message, error.hint) == ("one\ntwo: hint", "try\nthis")
    assert errors.warnings_of(log) == ["odd"]


def test_a_failure_without_words_still_says_what_happened() -> None:
    assert "exit code 5" in errors.failure(["program"], 5, "").message
    assert "signal 9" in errors.failure(["program"], -9, "").message
