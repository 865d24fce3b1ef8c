import numpy as np


def shift(a):
    return a[1:] - a[:-1]


def run():
    a = np.arange(20_000, dtype=np.float64)
    total = 0.0
    for i in range(20):
        b = a + i
        c = np.sort(shift(b)) * 2
        total += float(c.sum())
    parts = np.split(np.concatenate([a, a]).copy(), 8)
    stacked = np.stack([part * 2 for part in parts])
    return total + float(stacked.sum())
