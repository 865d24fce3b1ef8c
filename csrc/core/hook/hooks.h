/* Relocation slots: the program's calls of the functions in list.h lead to our wrappers.
 *
 * Every loaded object keeps, for each imported function, a slot with its address. Slots are patched
 * once per process and never restored; whether anything is measured is decided by the gate. A slot
 * is patched only if it holds the known original, or is lazy and still points into its own object's
 * PLT. Never patched: ld.so, the vdso, and the object that contains this code (by address).
 *
 * Another tool that patches slots may have been there before, or come later. What it put into a slot
 * stays: with ours on top the tool would be blind, and it may put back or unload at any time what ours
 * would call. Its objects are counted (os/losses.h, `replaced`), and patched once it has left.
 *
 * The original of a function is the first definition in the global scope (dynsym entry with a
 * section), so preloaded allocators keep working and canonical PLT stubs are not taken for it.
 *
 * Objects loaded later are patched by the next cmr_hooks_refresh, which every start of a region
 * calls. In between, a dlopen made by the program leaves marks on its thread; that thread's next
 * events and dlsym (the only way into the new object) refresh. Several, since the first events may be
 * the loader's own, from a time when the object is not there yet. What the object's constructors
 * allocate is therefore not seen. */
#ifndef CMR_HOOK_HOOKS_H
#define CMR_HOOK_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "events/gate.h"
#include "hook/list.h"
#include "os/status.h"

/* The real functions; NULL where there is nothing to intercept (list.h). Written before
 * the first slot is patched, constant from then on. */
struct cmr_originals {
#define X(name, type, parameters) type(*name) parameters;
#define T(name)
	CMR_HOOK_LIST(X, T)
#undef X
#undef T
};
extern struct cmr_originals cmr_original;

struct cmr_hook_report {
	size_t objects; /* objects known now */
	size_t slots;   /* slots patched since load */
	size_t failed;  /* objects that could not be patched (mprotect refused, constant slots, damaged) */
};

/* Patches all loaded objects on the first call, later only those loaded since and those whose slots
 * somebody else has changed (a few nanoseconds for each object when there are none). Fills OUT (may be NULL). Takes the loader's locks: call it with no lock held and never
 * from a hook. Fails only when the process has no malloc or free that could be found. */
enum cmr_status cmr_hooks_refresh(struct cmr_hook_report *out, struct cmr_error *err) CMR_CHECKED;

/* Threads that are in the loader's locks for us, and threads that are about to fork: the C library does
 * not give a forked child all of these locks free. Each says what it is about to do before it looks
 * at the other (session/session.c). */
extern _Atomic unsigned cmr_hooks_looking, cmr_hooks_forking;

/* Waits until nobody else is in the loader's list of objects: a dlopen of the program's own, too.
 * Before a fork. [nomalloc] */
void cmr_hooks_await_loader(void);

/* Spare bits of the guard word, a number: events of this thread that are still to look for what its
 * last dlopen has loaded. */
#define CMR_GUARD_RESCAN ((uintptr_t)0x1f << 16)
#define CMR_GUARD_RESCAN_ONE ((uintptr_t)1 << 16)

/* Refreshes on behalf of the calling thread's dlopen, if the gate is open and no thread is about to
 * fork. Only for a thread that
 * has a mark; holds no lock of ours. errno is preserved. The first is for dlsym, when dlopen has
 * returned, and takes all marks away; the second is for events, and takes one. */
void cmr_hooks_catch_up(void);

/* Whether the process has the C library's own malloc. Another one may map memory, and so come by our
 * hooks, while it serves the loader's request for thread-local storage: without static storage that
 * would not end. */
bool cmr_hooks_allocator_is_libc(void);
void cmr_hooks_catch_up_once(void);

/* First thing in every event of whoever tells events (wrappers, the interpreter's allocators). */
static inline void cmr_hooks_catch_up_if_marked(void)
{
	uintptr_t guard = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);

	if (__builtin_expect((guard & CMR_GUARD_RESCAN) != 0, 0))
		cmr_hooks_catch_up_once();
}

/* From now on mmap called by code in [START, END) maps stock (cmr_stock_begin). One such range, to be
 * named before the first region opens. Used for an interpreter whose compiler maps its code without
 * asking any allocator. */
void cmr_hooks_stock_code(uintptr_t start, uintptr_t end);

/* Child processes started since load, by function; forkpty is among fork. Relaxed atomics. */
enum cmr_child {
	CMR_CHILD_FORK,
	CMR_CHILD_VFORK,
	CMR_CHILD_SPAWN,
	CMR_CHILD_SYSTEM,
	CMR_CHILD_POPEN,
	CMR_N_CHILDREN
};
extern _Atomic uint64_t cmr_children[CMR_N_CHILDREN];

/* A dlsym or dlvsym of NAME, made by the code at CALLER, is about to happen: catches up if the thread is
 * marked, and counts if the function is one whose calls are counted here. errno is preserved. */
void cmr_hooks_on_lookup(const char *name, uintptr_t caller);

/* Calls VISIT(file, function, data) for each intercepted function that was looked up since its caller's
 * slots were patched, with the file of the first caller, "" if that is gone. Not from a hook. */
void cmr_hooks_lookups(void (*visit)(const char *, const char *, void *), void *data);

/* Longest name of a file that is kept, with its end. */
#define CMR_FILE_BYTES 512

/* Objects with an allocator of their own, whose blocks no slot leads to: calls VISIT(file, allocator,
 * data) for each of each object, in load order and outside the loader's locks. "own malloc" is one of a
 * kind that is not known. Instead of an allocator, where none was found: "unreadable", the file could not
 * be looked through (file "": nor could the list of objects), or "too large", not all of it was. Reads
 * files (milliseconds); never from a hook. An interpreter that has mimalloc built in is among them. */
void cmr_hooks_private_allocators(void (*visit)(const char *, const char *, void *), void *data);

#endif
