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

/* The tables of all symbols in a file image. */
struct symtab {
	const ElfW(Sym) *symbols;
	size_t n;
	const char *names;
	size_t names_bytes;
};

static bool defines_at(const struct symtab *symtab, size_t offset)
{
	for (size_t i = 0; i < symtab->n; i++)
		if (symtab->symbols[i].st_name == offset &&
		    symtab->symbols[i].st_shndx != SHN_UNDEF)
			return true;
	return false;
}

/* A name may be the end of a longer one, and may be there only because it is wanted. */
static bool defines(const struct symtab *symtab, const char *name)
{
	const char *at = symtab->names, *end = at + symtab->names_bytes;

	while ((at = memmem(at, (size_t)(end - at), name, strlen(name) + 1)) != NULL) {
		if (defines_at(symtab, (size_t)(at - symtab->names)))
			return true;
		at++;
	}
	return false;
}

/* Where SECTION, of items aligned to ALIGNMENT, is in the image of BYTES; NULL when it is not. */
static const void *contents_of(const unsigned char *image, size_t bytes,
			       const ElfW(Shdr) *section, size_t alignment)
{
	if (section->sh_offset > bytes || section->sh_size > bytes - section->sh_offset ||
	    section->sh_offset % alignment != 0)
		return NULL;
	return image + section->sh_offset;
}

static bool find_symtab(const unsigned char *image, size_t bytes, struct symtab *symtab)
{
	const ElfW(Ehdr) *header = (const void *)image;
	const ElfW(Shdr) *sections, *names;

	if (bytes < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_shoff > bytes || header->e_shentsize != sizeof *sections ||
	    header->e_shnum > (bytes - header->e_shoff) / sizeof *sections ||
	    header->e_shoff % _Alignof(ElfW(Shdr)) != 0)
		return false;
	sections = (const void *)(image + header->e_shoff);
	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB || sections[i].sh_link >= header->e_shnum)
			continue;
		names = &sections[sections[i].sh_link];
		symtab->symbols = contents_of(image, bytes, &sections[i], _Alignof(ElfW(Sym)));
		symtab->n = sections[i].sh_size / sizeof(ElfW(Sym));
		symtab->names = contents_of(image, bytes, names, 1);
		symtab->names_bytes = names->sh_size;
		return symtab->symbols != NULL && symtab->names != NULL &&
		       symtab->names_bytes <= MAX_NAMES_BYTES;
	}
	return false;
}

static const char *allocator_by_image(const unsigned char *image, size_t bytes)
{
	struct symtab symtab;

	if (!find_symtab(image, bytes, &symtab))
		return NULL;
	for (size_t i = 0; i < N_MARKS; i++)
		if (defines(&symtab, marks[i].symbol))
			return marks[i].allocator;
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
