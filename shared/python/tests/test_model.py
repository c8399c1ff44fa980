"""Model files, and torchvision's network with their weights."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel
import numpy
import pytest

import lacuna_fl


def test_the_card_says_what_the_network_expects(report: lacuna_fl.Report) -> None:
    card = lacuna_fl.model_card(report.model)
    assert card["input"]["sequences"] == ["bravo", "t1_pre", "t1_post", "flair"]
    assert card["round"] == report.best_round
    assert card["operating_points"]["dice"] == report.thresholds["dice"]


@pytest.mark.parametrize("content", [b"", b"no model file", (4).to_bytes(8, "little") + b"null"])
def test_another_file_is_not_a_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(lacuna_fl.DataError, match="not a model file"):
        lacuna_fl.model_card(path)


def test_torchvisions_network_computes_what_predict_computes(
    tmp_path: Path, report: lacuna_fl.Report, patients: Path
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    card = lacuna_fl.model_card(report.model)
    case = patients / "probe-0001"
    names = card["input"]["sequences"]
    images = {name: case / f"{name}.nii.gz" for name in names}
    brain_file = case / "brain.nii.gz"
    found = lacuna_fl.predict(
        report.model, images, tmp_path / "out", brain=brain_file, threshold=0.5
    )

    # [depth, height, width], as in the network.
    def volume(path: Path) -> numpy.ndarray:
        image = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
        return numpy.asarray(image.dataobj, dtype=numpy.float64).transpose(2, 1, 0)

    brain = volume(brain_file) != 0
    slices = card["input"]["slices"]
    reach = slices // 2
    channels = []
    for name in names:
        scan = volume(images[name])
        values = numpy.sort(scan[brain])
        low, high = (p / 100 * (len(values) - 1) for p in card["input"]["clip_percentiles"])
        lowest, highest = values[math.ceil(low)], values[math.floor(high)]
        width = 3 * (highest - lowest)
        scan = numpy.clip(scan, lowest - width, highest + width)
        scan = numpy.where(brain, (scan - scan[brain].mean()) / scan[brain].std(), 0.0)
        padded = numpy.pad(scan, ((reach, reach), (0, 0), (0, 0)))
        for offset in range(slices):
            channels.append(padded[offset : offset + len(scan)])
    slabs = torch.from_numpy(numpy.stack(channels, axis=1).astype(numpy.float32))
    with torch.inference_mode():
        logits = lacuna_fl.torch_model(report.model)(slabs)["out"][:, 0]
    expected = torch.sigmoid(logits).numpy()
    asked = brain.any(axis=(1, 2))
    ours = volume(found.probability)
    assert numpy.abs(ours[asked] - expected[asked])[brain[asked]].max() < 1e-5
