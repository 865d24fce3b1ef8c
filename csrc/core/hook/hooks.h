/* Relocation slots: the program's calls of the functions in list.h lead to our wrappers.
 *
 * Every loaded object keeps, for each imported function, a slot with its address. Slots are patched
 * once per process and never restored; whether anything is measured is decided by the gate. A slot
 * is patched only if it holds the known original, or is lazy and still points into its own object's
 * PLT. Never patched: ld.so, the vdso, and the object that contains this code (by address).
 *
 * The original of a function is the first definition in the global scope (dynsym entry with a
 * section), so preloaded allocators keep working and canonical PLT stubs are not taken for it. */
#ifndef CMR_HOOK_HOOKS_H
#define CMR_HOOK_HOOKS_H

#include <stddef.h>

#include <stdint.h>

#include "hook/list.h"
#include "os/status.h"

/* The real functions; NULL where the process has none (free_sized on an old libc). Resolved before
 * the first slot is patched. */
struct cmr_originals {
#define X(name, type, parameters) type(*name) parameters;
#define T(name) void *name;
	CMR_HOOK_LIST(X, T)
#undef X
#undef T
};
extern struct cmr_originals cmr_original;

struct cmr_hook_report {
	size_t objects; /* objects known now */
	size_t slots;   /* slots patched since load */
	size_t failed;  /* objects that could not be patched (mprotect refused, damaged) */
};

/* Patches all loaded objects on the first call, later only those loaded since (30 ns when none
 * were). Fills OUT (may be NULL). Takes the loader's lock: never from a hook. */
enum cmr_status cmr_hooks_refresh(struct cmr_hook_report *out, struct cmr_error *err) CMR_CHECKED;

/* Set by the dlopen wrapper; the next event of any thread outside the loader then refreshes. */
extern _Atomic int cmr_hooks_stale;

/* Child processes started since load, by function. Relaxed atomics. */
enum cmr_child { CMR_CHILD_FORK, CMR_CHILD_VFORK, CMR_CHILD_SPAWN, CMR_CHILD_SYSTEM, CMR_CHILD_POPEN, CMR_N_CHILDREN };
extern _Atomic uint64_t cmr_children[CMR_N_CHILDREN];

/* Objects with a private copy of an allocator (jemalloc, mimalloc, tcmalloc symbols defined inside):
 * calls VISIT(file, allocator name, data) for each. Never from a hook. */
void cmr_hooks_private_allocators(void (*visit)(const char *, const char *, void *), void *data);

#endif
