"""The failures of Lacuna's programs as exceptions, one class for each exit code."""

from __future__ import annotations

from collections.abc import Sequence


class LacunaWarning(UserWarning):
    """What a program warns of: something about a patient's files, or about a model."""


class LacunaError(Exception):
    """A failure: what happened, and what can be done.

    `message` and `hint` are the program's own words. `exit_code` is None where no program ran.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        exit_code: int | None = None,
        command: Sequence[str] = (),
        log: str = "",
    ) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        #: The command line that failed.
        self.command = list(command)
        #: All that the program wrote to standard error.
        self.log = log
        #: What the command finished all the same, such as the results of the other patients.
        self.partial: object = None


class InternalError(LacunaError):
    """A fault in Lacuna (exit code 1, or a program that a signal ended)."""


class UsageError(LacunaError):
    """Arguments that do not fit together (exit code 2)."""


class ConfigurationError(LacunaError):
    """Settings or an option that cannot work (exit code 3)."""


class DataError(LacunaError):
    """Data that is missing or unusable (exit code 4)."""


class FederationError(LacunaError):
    """The federation, the network or the device refuses (exit code 5)."""


class DiskError(LacunaError):
    """A file cannot be read or written (exit code 6)."""


class InterruptedRun(LacunaError):
    """The run was stopped before its end (exit codes 130 and 143). It can be continued."""


class ProgramNotFound(LacunaError):
    """The programs are not installed."""


_BY_EXIT_CODE: dict[int, type[LacunaError]] = {
    1: InternalError,
    2: UsageError,
    3: ConfigurationError,
    4: DataError,
    5: FederationError,
    6: DiskError,
    130: InterruptedRun,
    143: InterruptedRun,
}


def failure(command: Sequence[str], exit_code: int, log: str) -> LacunaError:
    """The exception for a program that ended with this exit code and wrote this log."""
    message, hint = _message_and_hint(log)
    if exit_code < 0:
        words = f"the program was ended by signal {-exit_code}"
        message = f"{words}: {message}" if message else words
    elif not message:
        message = f"the program ended with exit code {exit_code}"
    kind = _BY_EXIT_CODE.get(exit_code, InternalError)
    return kind(message, hint, exit_code=exit_code, command=command, log=log)


def warnings_of(log: str) -> list[str]:
    """The warnings in a program's log."""
    found = []
    for line in log.splitlines():
        if line.startswith("warning: "):
            found.append(line.removeprefix("warning: "))
    return found


def _message_and_hint(log: str) -> tuple[str, str | None]:
    """What follows `error: ` and `hint: ` at the end of a log. Either can have several lines."""
    message: list[str] = []
    hint: list[str] = []
    part: list[str] | None = None
    for line in log.splitlines():
        if part is None and line.startswith("error: "):
            part = message
            line = line.removeprefix("error: ")
        elif part is message and line.startswith("hint: "):
            part = hint
            line = line.removeprefix("hint: ")
        if part is not None:
            # The programs indent the lines after the first.
            part.append(line.removeprefix("  "))
    if not message:
        # Where some files of a folder were left out, the program only warns, and ends with code 4.
        return "\n".join(warnings_of(log)), None
    return "\n".join(message).strip(), "\n".join(hint).strip() or None
