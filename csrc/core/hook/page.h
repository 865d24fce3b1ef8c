/* Is a page of this process writable? The kernel tells without changing anything. */
#ifndef CMR_HOOK_PAGE_H
#define CMR_HOOK_PAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the word at ADDRESS (8-byte aligned) may be stored to. False also when the kernel does not
 * say. errno is not preserved. */
bool cmr_page_is_writable(uintptr_t address);

#endif
