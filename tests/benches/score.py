"""Scoring one pair of masks, compared with what a Python user would use: scikit-learn, connected-components-3d and SciPy.

Usage: python score.py SITE_AGENT CASE_FOLDER [ROUNDS]   (needs numpy, scipy, scikit-learn, connected-components-3d, nibabel)

CASE_FOLDER is a BraTS-like case with *_seg, *_pred and *_t1ce; it is repeated along its slices to 155 of them, scored with a
smooth map made of the image, in turn by both programs, each on one core (Linux). Python's imports are not timed, but the
other program's start is. Both read the same files; the numbers that both give are compared.
"""
import json, multiprocessing, os, pathlib, subprocess, sys, tempfile, time

import cc3d
import nibabel
import numpy
from scipy import ndimage
from sklearn.metrics import roc_auc_score, roc_curve

LABEL, PREDICTED = 4, 3


def make(case, out):
    def read(what):
        image = nibabel.load(next(case.glob(f"*_{what}.nii.gz")))
        values = numpy.asanyarray(image.dataobj)
        times = -(-155 // values.shape[2])
        return numpy.concatenate([values] * times, axis=2)[:, :, :155], image.affine

    for what in ("seg", "pred"):
        values, affine = read(what)
        nibabel.save(nibabel.Nifti1Image(values.astype(numpy.uint8), affine), out / f"{what}.nii.gz")
    image, affine = read("t1ce")
    image = image.astype(numpy.float32)
    brain = image > 0
    noise = numpy.random.default_rng(0).normal(0, 0.1, image.shape)
    score = 1 / (1 + numpy.exp(-((image - image[brain].mean()) / image[brain].std() + noise)))
    score[~brain] = 0
    nibabel.save(nibabel.Nifti1Image(score.astype(numpy.float32), affine), out / "map.nii.gz")
    nibabel.save(nibabel.Nifti1Image(brain.astype(numpy.uint8), affine), out / "brain.nii.gz")


def surface(mask):
    return mask ^ ndimage.binary_erosion(mask)


def hd95(truth, marked, spacing):
    """Between the surfaces' voxels, both ways together."""
    window = ndimage.find_objects((truth | marked).astype(numpy.uint8))[0]
    truth, marked = numpy.pad(truth[window], 1), numpy.pad(marked[window], 1)
    one, other = surface(truth), surface(marked)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    return max(numpy.percentile(there, 95), numpy.percentile(back, 95))


def python(folder, distances):
    def read(what):
        return nibabel.load(folder / f"{what}.nii.gz")

    image = read("seg")
    truth = numpy.asanyarray(image.dataobj) == LABEL
    marked = numpy.asanyarray(read("pred").dataobj) == PREDICTED
    score, brain = read("map").get_fdata(dtype=numpy.float32), numpy.asanyarray(read("brain").dataobj) > 0
    tp, fp, fn = (truth & marked).sum(), (~truth & marked).sum(), (truth & ~marked).sum()
    found = {"tp": int(tp), "fp": int(fp), "fn": int(fn), "dice": float(2 * tp / (2 * tp + fp + fn))}
    for connectivity in (6, 18, 26):
        for name, mask in (("gt", truth), ("pred", marked)):
            labels, count = cc3d.connected_components(mask, connectivity=connectivity, return_N=True)
            found[f"n_cc_{name}_{connectivity}"] = int(count)
    # The last labels are those of the prediction at 26.
    sizes = numpy.bincount(labels.ravel())
    touched = numpy.unique(labels[truth])
    false = numpy.setdiff1d(numpy.arange(1, count + 1), touched)
    voxel = float(numpy.prod(image.header.get_zooms()))
    found["fp_components_no_limit"] = len(false)
    found["fp_components_ge10mm3"] = int((sizes[false] * voxel >= 10).sum())
    found["auc_in_brain"] = float(roc_auc_score(truth[brain], score[brain]))
    found["auc_whole_volume"] = float(roc_auc_score(truth.ravel(), score.ravel()))
    fpr, tpr, _ = roc_curve(truth[brain], score[brain])
    found["J"] = float((tpr - fpr).max())
    if distances:
        hd95(truth, marked, image.header.get_zooms())
    return found


def command_line(agent, folder, distances):
    command = [agent, "score", "--reference", folder / "seg.nii.gz", "--prediction", folder / "pred.nii.gz"]
    command += ["--labels", str(LABEL), "--prediction-labels", str(PREDICTED), "--json"]
    command += ["--score", folder / "map.nii.gz", "--brain", folder / "brain.nii.gz"]
    return command + ([] if distances else ["--no-distances"])


def ours(agent, folder, distances):
    command = command_line(agent, folder, distances)
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def megabytes(agent, folder):
    """The peak memory of one run with everything."""
    nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(agent, command_line(agent, folder, True), os.environ, file_actions=nowhere)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_maxrss * 1024 / 1e6


def timed(work):
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main():
    agent, case = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # By a process of its own: what this one holds would count as its children's until they start their program.
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(case, folder))
        maker.start()
        maker.join()
        assert maker.exitcode == 0
        peak = megabytes(agent, folder)
        for distances in (False, True):
            times = {"ours": [], "python": []}
            for _ in range(rounds):
                seconds, mine = timed(lambda: ours(agent, folder, distances))
                times["ours"].append(seconds)
                seconds, theirs = timed(lambda: python(folder, distances))
                times["python"].append(seconds)
            mine["J"] = mine["youden"]["J"]
            wrong = [key for key, value in theirs.items() if abs(mine[key] - value) > 1e-6]
            assert not wrong, wrong
            one, other = sorted(times["ours"])[rounds // 2], sorted(times["python"])[rounds // 2]
            what = "with HD95" if distances else "without HD95"
            print(f"{what}: {one:.2f} s, Python {other:.2f} s, ratio {one / other:.2f} (medians of {rounds})")
    print(f"peak memory: {peak:.0f} MB, {peak * 1e6 / (240 * 240 * 155 * 4):.1f} times the volume as 32-bit values")


if __name__ == "__main__":
    main()
