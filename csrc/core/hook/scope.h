/* May a name that an object has not resolved yet lead elsewhere than to the process's definition? And
 * does an address belong to a definition at all? */
#ifndef CMR_HOOK_SCOPE_H
#define CMR_HOOK_SCOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "hook/elf_object.h"

/* Whether FROM needs, directly or through others, an object that defines NAME somewhere else than
 * at ORIGINAL. Such an object may have been opened with RTLD_DEEPBIND, which nothing shows: its
 * calls then go there. Also true when memory is refused. Call inside dl_iterate_phdr. [nomalloc] */
bool cmr_scope_is_ambiguous(const struct cmr_elf *from, const char *name, uintptr_t original);

/* Whether the loader can have bound NAME to ADDRESS: the object with ADDRESS in it defines NAME, or
 * is the program, which gives a place in its PLT to all. That it may be another version of NAME, or what
 * an indirect function chose, makes no difference. [nomalloc] */
bool cmr_scope_is_definition(const char *name, uintptr_t address);

#endif
