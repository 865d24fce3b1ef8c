/* Which loaded objects does an object need? A graph of file names, walked only in the rare process
 * in which a name is defined more than once. And whose is an address? */
#include "hook/scope.h"

#include <string.h>

#include "os/losses.h"
#include "os/memory.h"

struct member {
	const ElfW(Dyn) *dynamic;
	const char *strings, *name, *soname;
	bool defines;          /* NAME, elsewhere than at the original */
	bool reached, visited; /* from FROM */
};

struct graph {
	struct member *members;
	size_t n, capacity;
	bool overrun;
	const char *name;
	uintptr_t original;
	bool defined; /* by some member */
};

static int add_member(struct dl_phdr_info *info, size_t size, void *data)
{
	struct graph *graph = data;
	struct member *member;
	struct cmr_elf elf;

	(void)size;
	if (!cmr_elf_read(&elf, info))
		return 0;
	if (graph->n == graph->capacity) {
		graph->overrun = true;
		return 1;
	}
	member = &graph->members[graph->n];
	member->dynamic = elf.dynamic;
	member->strings = elf.strings;
	member->name = strrchr(elf.name, '/') != NULL ? strrchr(elf.name, '/') + 1 : elf.name;
	for (const ElfW(Dyn) *entry = elf.dynamic; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_SONAME)
			member->soname = elf.strings + entry->d_un.d_val;
	/* By object, not by address: an indirect function's symbol has the address of its resolver.
	 * libc's own definition under a preloaded allocator does not count: what would bind to it
	 * gets along with the preloaded one, or the process could not live with the latter. */
	member->defines = cmr_elf_find(&elf, graph->name) != NULL &&
			  !cmr_elf_contains(&elf, graph->original, 0) &&
			  cmr_elf_find(&elf, "__libc_start_main") == NULL;
	graph->defined |= member->defines;
	graph->n++;
	return 0;
}

static void reach(struct graph *graph, const char *needed)
{
	const char *file = strrchr(needed, '/') != NULL ? strrchr(needed, '/') + 1 : needed;

	for (size_t i = 0; i < graph->n; i++) {
		struct member *member = &graph->members[i];

		if (strcmp(member->name, file) == 0 ||
		    (member->soname != NULL && strcmp(member->soname, file) == 0))
			member->reached = true;
	}
}

/* Marks what MEMBER needs. True if it defines the name itself. */
static bool visit(struct graph *graph, struct member *member)
{
	member->visited = true;
	for (const ElfW(Dyn) *entry = member->dynamic; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_NEEDED)
			reach(graph, member->strings + entry->d_un.d_val);
	return member->defines;
}

static bool reaches_definition(struct graph *graph, const ElfW(Dyn) *from)
{
	bool again = true;

	for (size_t i = 0; i < graph->n; i++)
		graph->members[i].reached = graph->members[i].dynamic == from;
	while (again) {
		again = false;
		for (size_t i = 0; i < graph->n; i++) {
			struct member *member = &graph->members[i];

			if (!member->reached || member->visited)
				continue;
			again = true;
			if (visit(graph, member))
				return true;
		}
	}
	return false;
}

static int count(struct dl_phdr_info *info, size_t size, void *data)
{
	size_t *n = data;

	(void)info;
	(void)size;
	(*n)++;
	return 0;
}

bool cmr_scope_is_ambiguous(const struct cmr_elf *from, const char *name, uintptr_t original)
{
	struct graph graph = { .name = name, .original = original };
	bool ambiguous = true;
	size_t bytes;

	dl_iterate_phdr(count, &graph.capacity); /* the caller has the loader's lock: none will be more */
	bytes = graph.capacity * sizeof *graph.members;
	graph.members = cmr_memory_map(bytes);
	if (graph.members != NULL) {
		dl_iterate_phdr(add_member, &graph);
		if (!graph.overrun)
			ambiguous = graph.defined && reaches_definition(&graph, from->dynamic);
		cmr_memory_unmap(graph.members, bytes);
	}
	if (graph.members == NULL || graph.overrun)
		cmr_lose(CMR_LOSS_hooks); /* the slot is left alone, and nobody will look again */
	return ambiguous;
}

struct home {
	uintptr_t address;
	const char *name;
	bool defines; /* NAME */
};

static int look_for_home(struct dl_phdr_info *info, size_t size, void *data)
{
	struct home *home = data;
	struct cmr_elf elf;

	(void)size;
	cmr_elf_view(&elf, info);
	if (!cmr_elf_contains(&elf, home->address, 0))
		return 0;
	home->defines = cmr_elf_read(&elf, info) &&
			(cmr_elf_find(&elf, home->name) != NULL ||
			 cmr_elf_canonical(&elf, home->name) == home->address);
	return 1;
}

bool cmr_scope_is_definition(const char *name, uintptr_t address)
{
	struct home home = { .address = address, .name = name };

	dl_iterate_phdr(look_for_home, &home);
	return home.defines;
}
