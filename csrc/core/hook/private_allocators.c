/* Objects that bring an allocator of their own: polars, pyarrow, a jemalloc linked into a library.
 *
 * Their blocks never pass a slot. They are told by names that they define, in the dynamic symbols or,
 * where the file still has them, among all its symbols; and by the words that begin each message of
 * these allocators, which a stripped file has too. */
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
/* Larger tables are not searched: that would cost more than the remark is worth. */
#define MAX_NAMES_BYTES ((size_t)4 << 20)
#define MAX_TEXT_BYTES ((size_t)64 << 20)

enum allocator { JEMALLOC, MIMALLOC, TCMALLOC, RPMALLOC, SNMALLOC, SCUDO, OWN_MALLOC, N_ALLOCATORS };

static const char *const allocator_names[N_ALLOCATORS] = { "jemalloc", "mimalloc", "tcmalloc",
							   "rpmalloc", "snmalloc", "scudo",
							   "own malloc" };

/* Rust's jemalloc crates and Arrow build theirs with prefixes. A malloc that is none of these, and that
 * only the file's own symbols show, counts where none of the others is found. */
static const struct {
	const char *symbol;
	enum allocator allocator;
} marks[] = {
	{ "mallocx", JEMALLOC },
	{ "je_malloc", JEMALLOC },
	{ "je_mallocx", JEMALLOC },
	{ "_rjem_malloc", JEMALLOC },
	{ "_rjem_mallocx", JEMALLOC },
	{ "je_arrow_malloc", JEMALLOC },
	{ "je_arrow_mallocx", JEMALLOC },
	{ "mi_malloc", MIMALLOC },
	{ "arrow_mi_malloc_aligned", MIMALLOC },
	{ "tc_malloc", TCMALLOC },
	{ "TCMallocInternalMalloc", TCMALLOC },
	{ "rpmalloc", RPMALLOC },
	{ "rpmalloc_initialize", RPMALLOC },
	{ "sn_malloc", SNMALLOC },
	{ "sn_rust_alloc", SNMALLOC },
	{ "__scudo_print_stats", SCUDO },
	{ "malloc", OWN_MALLOC },
};
#define N_MARKS (sizeof marks / sizeof *marks)

static const char *const messages[N_ALLOCATORS] = {
	[JEMALLOC] = "<jemalloc>: ",
	[MIMALLOC] = "mimalloc: ",
	[TCMALLOC] = "tcmalloc: ",
	[SCUDO] = "Scudo ERROR: ",
};

struct object {
	char file[CMR_FILE_BYTES];
	unsigned found; /* bit per allocator */
};

struct objects {
	struct object *all; /* MAX_OBJECTS, sparse */
	size_t n;
};

static unsigned found_by_symbols(const struct cmr_elf *elf)
{
	unsigned found = 0;

	for (size_t i = 0; i < N_MARKS; i++)
		if (cmr_elf_find(elf, marks[i].symbol) != NULL)
			found |= 1u << marks[i].allocator;
	return found;
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
	if (!cmr_elf_read(&elf, info) || is_expected(&elf) || strlen(elf.name) >= CMR_FILE_BYTES)
		return 0;
	strncpy(object->file, elf.name[0] != 0 ? elf.name : "/proc/self/exe", CMR_FILE_BYTES - 1);
	object->found = found_by_symbols(&elf);
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

/* The section headers of a file image, checked; NULL when it has none. */
static const ElfW(Shdr) *sections_of(const unsigned char *image, size_t bytes)
{
	const ElfW(Ehdr) *header = (const void *)image;

	if (bytes < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_shoff > bytes || header->e_shentsize != sizeof(ElfW(Shdr)) ||
	    header->e_shnum > (bytes - header->e_shoff) / sizeof(ElfW(Shdr)) ||
	    header->e_shoff % _Alignof(ElfW(Shdr)) != 0)
		return NULL;
	return (const void *)(image + header->e_shoff);
}

static unsigned found_in_symbols(const unsigned char *image, size_t bytes,
				 const ElfW(Shdr) *section, const ElfW(Shdr) *names)
{
	const struct symtab symtab = {
		.symbols = contents_of(image, bytes, section, _Alignof(ElfW(Sym))),
		.n = section->sh_size / sizeof(ElfW(Sym)),
		.names = contents_of(image, bytes, names, 1),
		.names_bytes = names->sh_size,
	};
	unsigned found = 0;

	if (symtab.symbols == NULL || symtab.names == NULL || symtab.names_bytes > MAX_NAMES_BYTES)
		return 0;
	for (size_t i = 0; i < N_MARKS; i++)
		if (defines(&symtab, marks[i].symbol))
			found |= 1u << marks[i].allocator;
	return found;
}

/* Whether SECTION holds constants: there the messages are. */
static bool has_constants(const unsigned char *image, size_t bytes, const ElfW(Shdr) *sections,
			  const ElfW(Shdr) *section)
{
	const ElfW(Ehdr) *header = (const void *)image;
	const char *names;

	if (section->sh_type != SHT_PROGBITS || header->e_shstrndx >= header->e_shnum)
		return false;
	names = contents_of(image, bytes, &sections[header->e_shstrndx], 1);
	return names != NULL && section->sh_name < sections[header->e_shstrndx].sh_size &&
	       strncmp(names + section->sh_name, ".rodata", 7) == 0;
}

static unsigned found_in_text(const unsigned char *image, size_t bytes, const ElfW(Shdr) *section)
{
	const void *text = contents_of(image, bytes, section, 1);
	unsigned found = 0;

	if (text == NULL || section->sh_size > MAX_TEXT_BYTES)
		return 0;
	for (int i = 0; i < N_ALLOCATORS; i++)
		if (messages[i] != NULL &&
		    memmem(text, section->sh_size, messages[i], strlen(messages[i])) != NULL)
			found |= 1u << i;
	return found;
}

static unsigned found_in_image(const unsigned char *image, size_t bytes)
{
	const ElfW(Ehdr) *header = (const void *)image;
	const ElfW(Shdr) *sections = sections_of(image, bytes);
	unsigned found = 0;

	for (unsigned i = 0; sections != NULL && i < header->e_shnum; i++) {
		const ElfW(Shdr) *section = &sections[i];

		if (section->sh_type == SHT_SYMTAB && section->sh_link < header->e_shnum)
			found |= found_in_symbols(image, bytes, section,
						  &sections[section->sh_link]);
		else if (has_constants(image, bytes, sections, section))
			found |= found_in_text(image, bytes, section);
	}
	return found;
}

static unsigned found_in_file(const char *file)
{
	unsigned found = 0;
	struct stat status;
	void *image;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (fstat(fd, &status) == 0 && status.st_size > 0) {
		image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (image != MAP_FAILED) {
			found = found_in_image(image, (size_t)status.st_size);
			munmap(image, (size_t)status.st_size);
		}
	}
	close(fd);
	return found;
}

void cmr_hooks_private_allocators(void (*visit)(const char *, const char *, void *), void *data)
{
	struct objects objects = { cmr_memory_map(MAX_OBJECTS * sizeof(struct object)), 0 };
	int saved = errno;

	if (objects.all == NULL)
		return;
	dl_iterate_phdr(collect, &objects);
	for (size_t i = 0; i < objects.n; i++) {
		struct object *object = &objects.all[i];

		object->found |= found_in_file(object->file);
		if ((object->found & ~(1u << OWN_MALLOC)) != 0)
			object->found &= ~(1u << OWN_MALLOC);
		for (int a = 0; a < N_ALLOCATORS; a++)
			if ((object->found & 1u << a) != 0)
				visit(object->file, allocator_names[a], data);
	}
	cmr_memory_unmap(objects.all, MAX_OBJECTS * sizeof(struct object));
	errno = saved;
}
