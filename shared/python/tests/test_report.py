"""The report's tables hold what report.json says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import lacuna_fl
from lacuna_fl.report import Point

POINTS: list[Point] = ["dice", "youden"]


def test_sites_have_their_cases_and_the_means_at_the_chosen_point(report: lacuna_fl.Report) -> None:
    sites = report.sites()
    assert list(sites.index) == ["harbour", "north", "south"]
    assert sites.loc["harbour", "sequences"] == "t1_pre t1_post flair"
    assert (sites.loc["harbour", "role"], sites.loc["harbour", "held_out"]) == ("evaluate", 2)
    points = report.data["sites"][0]["operating_points"]
    for at in POINTS:
        table = report.sites(at=at)
        assert table.loc["harbour", "dice"] == points[at]["metrics"]["dice"]["mean"]
        assert table.loc["harbour", "threshold"] == points[at]["threshold"]
    assert points["dice"]["threshold"] != points["youden"]["threshold"]


def test_metrics_have_every_group_and_every_metric(report: lacuna_fl.Report) -> None:
    metrics = report.metrics().set_index(["group", "metric"])
    groups = {"harbour", "north", "south", "all held out", "all validation"}
    assert set(metrics.index.get_level_values("group")) == groups
    pooled = report.data["pooled"]["held_out"]["operating_points"]["dice"]["metrics"]
    assert set(metrics.loc["all held out"].index) == set(pooled)
    assert metrics.loc[("all held out", "dice"), "n"] == 2


def test_an_undefined_value_is_not_a_number(report: lacuna_fl.Report) -> None:
    # One validation patient: no deviation between patients.
    metrics = report.metrics().set_index(["group", "metric"])
    assert math.isnan(float(metrics.loc[("north", "dice"), "sd"]))  # type: ignore[arg-type]
    # No patient of any site has all sequences.
    assert report.subsets().loc["bravo t1_pre t1_post flair"].isna().all()
    assert report.subsets().dtypes.map(str).eq("float64").all()


def test_rounds_weigh_losses_as_the_average_weighs_updates(report: lacuna_fl.Report) -> None:
    rounds, updates = report.rounds(), report.updates()
    assert list(rounds.index) == [1, 2] and list(rounds["updates"]) == [2, 2]
    first = updates[updates["round"] == 1]
    weighted = (first["slices"] * first["mean_loss"]).sum() / first["slices"].sum()
    assert rounds.loc[1, "mean_loss"] == pytest.approx(weighted)
    assert list(report.validation_by_site().columns) == ["north", "south"]
    assert report.missing().empty


def test_every_subset_has_a_row_and_every_site_a_column(report: lacuna_fl.Report) -> None:
    subsets = report.subsets("lesion_recall", at="youden")
    assert len(subsets) == 15
    assert list(subsets.columns) == ["harbour", "north", "south", "all held out", "all validation"]
    row = report.data["matrix"]["rows"][4]
    cell = row["sites"][0]
    expected = cell["metrics"]["lesion_recall"]["mean"]
    assert subsets.loc[" ".join(row["sequences"]), cell["site"]] == expected
    without = report.without()
    assert list(without.index) == ["bravo", "t1_pre", "t1_post", "flair"]
    change = without["dice_without"] - without["dice"]
    assert change.to_list() == pytest.approx(without["change"].to_list())


def test_models_trained_alone_have_reports_of_the_same_form(report: lacuna_fl.Report) -> None:
    alone = report.alone()
    assert set(alone) == {"north", "south"}
    assert list(alone["north"].rounds()["updates"]) == [1, 1]
    consensus = report.consensus()
    assert consensus is not None and consensus.rounds().empty
    assert consensus.validation_by_site().empty
    runs = ["federation", "alone:north", "alone:south", "consensus"]
    assert list(report.comparison()["run"].unique()) == runs
    tests = report.tests()
    assert set(tests["run"]) == set(runs[1:])
    assert (tests["signed_rank_holm"].dropna() >= tests["signed_rank"].dropna()).all()
    with pytest.raises(lacuna_fl.DataError, match="no comparison"):
        alone["north"].comparison()


def test_patients_have_a_row_at_each_operating_point(report: lacuna_fl.Report) -> None:
    for at in POINTS:
        cases = report.cases(at)
        ours = cases[(cases["run"] == "federation") & (cases["site"] == "harbour")]
        assert list(ours["case"]) == [0, 1]
        assert ours["dice"].mean() == pytest.approx(report.sites(at)["dice"]["harbour"])
        assert ours["reference_lesions"].sum() == 20
    curves = report.curves()
    ours = curves[(curves["run"] == "federation") & (curves["site"] == "all")]
    expected = report.rounds()["validation_dice"].to_list()
    assert ours["validation_dice"].to_list() == pytest.approx(expected)


def test_a_report_outside_of_its_run_folder_has_no_patients(
    tmp_path: Path, report: lacuna_fl.Report
) -> None:
    elsewhere = tmp_path / "report.json"
    elsewhere.write_text(json.dumps(report.data))
    with pytest.raises(lacuna_fl.DataError, match="cases.csv"):
        lacuna_fl.Report.open(elsewhere).cases()


def test_lesions_by_size_add_up_to_all(report: lacuna_fl.Report) -> None:
    lesions = report.lesions().groupby("site")["reference"].sum()
    assert lesions["harbour"] == report.sites().loc["harbour", "held_out_lesions"]


def test_a_folder_without_a_report_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(lacuna_fl.DataError, match="when the federation is finished"):
        lacuna_fl.Report.open(tmp_path)


def test_a_report_of_another_version_is_refused(tmp_path: Path, report: lacuna_fl.Report) -> None:
    other = tmp_path / "report.json"
    other.write_text(json.dumps({**report.data, "version": 3}))
    with pytest.raises(lacuna_fl.DataError, match="has version 3"):
        lacuna_fl.Report.open(other)
    other.write_text("[]")
    with pytest.raises(lacuna_fl.DataError, match="has version None"):
        lacuna_fl.Report.open(other)
    other.write_text("{")
    with pytest.raises(lacuna_fl.DataError, match="is not a report"):
        lacuna_fl.Report.open(other)
