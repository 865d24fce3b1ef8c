/* Objects that bring an allocator of their own: polars, pyarrow, a jemalloc linked into a library.
 *
 * Their blocks never pass a slot. They are told by names that they define, in the dynamic symbols or,
 * where the file still has them, among all its symbols; and by the words that begin each message of
 * these allocators, which a stripped file has too. An object whose file cannot be looked through is
 * named as such, unless its dynamic symbols have told. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hook/elf_object.h"
#include "hook/hooks.h"
#include "os/memory.h"

/* Larger tables are not searched: that would cost more than the remark is worth. A tenth of a second for
 * each. */
#define MAX_NAMES_BYTES ((size_t)128 << 20)
#define MAX_TEXT_BYTES ((size_t)64 << 20)

enum allocator {
	JEMALLOC,
	MIMALLOC,
	TCMALLOC,
	RPMALLOC,
	SNMALLOC,
	SCUDO,
	OWN_MALLOC,
	UNREADABLE, /* nothing was found, and the file could not be asked */
	TOO_LARGE,  /* or not all of it */
	N_ALLOCATORS
};

static const char *const allocator_names[N_ALLOCATORS] = {
	[JEMALLOC] = "jemalloc",     [MIMALLOC] = "mimalloc",	  [TCMALLOC] = "tcmalloc",
	[RPMALLOC] = "rpmalloc",     [SNMALLOC] = "snmalloc",	  [SCUDO] = "scudo",
	[OWN_MALLOC] = "own malloc", [UNREADABLE] = "unreadable", [TOO_LARGE] = "too large",
};

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
	struct object *all;
	size_t n, capacity;
	bool overrun;
};

static unsigned found_by_symbols(const struct cmr_elf *elf)
{
	unsigned found = 0;

	for (size_t i = 0; i < N_MARKS; i++)
		if (cmr_elf_find(elf, marks[i].symbol) != NULL)
			found |= 1u << marks[i].allocator;
	return found;
}

/* libc, also while another allocator stands in for its malloc; ld.so of an old one; the vdso, which has
 * no file; the allocator that the process uses; and this object, which has the names above in it. */
static bool is_expected(const struct cmr_elf *elf)
{
	uintptr_t vdso = (uintptr_t)getauxval(AT_SYSINFO_EHDR);

	return (elf->base == vdso && vdso != 0) ||
	       cmr_elf_find(elf, "__libc_start_main") != NULL ||
	       cmr_elf_find(elf, "_r_debug") != NULL ||
	       cmr_elf_contains(elf, (uintptr_t)cmr_original.malloc, 0) ||
	       cmr_elf_contains(elf, (uintptr_t)marks, 0);
}

/* A name that is too long is cut at the front, and cannot be read then. */
static int collect(struct dl_phdr_info *info, size_t size, void *data)
{
	struct objects *objects = data;
	struct object *object;
	struct cmr_elf elf;
	size_t length;

	(void)size;
	if (!cmr_elf_read(&elf, info) || is_expected(&elf))
		return 0;
	if (objects->n == objects->capacity) {
		objects->overrun = true;
		return 1;
	}
	object = &objects->all[objects->n++];
	object->found = found_by_symbols(&elf);
	if (elf.name[0] == 0)
		elf.name = "/proc/self/exe";
	length = strlen(elf.name);
	if (length >= CMR_FILE_BYTES) {
		elf.name += length - (CMR_FILE_BYTES - 1);
		object->found |= 1u << UNREADABLE;
	}
	memcpy(object->file, elf.name, strlen(elf.name) + 1);
	return 0;
}

static int count(struct dl_phdr_info *info, size_t size, void *data)
{
	struct objects *objects = data;

	(void)info;
	(void)size;
	objects->capacity++;
	return 0;
}

/* The tables of all symbols in a file image. */
struct symtab {
	const ElfW(Sym) *symbols;
	size_t n;
	const char *names;
	size_t names_bytes;
};

/* The marks among the names that SYMTAB defines. */
static unsigned found_among(const struct symtab *symtab)
{
	bool begins_mark[256] = { false };
	unsigned found = 0;

	for (size_t i = 0; i < N_MARKS; i++)
		begins_mark[(unsigned char)marks[i].symbol[0]] = true;
	for (size_t s = 0; s < symtab->n; s++) {
		const ElfW(Sym) *symbol = &symtab->symbols[s];
		const char *name = symtab->names + symbol->st_name;

		if (symbol->st_shndx == SHN_UNDEF || symbol->st_name >= symtab->names_bytes ||
		    !begins_mark[(unsigned char)name[0]])
			continue;
		for (size_t i = 0; i < N_MARKS; i++)
			if (strncmp(name, marks[i].symbol,
				    symtab->names_bytes - symbol->st_name) == 0)
				found |= 1u << marks[i].allocator;
	}
	return found;
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

	if (symtab.symbols == NULL || symtab.names == NULL)
		return 1u << UNREADABLE;
	return symtab.names_bytes > MAX_NAMES_BYTES ? 1u << TOO_LARGE : found_among(&symtab);
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

	if (text == NULL)
		return 1u << UNREADABLE;
	if (section->sh_size > MAX_TEXT_BYTES)
		return 1u << TOO_LARGE;
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

	if (sections == NULL || header->e_shnum == 0)
		return 1u << UNREADABLE;
	for (unsigned i = 0; i < header->e_shnum; i++) {
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
	unsigned found = 1u << UNREADABLE;
	struct stat status;
	void *image;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return found;
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

/* What is to be said of OBJECT: known allocators, else that of no known kind, else why nothing is known. */
static unsigned found_in_object(const struct object *object)
{
	const unsigned unknown = 1u << UNREADABLE | 1u << TOO_LARGE, own = 1u << OWN_MALLOC;
	unsigned found = object->found;

	if ((found & 1u << UNREADABLE) == 0)
		found |= found_in_file(object->file);
	if ((found & ~unknown & ~own) != 0)
		return found & ~unknown & ~own;
	return (found & own) != 0 ? own : found;
}

void cmr_hooks_private_allocators(void (*visit)(const char *, const char *, void *), void *data)
{
	struct objects objects = { NULL, 0, 16, false }; /* room for what is loaded meanwhile */
	int saved = errno;
	size_t bytes;

	dl_iterate_phdr(count, &objects);
	bytes = objects.capacity * sizeof *objects.all;
	objects.all = cmr_memory_map(bytes);
	if (objects.all == NULL) {
		visit("", allocator_names[UNREADABLE], data);
		return;
	}
	dl_iterate_phdr(collect, &objects);
	for (size_t i = 0; i < objects.n; i++) {
		unsigned found = found_in_object(&objects.all[i]);

		for (int a = 0; a < N_ALLOCATORS; a++)
			if ((found & 1u << a) != 0)
				visit(objects.all[i].file, allocator_names[a], data);
	}
	if (objects.overrun)
		visit("", allocator_names[UNREADABLE], data);
	cmr_memory_unmap(objects.all, bytes);
	errno = saved;
}
