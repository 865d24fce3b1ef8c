import mmap
import tempfile


def anonymous(size):
    return mmap.mmap(-1, size)


def run():
    first = anonymous(900_000)
    second = anonymous(12345)
    first[:10] = b"0123456789"
    first.close()
    third = anonymous(1 << 18)
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 16)
        mapped = mmap.mmap(file.fileno(), 1 << 16)
        mapped.close()
    second.close()
    third.close()
