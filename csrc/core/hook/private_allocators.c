/* Objects that bring an allocator of their own: polars, pyarrow, a jemalloc linked into a library.
 *
 * Their blocks never pass a slot. They are told by names that they define: in the dynamic symbols,
 * or, where the file still has them, among all its symbols. A stripped file that exports none of
 * them is not recognised. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hook/elf_object.h"
#include "hook/hooks.h"
#include "os/memory.h"

#define MAX_OBJECTS 1024
#define MAX_FILE 512
/* A larger table of names is not searched: that would cost more than the remark is worth. */
#define MAX_NAMES_BYTES ((size_t)4 << 20)

/* First match counts. Rust's jemalloc crates and Arrow build it with prefixes of their own. */
static const struct {
	const char *symbol, *allocator;
} marks[] = {
	{ "mallocx", "jemalloc" },
	{ "je_malloc", "jemalloc" },
	{ "je_mallocx", "jemalloc" },
	{ "_rjem_malloc", "jemalloc" },
	{ "_rjem_mallocx", "jemalloc" },
	{ "je_arrow_malloc", "jemalloc" },
	{ "je_arrow_mallocx", "jemalloc" },
	{ "mi_malloc", "mimalloc" },
	{ "_mi_malloc_generic", "mimalloc" },
	{ "tc_malloc", "tcmalloc" },
	{ "TCMallocInternalMalloc", "tcmalloc" },
};
#define N_MARKS (sizeof marks / sizeof *marks)

struct object {
	char file[MAX_FILE];
	const char *allocator; /* NULL: its dynamic symbols do not tell */
};

struct objects {
	struct object *all; /* MAX_OBJECTS, sparse */
	size_t n;
};

static const char *allocator_by_symbols(const struct cmr_elf *elf)
{
	for (size_t i = 0; i < N_MARKS; i++)
		if (cmr_elf_find(elf, marks[i].symbol) != NULL)
			return marks[i].allocator;
	return cmr_elf_find(elf, "malloc") != NULL ? "own malloc" : NULL;
}

/* libc, also while another allocator stands in for its malloc; ld.so of an old one; the allocator
 * that the process uses; and this object, which has the names above in it. */
static bool is_expected(const struct cmr_elf *elf)
{
	return cmr_elf_find(elf, "__libc_start_main") != NULL ||
	       cmr_elf_find(elf, "_r_debug") != NULL ||
	       cmr_elf_contains(elf, (uintptr_t)cmr_original.malloc, 0) ||
	       cmr_elf_contains(elf, (uintptr_t)marks, 0);
}

static int collect(struct dl_phdr_info *info, size_t size, void *data)
{
	struct objects *objects = data;
	struct object *object = &objects->all[objects->n];
	struct cmr_elf elf;

	(void)size;
	if (objects->n == MAX_OBJECTS)
		return 1;
	if (!cmr_elf_read(&elf, info) || is_expected(&elf) || strlen(elf.name) >= MAX_FILE)
		return 0;
	strcpy(object->file, elf.name[0] != 0 ? elf.name : "/proc/self/exe");
	object->allocator = allocator_by_symbols(&elf);
	objects->n++;
	return 0;
}

/* Whether the N_BYTES of zero-terminated names at NAMES have NAME among them. */
static bool has_name(const char *names, size_t n_bytes, const char *name)
{
	size_t length = strlen(name) + 1;
	const char *end = names + n_bytes, *at = names;

	while ((at = memmem(at, (size_t)(end - at), name, length)) != NULL) {
		if (at > names && at[-1] == 0)
			return true;
		at++;
	}
	return false;
}

/* Looks through the names of all symbols in the file image of BYTES at IMAGE. */
static const char *allocator_by_image(const unsigned char *image, size_t bytes)
{
	const ElfW(Ehdr) *header = (const void *)image;
	const ElfW(Shdr) *sections, *names;

	if (bytes < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_shoff > bytes || header->e_shentsize != sizeof *sections ||
	    header->e_shnum > (bytes - header->e_shoff) / sizeof *sections ||
	    header->e_shoff % _Alignof(ElfW(Shdr)) != 0)
		return NULL;
	sections = (const void *)(image + header->e_shoff);
	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB || sections[i].sh_link >= header->e_shnum)
			continue;
		names = &sections[sections[i].sh_link];
		if (names->sh_offset > bytes || names->sh_size > bytes - names->sh_offset ||
		    names->sh_size > MAX_NAMES_BYTES)
			continue;
		for (size_t m = 0; m < N_MARKS; m++)
			if (has_name((const char *)image + names->sh_offset, names->sh_size,
				     marks[m].symbol))
				return marks[m].allocator;
	}
	return NULL;
}

static const char *allocator_by_file(const char *file)
{
	const char *allocator = NULL;
	struct stat status;
	void *image;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && status.st_size > 0) {
		image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (image != MAP_FAILED) {
			allocator = allocator_by_image(image, (size_t)status.st_size);
			munmap(image, (size_t)status.st_size);
		}
	}
	close(fd);
	return allocator;
}

void cmr_hooks_private_allocators(void (*visit)(const char *, const char *, void *), void *data)
{
	struct objects objects = { cmr_memory_map(MAX_OBJECTS * sizeof(struct object)), 0 };
	int saved = errno;

	if (objects.all == NULL)
		return;
	dl_iterate_phdr(collect, &objects);
	for (size_t i = 0; i < objects.n; i++) {
		const char *allocator = objects.all[i].allocator;

		if (allocator == NULL)
			allocator = allocator_by_file(objects.all[i].file);
		if (allocator != NULL)
			visit(objects.all[i].file, allocator, data);
	}
	cmr_memory_unmap(objects.all, MAX_OBJECTS * sizeof(struct object));
	errno = saved;
}
