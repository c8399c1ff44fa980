"""Federations on this machine, started and followed from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import SMOKE

import lacuna_fl

#: The federation of configs/demo-smoke.toml, as a dictionary.
SETTINGS: dict[str, Any] = {
    "name": "demo-smoke",
    "seed": 1,
    "rounds": 2,
    "input": {"sequences": ["bravo", "t1_pre", "t1_post", "flair"], "slices": 3, "plane": 32},
    "model": {"preset": "tiny", "width": 8},
    "training": {"steps": 4, "batch": 4},
    "evaluation": {"validation_share": 0.3},
    "simulate": {
        "phantom": {"plane": 32, "slices": 12},
        "sites": [
            {"name": "north", "role": "train", "cases": 3, "lacks": ["bravo"]},
            {"name": "south", "role": "train", "cases": 3, "lacks": ["flair"]},
            {"name": "harbour", "role": "evaluate", "cases": 2, "lacks": ["bravo"]},
        ],
    },
}

#: Long enough to be stopped in the middle.
LONG: dict[str, Any] = {**SETTINGS, "name": "long", "rounds": 500}


def test_progress_only_grows_and_ends_with_the_finished_federation(tmp_path: Path) -> None:
    seen = list(lacuna_fl.simulate(SMOKE, tmp_path / "run").follow(every=0.05))
    rounds = [progress.finished_rounds for progress in seen]
    assert rounds == sorted(rounds)
    last = seen[-1]
    assert (last.phase, last.rounds, last.finished_rounds) == ("finished", 2, 2)
    assert list(last.curves["round"]) == [1, 2]
    assert set(last.sites.index) == {"north", "south", "harbour"}
    assert last.validation_dice is not None
    assert str(last).startswith("finished, 2 of 2 rounds, best validation Dice 0.")
    for one, other in zip(seen, seen[1:], strict=False):
        assert one.status != other.status


def test_a_dictionary_gives_the_model_that_its_file_gives(tmp_path: Path, run_folder: Path) -> None:
    report = lacuna_fl.simulate(SETTINGS, tmp_path / "run").wait()
    model = report.model.read_bytes()
    assert model == (run_folder / "models/federation.safetensors").read_bytes()


def test_before_there_is_a_run_folder_it_is_starting() -> None:
    progress = lacuna_fl.Progress({})
    assert (progress.phase, progress.finished_rounds, str(progress)) == ("starting", 0, "starting")
    assert progress.sites.empty and progress.curves.empty


def test_a_stopped_federation_is_continued_by_the_same_call(tmp_path: Path) -> None:
    settings = {**SETTINGS, "rounds": 6}
    out = tmp_path / "run"
    with lacuna_fl.simulate(settings, out) as simulation:
        for progress in simulation.follow(every=0.05):
            if progress.finished_rounds >= 1:
                break
    assert not simulation.running
    assert not (out / "report.json").exists()
    report = lacuna_fl.simulate(settings, out).wait()
    assert list(report.rounds().index) == [1, 2, 3, 4, 5, 6]


def test_stopping_is_an_interruption_for_who_waits(tmp_path: Path) -> None:
    simulation = lacuna_fl.simulate(LONG, tmp_path / "run")
    for progress in simulation.follow(every=0.05):
        if progress.phase == "working":
            break
    simulation.stop()
    with pytest.raises(lacuna_fl.InterruptedRun):
        simulation.wait()


def test_a_simulation_that_nobody_holds_any_more_is_stopped(tmp_path: Path) -> None:
    simulation = lacuna_fl.simulate(LONG, tmp_path / "run")
    process = simulation._process
    assert process.poll() is None
    del simulation
    assert process.poll() is not None


def test_settings_that_cannot_work_name_the_key(tmp_path: Path) -> None:
    simulation = lacuna_fl.simulate({**SETTINGS, "rouns": 2}, tmp_path / "run")
    with pytest.raises(lacuna_fl.ConfigurationError, match="rouns"):
        list(simulation)
    assert "rouns" in simulation.log
