"""torchvision's DeepLabV3 for any network of Lacuna.

A ResNet-50 or -101 of width 64 at stride 8 with rates 12, 24, 36 is torchvision's own
`deeplabv3_resnet50` or `deeplabv3_resnet101`. Any other network is put together from the same parts
(`ResNet._make_layer`, the layers of `DeepLabHead`) at another width, stride or depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision.models import resnet, segmentation
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3

#: Whether the blocks are bottlenecks, and how many blocks each stage has.
LAYOUTS: dict[str, tuple[bool, list[int]]] = {
    "resnet18": (False, [2, 2, 2, 2]),
    "resnet34": (False, [3, 4, 6, 3]),
    "resnet50": (True, [3, 4, 6, 3]),
    "resnet101": (True, [3, 4, 23, 3]),
}


class DilatedBasicBlock(resnet.BasicBlock):  # type: ignore[misc]
    """torchvision's basic block with dilation, which torchvision refuses."""

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Any = None,
    ) -> None:
        super().__init__(inplanes, planes, stride, downsample, groups, base_width, 1, norm_layer)
        for conv, step in ((self.conv1, stride), (self.conv2, 1)):
            conv.stride = (step, step)
            conv.dilation = (dilation, dilation)
            conv.padding = (dilation, dilation)


class ResNet(resnet.ResNet):  # type: ignore[misc]
    """torchvision's ResNet at any width."""

    def __init__(
        self, bottleneck: bool, counts: Sequence[int], width: int, dilate: Sequence[bool]
    ) -> None:
        nn.Module.__init__(self)
        block = resnet.Bottleneck if bottleneck else DilatedBasicBlock
        self._norm_layer = nn.BatchNorm2d
        self.inplanes = width
        self.dilation = 1
        self.groups = 1
        self.base_width = 64
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, count in enumerate(counts):
            stride, dilated = (1, False) if stage == 0 else (2, dilate[stage - 1])
            layer = self._make_layer(block, width << stage, count, stride, dilated)
            setattr(self, f"layer{stage + 1}", layer)


def build(
    layout: str, width: int, output_stride: int, rates: Sequence[int], channels: int
) -> nn.Module:
    """A DeepLabV3 with one class and `channels` input channels, without trained weights."""
    bottleneck, counts = LAYOUTS[layout]
    model: nn.Module
    if bottleneck and (width, output_stride, tuple(rates)) == (64, 8, (12, 24, 36)):
        stock = {
            "resnet50": segmentation.deeplabv3_resnet50,
            "resnet101": segmentation.deeplabv3_resnet101,
        }[layout]
        model = stock(weights=None, weights_backbone=None, num_classes=1, aux_loss=False)
    else:
        dilate = {4: [True] * 3, 8: [False, True, True], 16: [False, False, True]}[output_stride]
        backbone = IntermediateLayerGetter(
            ResNet(bottleneck, counts, width, dilate), {"layer4": "out"}
        )
        features = (width << 3) * (4 if bottleneck else 1)
        head = 4 * width
        classifier = nn.Sequential(
            ASPP(features, list(rates), head),
            nn.Conv2d(head, head, 3, padding=1, bias=False),
            nn.BatchNorm2d(head),
            nn.ReLU(),
            nn.Conv2d(head, 1, 1),
        )
        model = DeepLabV3(backbone, classifier)
    model.backbone.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    return model
