"""The compiled core, with a clear message where it cannot be loaded. Import it when it is needed."""

from __future__ import annotations

try:
    from cmemray import _core as core
except ImportError as error:
    if "static TLS" not in str(error):
        raise
    raise ImportError(
        "cmemray's core needs 16 bytes of the thread-local storage that the C library keeps for "
        "libraries loaded late, and other libraries have used it up. Call cmemray.measure() before "
        "they are imported, or raise the reserve with the environment variable "
        "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096"
    ) from error

__all__ = ["core"]
