/* Allocators as a location names them; memray's numbers where it has one. */
#ifndef CMR_OS_KINDS_H
#define CMR_OS_KINDS_H

/* X(number, name, text) */
#define CMR_KIND_LIST(X)                                                       \
	X(2, PYMALLOC_MALLOC, "pymalloc_malloc")                               \
	X(3, PYMALLOC_CALLOC, "pymalloc_calloc")                               \
	X(4, PYMALLOC_REALLOC, "pymalloc_realloc")                             \
	X(6, MALLOC, "malloc")                                                 \
	X(7, REALLOC, "realloc")                                               \
	X(8, CALLOC, "calloc")                                                 \
	X(9, POSIX_MEMALIGN, "posix_memalign")                                 \
	X(10, ALIGNED_ALLOC, "aligned_alloc")                                  \
	X(11, MEMALIGN, "memalign")                                            \
	X(12, VALLOC, "valloc")                                                \
	X(13, PVALLOC, "pvalloc")                                              \
	X(14, MMAP, "mmap")                                                    \
	X(16, REALLOCARRAY, "reallocarray")                                    \
	X(17, MREMAP, "mremap")                                                \
	X(18, MPROTECT, "mprotect")

enum cmr_kind {
#define X(number, name, text) CMR_KIND_##name = (number),
	CMR_KIND_LIST(X)
#undef X
};

/* "malloc" for CMR_KIND_MALLOC; "unknown" for a number that is none. Static storage. */
const char *cmr_kind_text(unsigned kind);

#endif
