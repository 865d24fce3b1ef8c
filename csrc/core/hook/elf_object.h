/* One loaded object as its program headers and dynamic section describe it. Only reads. */
#ifndef CMR_HOOK_ELF_OBJECT_H
#define CMR_HOOK_ELF_OBJECT_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pointers into the object; valid while it is loaded. Tables that it lacks are NULL. */
struct cmr_elf {
	uintptr_t base; /* what is added to the addresses in the file */
	const char *name;
	const ElfW(Phdr) *phdr;
	size_t n_phdr;
	const ElfW(Dyn) *dynamic;
	const ElfW(Sym) *symbols;
	const char *strings;
	const ElfW(Rela) *rela, *plt;
	size_t n_rela, n_plt;
	size_t n_relative; /* relocations without symbol at the start of `rela` */
	const uint32_t *gnu_hash, *sysv_hash;
	const ElfW(Half) *versions;
	uintptr_t relro_start, relro_end; /* what the loader made read-only, whole pages */
};

/* Fills ELF. False: no dynamic section, or tables that lie outside the object. */
bool cmr_elf_read(struct cmr_elf *elf, const struct dl_phdr_info *info);

/* Whether ADDRESS lies in a loaded segment that has all of FLAGS (PF_X, PF_W, ...; 0: any). Only
 * base, phdr and n_phdr of ELF are used. */
bool cmr_elf_contains(const struct cmr_elf *elf, uintptr_t address, unsigned flags);

/* Defined dynamic symbol NAME in its default version, or NULL. */
const ElfW(Sym) *cmr_elf_find(const struct cmr_elf *elf, const char *name);

/* The address of the function NAME for all objects, if ELF is a program that is not position-independent and
 * takes that address: its own place in its PLT ("canonical PLT"). Else 0. */
uintptr_t cmr_elf_canonical(const struct cmr_elf *elf, const char *name);

/* Only the program headers; enough for cmr_elf_contains. */
void cmr_elf_view(struct cmr_elf *elf, const struct dl_phdr_info *info);

#endif
