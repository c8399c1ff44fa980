"""Model files: their card, and torchvision's network with their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacuna_fl.errors import DataError
from lacuna_fl.programs import StrPath

if TYPE_CHECKING:
    from torch import nn

#: A header longer than this is no header.
_LONGEST_HEADER = 100_000_000


def model_card(path: StrPath) -> dict[str, Any]:
    """The card of a model file, such as `models/federation.safetensors` in a run folder.

    It holds the federation's `name` and `round`, the `input` that the network expects (sequences,
    slices, plane, spacing), the `model` (layout, width, rates) and the `operating_points`.
    """
    path = Path(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise _no_model(path)
        try:
            header = json.loads(file.read(length))
            card = json.loads(header["__metadata__"]["card"])
        except (ValueError, KeyError, TypeError):
            raise _no_model(path) from None
    if not isinstance(card, dict):
        raise _no_model(path)
    return card


def _no_model(path: Path) -> DataError:
    return DataError(
        f"{path} is not a model file of Lacuna",
        "the coordinator keeps models as models/*.safetensors in the run folder",
    )


def torch_model(path: StrPath) -> nn.Module:
    """torchvision's DeepLabV3 with the weights of a model file, in evaluation mode.

    Needs torch, torchvision and safetensors (`pip install 'lacuna-fl[torch]'`). The input has the
    shape [batch, sequences x slices, height, width]; `network(x)["out"]` are the logits,
    [batch, 1, height, width]. docs/users/PYTHON.md says how the images must be prepared: the
    network does not notice if they are not.
    """
    from safetensors.torch import load_file

    from lacuna_fl.torchvision_network import build

    card = model_card(path)
    settings = card["model"]
    expected = card["input"]
    if settings["norm"] == "group":
        raise DataError(
            f"{path} has group normalisation, which torchvision's DeepLabV3 does not have",
            'only models with norm = "batch" or "batch-local" can be loaded',
        )
    channels = len(expected["sequences"]) * expected["slices"]
    network = build(
        settings["layout"],
        settings["width"],
        settings["output_stride"],
        settings["rates"],
        channels,
    )
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()
