/* Addresses of intercepted functions that were looked up with dlsym, as ctypes, cffi and JIT compilers
 * do. What is called through such a pointer passes no slot; the lookup does.
 *
 * Kept are a count and the first caller of each function; whose code that is gets asked when somebody
 * reads it. */
#include <link.h>
#include <stdatomic.h>
#include <string.h>

#include "hook/elf_object.h"
#include "hook/hooks.h"
#include "hook/table.h"

static struct {
	_Atomic uint64_t n;
	_Atomic uintptr_t caller;
} lookups[CMR_N_HOOKS];

/* Calls of these concern no memory: allocators that start a thread of their own look that up. */
static bool is_harmless(enum cmr_hook_index index)
{
	return index == CMR_HOOK_pthread_create || index == CMR_HOOK_dlopen ||
	       index == CMR_HOOK_dlmopen || index == CMR_HOOK_dlsym || index == CMR_HOOK_dlvsym;
}

void cmr_hooks_on_lookup(const char *name, uintptr_t caller)
{
	enum cmr_hook_index index;
	uintptr_t none = 0;

	if ((atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed) & CMR_GUARD_RESCAN) != 0)
		cmr_hooks_catch_up();
	if (name == NULL)
		return;
	index = cmr_hook_find(name);
	if (index == CMR_N_HOOKS || is_harmless(index))
		return;
	(void)atomic_compare_exchange_strong_explicit(&lookups[index].caller, &none, caller,
						      memory_order_relaxed, memory_order_relaxed);
	atomic_fetch_add_explicit(&lookups[index].n, 1, memory_order_relaxed);
}

struct owner {
	uintptr_t address;
	char file[CMR_FILE_BYTES]; /* "" until found */
};

static int look_for_owner(struct dl_phdr_info *info, size_t size, void *data)
{
	struct owner *owner = data;
	struct cmr_elf elf;

	(void)size;
	cmr_elf_view(&elf, info);
	if (!cmr_elf_contains(&elf, owner->address, 0))
		return 0;
	strncpy(owner->file, info->dlpi_name[0] != 0 ? info->dlpi_name : "/proc/self/exe",
		sizeof owner->file - 1);
	return 1;
}

void cmr_hooks_lookups(void (*visit)(const char *, const char *, void *), void *data)
{
	for (int i = 0; i < CMR_N_HOOKS; i++) {
		struct owner owner = { .address = atomic_load_explicit(&lookups[i].caller,
								       memory_order_relaxed) };

		if (atomic_load_explicit(&lookups[i].n, memory_order_relaxed) == 0)
			continue;
		dl_iterate_phdr(look_for_owner, &owner);
		visit(owner.file, cmr_hook_table[i].name, data);
	}
}
