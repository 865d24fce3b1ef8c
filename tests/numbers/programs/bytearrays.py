def grow():
    held = bytearray()
    for _ in range(50):
        held += bytes(3000)
    return held


def make(n):
    return [bytearray(1000 + i) for i in range(n)]


def run():
    first = make(200)
    second = grow()
    del first[::2]
    third = make(500)
    text = b"".join(third)
    return len(first) + len(second) + len(text)
