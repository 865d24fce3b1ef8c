/* The list of intercepted functions as a table: names, wrappers, originals. */
#ifndef CMR_HOOK_TABLE_H
#define CMR_HOOK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "hook/list.h"

enum cmr_hook_index {
#define X(name, type, parameters) CMR_HOOK_##name,
#define T(name) CMR_HOOK_##name,
	CMR_HOOK_LIST(X, T)
#undef X
#undef T
		CMR_N_HOOKS
};

struct cmr_hook {
	const char *name;
	uintptr_t wrapper;
	uintptr_t original; /* 0: the process has no such function, no slot is patched */
	/* What the executable's own PLT entry pretends the function's address to be, or 0. A program
	 * that is not position independent and takes malloc's address makes that entry the address
	 * for all objects (canonical PLT). It jumps through a slot of the executable. */
	uintptr_t canonical;
};

/* Filled by cmr_originals_resolve, constant from then on. */
extern struct cmr_hook cmr_hook_table[CMR_N_HOOKS];

/* Finds the originals, once per process; later calls return the first one's answer. False: the
 * process has no malloc or free. Takes the loader's locks. */
bool cmr_originals_resolve(void);

#ifdef CMR_DYNAMIC_TLS
/* Where the loader is; set with the originals. */
extern uintptr_t cmr_loader_start, cmr_loader_bytes;
#endif

/* Index of the hook called NAME; CMR_N_HOOKS when there is none that has an original. */
enum cmr_hook_index cmr_hook_find(const char *name);

/* The wrappers. Those of T are not C functions and may only be jumped to. */
#define X(name, type, parameters) type cmr_hook_##name parameters;
#define T(name) void cmr_hook_##name(void);
CMR_HOOK_LIST(X, T)
#undef X
#undef T

/* Originals of the T functions, for tailjump.c. */
#define X(name, type, parameters)
#define T(name) extern uintptr_t cmr_tail_##name;
CMR_HOOK_LIST(X, T)
#undef X
#undef T

#endif
