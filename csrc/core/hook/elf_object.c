/* Reading a loaded object: PT_DYNAMIC, its tables, and lookups in its symbol hash. */
#include "hook/elf_object.h"

#include <string.h>
#include <unistd.h>

#define HIDDEN_VERSION 0x8000 /* not the default version of its symbol */

bool cmr_elf_contains(const struct cmr_elf *elf, uintptr_t address, unsigned flags)
{
	for (size_t i = 0; i < elf->n_phdr; i++) {
		const ElfW(Phdr) *segment = &elf->phdr[i];
		uintptr_t start = elf->base + segment->p_vaddr;

		if (segment->p_type == PT_LOAD && (segment->p_flags & flags) == flags &&
		    address >= start && address - start < segment->p_memsz)
			return true;
	}
	return false;
}

void cmr_elf_view(struct cmr_elf *elf, const struct dl_phdr_info *info)
{
	memset(elf, 0, sizeof *elf);
	elf->base = info->dlpi_addr;
	elf->name = info->dlpi_name;
	elf->phdr = info->dlpi_phdr;
	elf->n_phdr = info->dlpi_phnum;
}

/* glibc turns most addresses of the dynamic section into real ones, other loaders leave them as in
 * the file; a real one lies inside the object. NULL when neither does. */
static const void *table_at(const struct cmr_elf *elf, ElfW(Addr) value)
{
	if (cmr_elf_contains(elf, value, 0))
		return (const void *)(uintptr_t)value;
	value += elf->base;
	return cmr_elf_contains(elf, value, 0) ? (const void *)(uintptr_t)value : NULL;
}

static void read_relro(struct cmr_elf *elf, const ElfW(Phdr) *segment)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t start = elf->base + segment->p_vaddr;

	/* As the loader rounds: a last page that is only partly read-only stays writable. */
	elf->relro_start = start & ~(page - 1);
	elf->relro_end = (start + segment->p_memsz) & ~(page - 1);
}

static void read_entry(struct cmr_elf *elf, const ElfW(Dyn) *entry)
{
	const ElfW(Addr) value = entry->d_un.d_ptr;

	switch (entry->d_tag) {
	case DT_SYMTAB:
		elf->symbols = table_at(elf, value);
		break;
	case DT_STRTAB:
		elf->strings = table_at(elf, value);
		break;
	case DT_RELA:
		elf->rela = table_at(elf, value);
		break;
	case DT_RELASZ:
		elf->n_rela = value / sizeof(ElfW(Rela));
		break;
	case DT_RELACOUNT:
		elf->n_relative = value;
		break;
	case DT_JMPREL:
		elf->plt = table_at(elf, value);
		break;
	case DT_PLTRELSZ:
		elf->n_plt = value / sizeof(ElfW(Rela));
		break;
	case DT_GNU_HASH:
		elf->gnu_hash = table_at(elf, value);
		break;
	case DT_HASH:
		elf->sysv_hash = table_at(elf, value);
		break;
	case DT_VERSYM:
		elf->versions = table_at(elf, value);
		break;
	default:
		break;
	}
}

/* Whether N relocations at TABLE lie in the object, so that reading them is safe. */
static bool table_fits(const struct cmr_elf *elf, const ElfW(Rela) *table, size_t n)
{
	return n == 0 || (table != NULL && cmr_elf_contains(elf, (uintptr_t)(table + n) - 1, 0));
}

bool cmr_elf_read(struct cmr_elf *elf, const struct dl_phdr_info *info)
{
	ElfW(Sxword) plt_form = DT_RELA;

	cmr_elf_view(elf, info);
	for (size_t i = 0; i < elf->n_phdr; i++) {
		const ElfW(Phdr) *segment = &elf->phdr[i];

		if (segment->p_type == PT_DYNAMIC)
			elf->dynamic = (const void *)(elf->base + segment->p_vaddr);
		else if (segment->p_type == PT_GNU_RELRO)
			read_relro(elf, segment);
	}
	if (elf->dynamic == NULL)
		return false;
	for (const ElfW(Dyn) *entry = elf->dynamic; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_PLTREL)
			plt_form = (ElfW(Sxword))entry->d_un.d_val;
		read_entry(elf, entry);
	}
	if (plt_form != DT_RELA) /* no 64-bit platform of ours uses the other form */
		elf->n_plt = 0;
	if (elf->n_relative > elf->n_rela)
		elf->n_relative = elf->n_rela;
	return elf->symbols != NULL && elf->strings != NULL &&
	       table_fits(elf, elf->rela, elf->n_rela) && table_fits(elf, elf->plt, elf->n_plt);
}

/* Is symbol INDEX that of NAME, with a value? DEFINED: of the object; else one that it imports, whose
 * value is a place in its own PLT. */
static bool is_wanted(const struct cmr_elf *elf, uint32_t index, const char *name, bool defined)
{
	const ElfW(Sym) *symbol = &elf->symbols[index];

	if ((symbol->st_shndx != SHN_UNDEF) != defined || symbol->st_value == 0)
		return false;
	if (elf->versions != NULL && (elf->versions[index] & HIDDEN_VERSION) != 0)
		return false;
	return strcmp(elf->strings + symbol->st_name, name) == 0;
}

/* Table: {n_buckets, first symbol, n_bloom, shift}, bloom words, buckets, chains. A chain holds the
 * hashes of consecutive symbols; bit 0 marks the last. */
static const ElfW(Sym) *find_gnu(const struct cmr_elf *elf, const char *name, bool defined)
{
	const uint32_t *header = elf->gnu_hash;
	uint32_t n_buckets = header[0], first = header[1], n_bloom = header[2], shift = header[3];
	const ElfW(Addr) *bloom = (const void *)(header + 4);
	const uint32_t *buckets = (const void *)(bloom + n_bloom);
	const uint32_t *chains = buckets + n_buckets;
	const uint32_t bits = 8 * sizeof *bloom;
	uint32_t hash = 5381, index;
	ElfW(Addr) word;

	for (const unsigned char *c = (const unsigned char *)name; *c != 0; c++)
		hash = hash * 33 + *c;
	if (n_buckets == 0 || n_bloom == 0)
		return NULL;
	word = bloom[hash / bits % n_bloom];
	if ((word >> (hash % bits) & word >> (hash >> shift) % bits & 1) == 0)
		return NULL;
	index = buckets[hash % n_buckets];
	if (index < first)
		return NULL;
	for (;; index++) {
		uint32_t chained = chains[index - first];

		if ((chained | 1) == (hash | 1) && is_wanted(elf, index, name, defined))
			return &elf->symbols[index];
		if ((chained & 1) != 0)
			return NULL;
	}
}

/* Table: {n_buckets, n_chains}, buckets, chains: linked lists of symbol numbers, 0 ends. */
static const ElfW(Sym) *find_sysv(const struct cmr_elf *elf, const char *name, bool defined)
{
	uint32_t n_buckets = elf->sysv_hash[0];
	const uint32_t *buckets = elf->sysv_hash + 2, *chains = buckets + n_buckets;
	uint32_t hash = 0;

	for (const unsigned char *c = (const unsigned char *)name; *c != 0; c++) {
		hash = (hash << 4) + *c;
		hash ^= hash >> 24 & 0xf0;
		hash &= 0x0fffffff;
	}
	if (n_buckets == 0)
		return NULL;
	for (uint32_t index = buckets[hash % n_buckets]; index != 0; index = chains[index])
		if (is_wanted(elf, index, name, defined))
			return &elf->symbols[index];
	return NULL;
}

static const ElfW(Sym) *find(const struct cmr_elf *elf, const char *name, bool defined)
{
	if (elf->gnu_hash != NULL)
		return find_gnu(elf, name, defined);
	return elf->sysv_hash != NULL ? find_sysv(elf, name, defined) : NULL;
}

const ElfW(Sym) *cmr_elf_find(const struct cmr_elf *elf, const char *name)
{
	return find(elf, name, true);
}

uintptr_t cmr_elf_canonical(const struct cmr_elf *elf, const char *name)
{
	const ElfW(Sym) *symbol = find(elf, name, false);

	return symbol != NULL ? elf->base + symbol->st_value : 0;
}
