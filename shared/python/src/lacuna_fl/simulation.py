"""Federations on this machine: starts `coordinator simulate` and follows it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lacuna_fl.errors import failure
from lacuna_fl.programs import StrPath, find, start, stop
from lacuna_fl.report import Report

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Progress:
    """How far a federation is."""

    #: All that `coordinator status --json` says; empty before there is anything to say.
    status: Mapping[str, Any]

    @property
    def phase(self) -> str:
        """`starting`, `gathering`, `working`, `stopping` or `finished`."""
        phase = self.status.get("phase", "starting")
        # The run folder's own record, before this coordinator has begun.
        return "starting" if phase == "away" else str(phase)

    @property
    def rounds(self) -> int:
        """Rounds planned."""
        return int(self.status.get("rounds", 0))

    @property
    def finished_rounds(self) -> int:
        """Finished rounds of the federation's own training."""
        runs = self.status.get("runs", [])
        return int(runs[0]["finished"]) if runs else 0

    @property
    def validation_dice(self) -> float | None:
        """The best validation Dice so far; None before the first score."""
        runs = self.status.get("runs", [])
        return runs[0]["best_validation"] if runs else None

    @property
    def curves(self) -> pandas.DataFrame:
        """A row for each finished round of each run: seconds, bytes, validation Dice, loss."""
        import pandas

        rows = []
        for run in self.status.get("runs", []):
            for done in run["rounds"]:
                losses = list(done["losses"].values())
                rows.append(
                    {
                        "run": run["name"],
                        "round": done["round"],
                        "seconds": done["seconds"],
                        "bytes": done["bytes"],
                        "validation_dice": done["validation"],
                        "mean_loss": sum(losses) / len(losses) if losses else None,
                    }
                )
        columns = ["run", "round", "seconds", "bytes", "validation_dice", "mean_loss"]
        return pandas.DataFrame(rows, columns=columns)

    @property
    def sites(self) -> pandas.DataFrame:
        """A row for each site: what it is doing, how far it is, its loss and speed."""
        import pandas

        rows = []
        for name, site in self.status.get("sites", {}).items():
            row = {"site": name}
            for key in ("role", "state", "done", "total", "loss", "slices_per_second", "reason"):
                row[key] = site[key]
            rows.append(row)
        columns = ["site", "role", "state", "done", "total", "loss", "slices_per_second", "reason"]
        return pandas.DataFrame(rows, columns=columns).set_index("site")

    def __str__(self) -> str:
        words = f"{self.phase}, {self.finished_rounds} of {self.rounds} rounds"
        if self.phase == "starting":
            words = self.phase
        if self.validation_dice is not None:
            words += f", best validation Dice {self.validation_dice:.3f}"
        busy = []
        for name, site in self.status.get("sites", {}).items():
            if site["total"] > 0 and self.phase == "working":
                busy.append(f"{name} {site['state']} {site['done']}/{site['total']}")
        return "; ".join([words, *busy])


class Simulation:
    """A running federation. Iterate over it to see its progress, or `wait` for its report.

    It ends with this Python process, with `stop`, and with the `with` block that it is used in.
    """

    def __init__(self, command: list[str], out: Path, settings: Path | None) -> None:
        #: The run folder.
        self.folder = out
        self._command = command
        self._lines: list[str] = []
        self._process = start(command, subprocess.DEVNULL)
        self._reader = threading.Thread(
            target=_read, args=(self._process, self._lines), daemon=True
        )
        self._reader.start()
        self._end = weakref.finalize(self, _end, self._process, settings)

    @property
    def log(self) -> str:
        """What the coordinator has said so far."""
        return "".join(self._lines)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def progress(self) -> Progress:
        """How far it is now."""
        command = [str(find("coordinator")), "status", "--json", "--run-folder", str(self.folder)]
        answer = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
        # While the synthetic patients are drawn, there is no run folder to look at yet.
        if answer.returncode != 0:
            return Progress({})
        return Progress(json.loads(answer.stdout))

    def follow(self, every: float = 1.0) -> Iterator[Progress]:
        """The progress, each time that it has changed; it is looked at `every` so many seconds.

        The last one is that of the finished federation. Ctrl-C stops the federation, as in `wait`.
        """
        before: dict[str, Any] | None = None
        try:
            while True:
                running = self.running
                if not running:
                    self._raise_failure()
                progress = self.progress()
                seen = dict(progress.status)
                # The time of the question itself is no progress.
                seen.pop("now", None)
                if seen != before:
                    before = seen
                    yield progress
                if not running:
                    return
                self._sleep(every)
        except KeyboardInterrupt:
            self.stop()
            raise

    def __iter__(self) -> Iterator[Progress]:
        return self.follow()

    def _sleep(self, seconds: float) -> None:
        """Sleeps, but not longer than the program runs."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            time.sleep(0.05)

    def _raise_failure(self) -> None:
        code = self._process.wait()
        self._reader.join()
        self._end()
        if code != 0:
            raise failure(self._command, code, self.log)

    def wait(self) -> Report:
        """Waits until it is finished, and returns its report.

        Ctrl-C stops the federation. To continue it, call `simulate` with the same settings and
        folder.
        """
        try:
            self._raise_failure()
        except KeyboardInterrupt:
            self.stop()
            raise
        return Report.open(self.folder)

    def stop(self) -> None:
        """Stops it: finished rounds are kept, and the same call of `simulate` continues it."""
        stop(self._process)
        self._reader.join()
        self._end()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


# Functions of their own, because a method would keep the `Simulation` alive.


def _read(process: subprocess.Popen[str], lines: list[str]) -> None:
    """Reads what the program says, so that it never waits for a reader."""
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)


def _end(process: subprocess.Popen[str], settings: Path | None) -> None:
    """Stops the program and removes the settings that were written for it."""
    stop(process)
    if settings is not None:
        settings.unlink(missing_ok=True)


def simulate(
    settings: StrPath | Mapping[str, Any],
    out: StrPath,
    *,
    with_local: bool = False,
    start_from: StrPath | None = None,
) -> Simulation:
    """Starts a whole federation on this machine: every site is a process of its own.

    `settings` is a TOML file such as configs/demo.toml, or the same as a dictionary. `out` is the
    run folder; an unfinished run of the same settings in it is continued. With `with_local` each
    site is also trained alone, for comparison. `start_from` names the weights to start from.
    """
    written: Path | None = None
    if isinstance(settings, Mapping):
        written = _write(settings)
        file: StrPath = written
    else:
        file = settings
    command = [str(find("coordinator")), "simulate", str(file), "--out", str(out)]
    if with_local:
        command.append("--with-local")
    if start_from is not None:
        command += ["--start", str(start_from)]
    return Simulation(command, Path(out), written)


def _write(settings: Mapping[str, Any]) -> Path:
    import tomli_w

    with tempfile.NamedTemporaryFile("wb", suffix=".toml", delete=False) as file:
        tomli_w.dump(settings, file)
    return Path(file.name)
