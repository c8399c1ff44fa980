"""The report of a finished federation as pandas tables.

docs/users/REPORT.md describes `report.json`, which is the source of all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacuna_fl.errors import DataError
from lacuna_fl.programs import StrPath

if TYPE_CHECKING:
    import pandas

#: The version of report.json that this package reads.
VERSION = 2

#: The two operating points of equal rank: the threshold with the best Dice on validation patients,
#: for outlines and volumes, and Youden's, the publication's, which finds the most and marks too
#: much.
Point = Literal["dice", "youden"]

_INVENTORY = [
    "training",
    "validation",
    "held_out",
    "skipped",
    "training_lesions",
    "validation_lesions",
    "held_out_lesions",
]


@dataclass(frozen=True)
class Report:
    """A run's report. An undefined value is NaN, never 0.

    Tables of metrics have the mean over patients. `at` chooses the operating point.
    """

    #: The folder of the report.
    folder: Path
    #: `report.json`; or, of a site's own model and of the consensus, the part of it about them.
    data: Mapping[str, Any]

    @classmethod
    def open(cls, path: StrPath) -> Report:
        """Reads the report in a run folder, or a `report.json` itself."""
        path = Path(path)
        file = path / "report.json" if path.is_dir() else path
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DataError(
                f"there is no {file}",
                "a run folder gets its report when the federation is finished; "
                "`coordinator status` says how far it is",
            ) from None
        try:
            data = json.loads(text)
        except ValueError as error:
            raise DataError(f"{file} is not a report: {error}") from None
        if not isinstance(data, dict) or data.get("version") != VERSION:
            found = data.get("version") if isinstance(data, dict) else None
            raise DataError(
                f"{file} has version {found}; this package reads version {VERSION}",
                "`coordinator report RUN_FOLDER` of the same release writes it again",
            )
        return cls(file.parent, data)

    @property
    def name(self) -> str:
        """The federation's name."""
        return str(self.data["name"])

    @property
    def best_round(self) -> int:
        """The round whose model is reported: the one with the best validation."""
        return int(self.data["best_round"])

    @property
    def thresholds(self) -> dict[str, float | None]:
        """The probability from which on a voxel is lesion, by operating point."""
        return dict(self.data["thresholds"])

    @property
    def model(self) -> Path:
        """The federation's model of the best round, in the run folder."""
        return self.folder / "models" / "federation.safetensors"

    @property
    def html(self) -> Path:
        """The report for people."""
        return self.folder / "report.html"

    def alone(self) -> dict[str, Report]:
        """With `--with-local`: of each site, the report of the model that it trained alone."""
        found = {}
        for part in self.data.get("alone", []):
            found[part["run"].removeprefix("alone:")] = Report(self.folder, part)
        return found

    def consensus(self) -> Report | None:
        """With `--with-local`: the report of the mean of the probabilities of those models."""
        part = self.data.get("consensus")
        return None if part is None else Report(self.folder, part)

    def sites(self, at: Point = "dice") -> pandas.DataFrame:
        """A row for each site: its role, sequences and numbers of cases, and each metric's mean."""
        import pandas

        rows = []
        for site in self.data["sites"]:
            row = {"site": site["name"], "role": site["role"]}
            row["sequences"] = " ".join(site["sequences"])
            row["cases"] = site["cases"]
            for key in _INVENTORY:
                row[key] = site["inventory"][key]
            point = site["operating_points"][at]
            row["threshold"] = point["threshold"]
            for metric, value in point["metrics"].items():
                row[metric] = value["mean"]
            rows.append(row)
        return _numbers(pandas.DataFrame(rows).set_index("site"), text=["role", "sequences"])

    def metrics(self, at: Point = "dice") -> pandas.DataFrame:
        """A row for each metric of each site, and of all held-out and all validation cases: mean,
        standard deviation, and number of patients for whom it is defined.
        """
        import pandas

        groups = []
        for site in self.data["sites"]:
            groups.append((site["name"], site["role"], site))
        groups.append(("all held out", "evaluate", self.data["pooled"]["held_out"]))
        groups.append(("all validation", "validate", self.data["pooled"]["validation"]))
        rows = []
        for name, role, group in groups:
            for metric, value in group["operating_points"][at]["metrics"].items():
                rows.append({"group": name, "role": role, "metric": metric, **value})
        return _numbers(pandas.DataFrame(rows), text=["group", "role", "metric"])

    def lesions(self, at: Point = "dice") -> pandas.DataFrame:
        """Lesions of each site by their diameter: how many there are, and how many are found.

        The last range has no upper end: `to_mm` is NaN.
        """
        import pandas

        rows = []
        for site in self.data["sites"]:
            for size in site["operating_points"][at]["lesions"]["by_size"]:
                rows.append({"site": site["name"], "role": site["role"], **size})
        return _numbers(pandas.DataFrame(rows), text=["site", "role"])

    def rounds(self) -> pandas.DataFrame:
        """A row for each round: validation Dice, mean loss, seconds, bytes, updates, missing."""
        import pandas

        rows = []
        for done in self.data["rounds"]:
            slices = sum(update["slices"] for update in done["updates"])
            # Weighted as the updates are in the average.
            loss = sum(update["slices"] * update["mean_loss"] for update in done["updates"])
            rows.append(
                {
                    "round": done["round"],
                    "validation_dice": done["validation_dice"],
                    "mean_loss": loss / slices if slices else None,
                    "seconds": done["seconds"],
                    "bytes": done["bytes"],
                    "updates": len(done["updates"]),
                    "missing": len(done["missing"]),
                }
            )
        columns = ["round", "validation_dice", "mean_loss", "seconds", "bytes"]
        columns += ["updates", "missing"]
        return _numbers(pandas.DataFrame(rows, columns=columns).set_index("round"))

    def updates(self) -> pandas.DataFrame:
        """A row for each site's update in each round: slices, losses, seconds, steps."""
        import pandas

        rows = []
        for done in self.data["rounds"]:
            for update in done["updates"]:
                rows.append({"round": done["round"], **update})
        return pandas.DataFrame(rows)

    def validation_by_site(self) -> pandas.DataFrame:
        """The validation Dice of each site's own cases: a row for each round, a column per site."""
        import pandas

        rows = []
        for done in self.data["rounds"]:
            row = {"round": done["round"]}
            for site in done["validation_sites"]:
                row[site["site"]] = site["dice"]
            rows.append(row)
        if not rows:
            return pandas.DataFrame()
        return _numbers(pandas.DataFrame(rows).set_index("round"))

    def missing(self) -> pandas.DataFrame:
        """The sites without an update in a round, and why."""
        import pandas

        rows = []
        for done in self.data["rounds"]:
            for site in done["missing"]:
                rows.append({"round": done["round"], **site})
        return pandas.DataFrame(rows, columns=["round", "site", "reason"])

    def subsets(self, metric: str = "dice", at: Point = "dice") -> pandas.DataFrame:
        """What the final model does with every subset of the sequences.

        A row for each subset, such as `t1_post flair`, the largest first; a column for each site,
        and for all held-out and all validation cases.
        """
        import pandas

        names = [site["name"] for site in self.data["sites"]]
        rows = []
        for subset in self._matrix(at)["rows"]:
            row: dict[str, Any] = {"subset": " ".join(subset["sequences"])}
            for cell in subset["sites"]:
                row[cell["site"]] = cell["metrics"][metric]["mean"]
            row["all held out"] = subset["held_out"]["metrics"][metric]["mean"]
            row["all validation"] = subset["validation"]["metrics"][metric]["mean"]
            rows.append(row)
        columns = ["subset", *names, "all held out", "all validation"]
        return _numbers(pandas.DataFrame(rows, columns=columns).set_index("subset"))

    def without(self, at: Point = "dice") -> pandas.DataFrame:
        """What each sequence is worth: the Dice with all sequences, without it, and the change."""
        import pandas

        rows = []
        for sequence in self._matrix(at)["without"]:
            row = {"sequence": sequence["sequence"], "cases": sequence["cases"]}
            for key in ("dice", "dice_without", "change"):
                row[key] = sequence[key]["mean"]
            rows.append(row)
        columns = ["sequence", "cases", "dice", "dice_without", "change"]
        return _numbers(pandas.DataFrame(rows, columns=columns).set_index("sequence"))

    def comparison(self, at: Point = "dice") -> pandas.DataFrame:
        """All models on the same held-out cases: a row for each metric of each model, with the
        95 % interval of its mean.
        """
        import pandas

        rows = []
        for arm in self._compared(at)["arms"]:
            for metric, value in arm["metrics"].items():
                low, high = arm["intervals"].get(metric) or (None, None)
                rows.append(
                    {"run": arm["run"], "metric": metric, **value, "low": low, "high": high}
                )
        return _numbers(pandas.DataFrame(rows), text=["run", "metric"])

    def tests(self, at: Point = "dice") -> pandas.DataFrame:
        """Every other model against the federation's: the difference, its 95 % interval, and p
        values as they are and corrected for all tests.
        """
        import pandas

        rows = []
        for test in self._compared(at)["tests"]:
            row = {"run": test["run"], "metric": test["metric"], **test["difference"]}
            row["low"], row["high"] = test["interval"] or (None, None)
            for key in ("signed_rank", "signed_rank_holm", "rank_sum", "rank_sum_holm"):
                row[key] = test[key]
            rows.append(row)
        columns = ["run", "metric", "mean", "sd", "n", "low", "high"]
        columns += ["signed_rank", "signed_rank_holm", "rank_sum", "rank_sum_holm"]
        return _numbers(pandas.DataFrame(rows, columns=columns), text=["run", "metric"])

    def validation_curve(self) -> pandas.DataFrame:
        """Lesions found and false findings per validation case, by threshold, highest first."""
        import pandas

        columns = ["threshold", "sensitivity", "false_positives", "false_positives_10mm3"]
        return pandas.DataFrame(self.data["validation_curve"], columns=columns)

    def curves(self) -> pandas.DataFrame:
        """`curves.csv`: the curves of all runs, a row for each round and for each site in it."""
        return self._table("curves.csv")

    def cases(self, at: Point = "dice") -> pandas.DataFrame:
        """`cases.csv`: a row for each patient under each model. It is only in the run folder.

        Patients have no names here: `case` is a patient's place in the site's list.
        """
        cases = self._table("cases.csv")
        chosen = cases[cases["operating_point"] == at]
        return chosen.drop(columns="operating_point").reset_index(drop=True)

    def _table(self, name: str) -> pandas.DataFrame:
        import pandas

        path = self.folder / name
        if not path.is_file():
            raise DataError(
                f"there is no {path}",
                "`coordinator report RUN_FOLDER` writes it into the run folder",
            )
        return pandas.read_csv(path)

    def _matrix(self, at: Point) -> Mapping[str, Any]:
        matrix: Mapping[str, Any] | None = self.data[_key("matrix", at)]
        if matrix is None:
            raise DataError(
                "the report has no subsets of the sequences",
                "they are left out with subsets = false under [evaluation]",
            )
        return matrix

    def _compared(self, at: Point) -> Mapping[str, Any]:
        comparison: Mapping[str, Any] | None = self.data.get(_key("comparison", at))
        if comparison is None:
            raise DataError(
                "the report has no comparison", "it is made where there are held-out cases"
            )
        return comparison


def _key(name: str, at: Point) -> str:
    return f"{name}_at_dice" if at == "dice" else name


def _numbers(table: pandas.DataFrame, text: list[str] | None = None) -> pandas.DataFrame:
    """The table with NaN for undefined values, also where a whole column is undefined."""
    import pandas

    for column in table.columns:
        if column not in (text or []):
            table[column] = pandas.to_numeric(table[column])
    return table
