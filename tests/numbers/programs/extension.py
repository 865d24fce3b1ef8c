import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))
import native_extension

native = native_extension.load()
PAGE = 4096
STEPS = (
    ("malloc", 0, 1000),
    ("calloc", 1, 100, 70),
    ("realloc", 0, 50_000),
    ("posix_memalign", 2, 3000, 64),
    ("aligned_alloc", 3, 4096, 4096),
    ("memalign", 4, 777, 32),
    ("valloc", 5, 1234),
    ("strdup", 6, 500),
    ("mmap", 7, 10 * PAGE, 3 | 0x22 << 8),
    ("munmap_part", 7, 2 * PAGE, 3),
    ("free", 2),
    ("obj_malloc", 10, 100),
    ("obj_malloc", 11, 3000),
    ("mem_calloc", 12, 20, 30),
    ("raw_malloc", 13, 400),
    ("realloc", 10, 200),
    ("realloc", 11, 100),
    ("malloc", 8, 90_000),
    ("free", 0),
    ("realloc", 8, 10),
    ("malloc", 9, 20_000),
)
PROGRAM = native_extension.program(*STEPS)


def fill():
    native.run(PROGRAM)


def run():
    native.call(fill)
    native.clear()
