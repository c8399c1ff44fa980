"""What averaging costs with NumPy when all updates are in memory, as Flower's FedAvg has them: aggregate.rs's counterpart.

Usage: python aggregate.py N [lists | inplace]   (needs numpy)

`lists` multiplies every update by its weight into a new list of arrays and then adds the lists up; `inplace` scales the
first and adds the others to it one by one. Reading, checking and writing files is not counted here; there is none.
"""
import functools, sys, time
import numpy

VALUES, TENSORS = 39_743_745, 302


def update(site):
    """One site's arrays: as many values as the paper's network has, in as many tensors."""
    generator = numpy.random.default_rng(site)
    values = generator.random(VALUES, dtype=numpy.float32)
    return numpy.array_split(values, TENSORS)


def lists(updates):
    total = sum(weight for _, weight in updates)
    weighted = [[layer * weight for layer in layers] for layers, weight in updates]
    return [functools.reduce(numpy.add, layers) / total for layers in zip(*weighted)]


def inplace(updates):
    total = sum(weight for _, weight in updates)
    share = [numpy.float32(weight / total) for _, weight in updates]
    average = [layer * share[0] for layer in updates[0][0]]
    for (layers, _), factor in zip(updates[1:], share[1:]):
        for sum_, layer in zip(average, layers):
            sum_ += layer * factor
    return average


def peak_megabytes():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 // 1_000_000


def main():
    count, way = int(sys.argv[1]), {"lists": lists, "inplace": inplace}[sys.argv[2] if len(sys.argv) > 2 else "lists"]
    updates = [(update(site), 100 + site) for site in range(count)]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        average = way(updates)
        times.append(time.perf_counter() - began)
        del average
    seconds = sorted(times)[1]
    gigabytes = count * VALUES * 4 / 1e9
    print(f"{count} sites, {way.__name__}: {gigabytes:.2f} GB in {seconds:.2f} s, {gigabytes / seconds:.2f} GB/s,"
          f" peak {peak_megabytes()} MB")


main()
