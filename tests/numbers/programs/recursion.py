import sys


def down(depth, held):
    if depth % 100 == 0:
        held.append(bytearray(4000))
    if depth:
        down(depth - 1, held)
    else:
        held.append(bytearray(100_000))


def run():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        held = []
        down(2000, held)
        held.clear()
        down(300, held)
    finally:
        sys.setrecursionlimit(before)
    return len(held)
