"""PyTorch on the same GPU: torchvision's DeepLabV3 with our stem and one class, as check.sh runs ours; JSON lines.

Usage: python pytorch.py SIZE:BATCH:COMPUTE ...    SIZE full (output stride 16) or paper (8); COMPUTE f32 (with TF32) or bf16
"""

import json
import statistics
import sys
import time

import torch
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = True


def network(size):
    dilated = {"full": [False, False, True], "paper": [False, True, True]}[size]
    backbone = resnet50(weights=None, replace_stride_with_dilation=dilated)
    backbone.conv1 = torch.nn.Conv2d(20, 64, 7, stride=2, padding=3, bias=False)
    rates = {"full": (6, 12, 18), "paper": (12, 24, 36)}[size]
    head = DeepLabHead(2048, 1, rates)
    return DeepLabV3(IntermediateLayerGetter(backbone, {"layer4": "out"}), head, None)


def timed(run, repeats=20):
    seconds = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds[0], statistics.median(seconds[3:])


def measure(size, batch, compute):
    torch.manual_seed(0)
    model = network(size).cuda().to(memory_format=torch.channels_last)
    slices = torch.randn(batch, 20, 256, 256, device="cuda").to(memory_format=torch.channels_last)
    lesion = (torch.rand(batch, 1, 256, 256, device="cuda") > 0.5).float()
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    mixed = torch.autocast("cuda", torch.bfloat16, enabled=compute == "bf16")

    def infer():
        with torch.inference_mode(), mixed:
            model(slices)["out"]

    def step():
        adam.zero_grad()
        with mixed:
            logits = model(slices)["out"].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, lesion)
        loss.backward()
        adam.step()
        return loss.item()

    model.eval()
    first_inference, inference = timed(infer)
    model.train()
    torch.cuda.reset_peak_memory_stats()
    # One slice has no spread to normalise where the pyramid sees the mean of the image.
    first_step, seconds = timed(step) if batch > 1 else (None, None)
    return {
        "framework": f"torch {torch.__version__}", "compute": compute, "size": size, "batch": batch,
        "first_inference_s": round(first_inference, 2), "inference_s": round(inference, 5),
        "ms_a_slice": round(inference / batch * 1e3, 3),
        "training_step_s": seconds and round(seconds, 5), "slices_a_second": seconds and round(batch / seconds, 1),
        "peak_bytes": torch.cuda.max_memory_allocated(),
    }


for job in sys.argv[1:]:
    size, batch, compute = job.split(":")
    print(json.dumps(measure(size, int(batch), compute)), flush=True)
