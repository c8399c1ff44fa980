"""Segments patients, scores masks, makes synthetic patients, and looks at folders of images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacuna_fl.errors import DataError, LacunaError
from lacuna_fl.programs import StrPath, run

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Prediction:
    """A segmented patient: where the files are, and what they say."""

    #: All that `site-agent predict --json` says.
    summary: Mapping[str, Any]

    @property
    def mask(self) -> Path:
        """The mask, NIfTI, on the patient's own grid."""
        return Path(self.summary["mask"])

    @property
    def probability(self) -> Path:
        """The probability of lesion of each voxel, NIfTI."""
        return Path(self.summary["probability"])

    @property
    def picture(self) -> Path | None:
        """The slices of the largest lesions, PNG; None without a lesion."""
        path = self.summary.get("picture")
        return None if path is None else Path(path)

    @property
    def sequences(self) -> list[str]:
        """The sequences that the network was shown."""
        return list(self.summary["sequences"])

    @property
    def threshold(self) -> float:
        """From which probability on a voxel of the mask is lesion."""
        return float(self.summary["threshold"])

    @property
    def warnings(self) -> list[str]:
        """What a reader of the result should know about the patient's files."""
        return list(self.summary["warnings"])

    @property
    def lesions(self) -> pandas.DataFrame:
        """The lesions of the mask, the largest first: place, size, probability."""
        import pandas

        rows = []
        for lesion in self.summary["lesion_table"]:
            row = dict(lesion)
            right, front, top = row.pop("centre_mm")
            row.update(right_mm=right, front_mm=front, top_mm=top)
            rows.append(row)
        columns = [
            "number",
            "right_mm",
            "front_mm",
            "top_mm",
            "voxels",
            "volume_mm3",
            "slices",
            "longest_mm",
            "across_mm",
            "mean_probability",
            "max_probability",
            "measurable",
        ]
        return pandas.DataFrame(rows, columns=columns).set_index("number")

    @property
    def operating_points(self) -> pandas.DataFrame:
        """What each operating point calls lesion, by name."""
        import pandas

        return pandas.DataFrame(self.summary["operating_points"]).set_index("name")


@dataclass(frozen=True)
class Predictions:
    """Many segmented patients."""

    #: A row for each patient, by case: the state, the lesions, and why there is no result.
    table: pandas.DataFrame
    #: The result of each patient that has one, by case.
    by_case: Mapping[str, Prediction]


def predict(
    model: StrPath,
    sequences: Mapping[str, StrPath],
    out: StrPath,
    *,
    brain: StrPath | None = None,
    register: bool = False,
    reference: str | None = None,
    operating_point: str | None = None,
    threshold: float | None = None,
    calibration: StrPath | None = None,
    dicom: StrPath | None = None,
    series: str | None = None,
    dicom_sequence: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    force: bool = False,
) -> Prediction:
    """Segments one patient, from any subset of the sequences that the model knows.

    `sequences` gives the image of each sequence, such as `{"t1_post": "scan.nii.gz"}`. All must be
    on one grid; with `register` they are brought onto one first. The results are written into the
    folder `out`. The other arguments are those of `site-agent predict`.
    """
    arguments: list[StrPath] = ["predict", "--model", model, "--out", out, "--json"]
    for name, path in sequences.items():
        arguments += ["--sequence", f"{name}={path}"]
    arguments += _given("--brain", brain)
    arguments += _given("--dicom", dicom)
    arguments += _given("--series", series)
    arguments += _given("--dicom-sequence", dicom_sequence)
    arguments += _choices(register, reference, operating_point, threshold, calibration)
    arguments += _machine(device, threads, force)
    return Prediction(json.loads(run("site-agent", arguments)))


def predict_cases(
    model: StrPath,
    cases: StrPath,
    out: StrPath,
    *,
    sequences: Mapping[str, str] | None = None,
    register: bool = False,
    reference: str | None = None,
    operating_point: str | None = None,
    threshold: float | None = None,
    calibration: StrPath | None = None,
    device: str = "cpu",
    threads: int | None = None,
    force: bool = False,
) -> Predictions:
    """Segments every patient of the folder `cases`, each into a folder of its own below `out`.

    Without `sequences`, the images are `CASE/SEQUENCE.nii.gz`. Otherwise it gives a pattern for
    each sequence, such as `{"t1_post": "{case}/scan.nii.gz"}`. What an earlier call has finished is
    kept. If a patient has no result, `DataError` is raised after all others are done; its `partial`
    is the `Predictions`, and their table says why.
    """
    arguments: list[StrPath] = ["predict", "--model", model, "--cases", cases, "--out", out]
    arguments += ["--json"]
    for name, pattern in (sequences or {}).items():
        arguments += ["--sequence", f"{name}={pattern}"]
    arguments += _choices(register, reference, operating_point, threshold, calibration)
    arguments += _machine(device, threads, force)
    try:
        output = run("site-agent", arguments, output_in_errors=True)
    except DataError as error:
        printed = error.partial
        error.partial = _predictions(printed) if isinstance(printed, str) and printed else None
        raise
    return _predictions(output)


def _predictions(output: str) -> Predictions:
    import pandas

    cohort = json.loads(output)
    by_case = {}
    for case in cohort["cases"]:
        if case.get("result") is not None:
            by_case[case["case"]] = Prediction(case["result"])
    # A case's name is text, also where it looks like a number.
    table = pandas.read_csv(cohort["table"], dtype={"case": str}).set_index("case")
    return Predictions(table, by_case)


def score(
    reference: StrPath,
    prediction: StrPath,
    *,
    labels: Sequence[int] = (),
    prediction_labels: Sequence[int] = (),
    probability: StrPath | None = None,
    brain: Sequence[StrPath] = (),
    distances: bool = True,
) -> dict[str, Any]:
    """Scores one predicted mask against its reference. An undefined value is None.

    `labels` are the values of the reference that are lesion; they may be left out where the mask
    has only 0 and one other value. With `probability`, a map in which lesion scores higher, there
    are also the AUC and Youden's threshold, for which `brain` names the brain mask.
    """
    for path in (reference, prediction):
        if Path(path).is_dir():
            raise DataError(f"{path} is a folder", "score_cases scores folders")
    arguments: list[StrPath] = ["score", "--json"]
    arguments += ["--reference", reference, "--prediction", prediction]
    arguments += _labels(labels, prediction_labels)
    arguments += _given("--score", probability)
    for path in brain:
        arguments += ["--brain", path]
    if not distances:
        arguments.append("--no-distances")
    scores: dict[str, Any] = json.loads(run("site-agent", arguments))
    return scores


def score_cases(
    reference: StrPath,
    prediction: StrPath,
    *,
    labels: Sequence[int] = (),
    prediction_labels: Sequence[int] = (),
    pair: tuple[str, str] | None = None,
    reference_suffix: str = "",
    prediction_suffix: str = "",
    distances: bool = True,
) -> pandas.DataFrame:
    """Scores a folder of predictions against a folder of references: a row for each case.

    `pair` gives the patterns of both, such as `("{case}/lesion.nii.gz", "{case}/mask.nii.gz")`;
    without it, files are paired by their names or by those of their folders. If a pair could not be
    scored, `DataError` is raised; its `partial` is the table of all others.
    """
    import pandas

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "scores.csv")
        arguments: list[StrPath] = ["score", "--csv", table]
        arguments += ["--reference", reference, "--prediction", prediction]
        arguments += _labels(labels, prediction_labels)
        if pair is not None:
            arguments += ["--pair", *pair]
        if reference_suffix:
            arguments += ["--reference-suffix", reference_suffix]
        if prediction_suffix:
            arguments += ["--prediction-suffix", prediction_suffix]
        if not distances:
            arguments.append("--no-distances")
        error: LacunaError | None = None
        try:
            run("site-agent", arguments)
        except DataError as failed:
            error = failed
        scores = None
        if table.exists():
            scores = pandas.read_csv(table, dtype={"case": str}).set_index("case")
        if error is not None:
            error.partial = scores
            raise error
        assert scores is not None, "site-agent score --csv succeeded without writing its table"
        return scores


def phantoms(
    out: StrPath,
    site: str,
    *,
    cases: int,
    lacks: Sequence[str] = (),
    seed: int = 1,
    plane: int = 64,
    slices: int = 24,
    lesions: tuple[int, int, int] | None = None,
    diameter_mm: tuple[float, float, float] | None = None,
    brain_extracted: bool = False,
) -> Path:
    """Writes the synthetic patients of one site as NIfTI files, and returns their folder.

    `lesions` gives the fewest, the median and the most lesions of a patient, `diameter_mm` the same
    for their diameters.
    """
    arguments: list[StrPath] = ["phantom", "--out", out, "--site", site, "--json"]
    arguments += ["--cases", str(cases), "--seed", str(seed)]
    arguments += ["--plane", str(plane), "--slices", str(slices)]
    if lacks:
        arguments += ["--lacks", ",".join(lacks)]
    if lesions is not None:
        arguments += ["--lesions", ",".join(str(number) for number in lesions)]
    if diameter_mm is not None:
        arguments += ["--diameter-mm", ",".join(str(number) for number in diameter_mm)]
    if brain_extracted:
        arguments.append("--brain-extracted")
    return Path(json.loads(run("site-agent", arguments))["folder"])


def inspect(folder: StrPath) -> dict[str, Any]:
    """What a folder of images holds: its layout, its cases and their problems.

    `table` is the `[data]` table of its settings, as text.
    """
    found: dict[str, Any] = json.loads(run("site-agent", ["inspect", folder, "--json"]))
    return found


def _given(option: str, value: StrPath | None) -> list[StrPath]:
    return [] if value is None else [option, value]


def _labels(labels: Sequence[int], prediction_labels: Sequence[int]) -> list[StrPath]:
    arguments: list[StrPath] = []
    if labels:
        arguments += ["--labels", ",".join(str(label) for label in labels)]
    if prediction_labels:
        arguments += ["--prediction-labels", ",".join(str(label) for label in prediction_labels)]
    return arguments


def _choices(
    register: bool,
    reference: str | None,
    operating_point: str | None,
    threshold: float | None,
    calibration: StrPath | None,
) -> list[StrPath]:
    arguments: list[StrPath] = []
    if register:
        arguments.append("--register")
    arguments += _given("--reference", reference)
    arguments += _given("--operating-point", operating_point)
    arguments += _given("--threshold", None if threshold is None else str(threshold))
    arguments += _given("--calibration", calibration)
    return arguments


def _machine(device: str, threads: int | None, force: bool) -> list[StrPath]:
    arguments: list[StrPath] = ["--device", device]
    arguments += _given("--threads", None if threads is None else str(threads))
    if force:
        arguments.append("--force")
    return arguments
