"""Segmenting patients and scoring masks."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy
import pytest

import lacuna_fl


def voxels(path: Path) -> numpy.ndarray:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    return numpy.asanyarray(image.dataobj)


def test_a_patient_is_segmented_from_a_part_of_the_sequences(
    tmp_path: Path, report: lacuna_fl.Report, patients: Path
) -> None:
    case = patients / "probe-0001"
    images = {name: case / f"{name}.nii.gz" for name in ("t1_post", "flair")}
    found = lacuna_fl.predict(
        report.model, images, tmp_path / "out", brain=case / "brain.nii.gz", threshold=0.0101
    )
    assert found.sequences == ["t1_post", "flair"] and found.warnings == []
    assert found.threshold == pytest.approx(0.0101)
    # The mask is where the probability reaches the threshold, and the table counts its voxels.
    mask = voxels(found.mask) != 0
    assert mask.any() and (mask == (voxels(found.probability) >= found.threshold)).all()
    assert found.lesions["voxels"].sum() == mask.sum()
    assert found.picture is not None and found.picture.is_file()
    assert {"dice", "youden"} <= set(found.operating_points.index)
    # Results are only replaced when that is asked for; the same patient's are.
    with pytest.raises(lacuna_fl.LacunaError, match="mask.nii.gz"):
        other = {"t1_post": patients / "probe-0002" / "t1_post.nii.gz"}
        lacuna_fl.predict(report.model, other, tmp_path / "out")


def test_no_lesion_is_an_empty_table(
    tmp_path: Path, report: lacuna_fl.Report, patients: Path
) -> None:
    case = patients / "probe-0001"
    images = {"t1_post": case / "t1_post.nii.gz"}
    found = lacuna_fl.predict(
        report.model, images, tmp_path / "out", brain=case / "brain.nii.gz", threshold=1.0
    )
    assert found.lesions.empty and "volume_mm3" in found.lesions.columns
    assert found.picture is None


def test_a_folder_is_segmented_and_scored(
    tmp_path: Path, report: lacuna_fl.Report, patients: Path
) -> None:
    found = lacuna_fl.predict_cases(report.model, patients, tmp_path / "out")
    assert list(found.table.index) == ["probe-0001", "probe-0002", "probe-0003"]
    assert set(found.by_case) == set(found.table.index)
    table = lacuna_fl.score_cases(
        patients, tmp_path / "out", pair=("{case}/lesion.nii.gz", "{case}/mask.nii.gz")
    )
    assert list(table.index) == list(found.table.index)
    case = "probe-0002"
    reference = voxels(patients / case / "lesion.nii.gz") != 0
    prediction = voxels(found.by_case[case].mask) != 0
    dice = 2 * (reference & prediction).sum() / (reference.sum() + prediction.sum())
    assert table.loc[case, "dice"] == pytest.approx(dice)
    one = lacuna_fl.score(
        patients / case / "lesion.nii.gz",
        found.by_case[case].mask,
        probability=found.by_case[case].probability,
        brain=[patients / case / "brain.nii.gz"],
    )
    assert one["dice"] == pytest.approx(dice)
    assert one["sensitivity_below_3mm"] is None


def test_the_results_of_the_others_are_kept_where_a_patient_cannot_be_segmented(
    tmp_path: Path, report: lacuna_fl.Report
) -> None:
    cases = lacuna_fl.phantoms(tmp_path / "cases", "probe", cases=2, plane=32, slices=12)
    (cases / "probe-0001" / "flair.nii.gz").write_text("no image")
    with pytest.raises(lacuna_fl.DataError, match="1 of 2 patients") as caught:
        lacuna_fl.predict_cases(report.model, cases, tmp_path / "out")
    partial = caught.value.partial
    assert isinstance(partial, lacuna_fl.Predictions)
    assert set(partial.by_case) == {"probe-0002"}
    assert "flair" in str(partial.table.loc["probe-0001", "why"])


def test_pairs_that_cannot_be_scored_do_not_hide_the_others(tmp_path: Path, patients: Path) -> None:
    predictions = tmp_path / "predictions"
    for number, case in enumerate(sorted(patients.glob("probe-*"))):
        folder = predictions / case.name
        folder.mkdir(parents=True)
        content = b"no image" if number == 0 else (case / "lesion.nii.gz").read_bytes()
        (folder / "mask.nii.gz").write_bytes(content)
    pair = ("{case}/lesion.nii.gz", "{case}/mask.nii.gz")
    with pytest.raises(lacuna_fl.DataError) as caught:
        lacuna_fl.score_cases(patients, predictions, pair=pair, distances=False)
    table = caught.value.partial
    assert table["dice"].to_dict() == {"probe-0002": 1.0, "probe-0003": 1.0}  # type: ignore[index]
    assert "probe-0001" in caught.value.log


def test_a_file_without_a_partner_is_a_warning(tmp_path: Path, patients: Path) -> None:
    predictions = tmp_path / "predictions"
    for name in ("probe-0001", "probe-0002"):
        (predictions / name).mkdir(parents=True)
        content = (patients / name / "lesion.nii.gz").read_bytes()
        (predictions / name / "mask.nii.gz").write_bytes(content)
    pair = ("{case}/lesion.nii.gz", "{case}/mask.nii.gz")
    with pytest.warns(lacuna_fl.LacunaWarning, match="probe-0003"):
        table = lacuna_fl.score_cases(patients, predictions, pair=pair, distances=False)
    assert len(table) == 2


def test_a_folder_is_not_scored_as_a_pair(patients: Path) -> None:
    with pytest.raises(lacuna_fl.DataError, match="score_cases"):
        lacuna_fl.score(patients, patients)


def test_phantoms_and_inspect(tmp_path: Path) -> None:
    folder = lacuna_fl.phantoms(
        tmp_path / "north",
        "north",
        cases=2,
        lacks=["bravo", "flair"],
        plane=32,
        slices=12,
        lesions=(2, 2, 2),
        diameter_mm=(20.0, 25.0, 30.0),
        brain_extracted=True,
    )
    found = lacuna_fl.inspect(folder)
    assert len(found["cases"]) == 2
    images = [image["sequence"] for image in found["cases"][0]["images"]]
    assert sorted(images) == ["t1_post", "t1_pre"]
    assert f'root = "{folder}"' in found["table"]
