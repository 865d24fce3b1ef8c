/* Copies of what reports need of code objects: names, file, line table. They outlive the objects.
 *
 *   address of a living code object ──> struct cmr_code ──> number ──> copy {name, file, lines}
 *
 * Code objects of equal content share one number, so a program that compiles the same source again
 * and again adds neither numbers nor call stacks. An address leaves the registry when its code object
 * is destroyed (type slot tp_dealloc, wrapped once), before the memory is given back; addresses are
 * reused at once in practice. All storage is the tracker's own. */
#ifndef CMR_BINDING_CODES_H
#define CMR_BINDING_CODES_H

#include "compat.h"

#include "os/status.h"
#include "stack/provider.h"

/* Makes the registry and wraps the destructor of code objects. Call once, with the interpreter's
 * lock. */
enum cmr_status cmr_codes_init(struct cmr_error *err) CMR_CHECKED;

/* cmr_provider.find_code and .forget. */
const struct cmr_code *cmr_codes_find(const void *code);
void cmr_codes_forget(void);

/* In the child of a fork: another thread may have held the registry's lock. */
void cmr_codes_after_fork(void);

/* The copy behind a number. Valid until cmr_codes_forget. */
struct cmr_code_copy {
	uint32_t name, file; /* text numbers */
	int32_t first_line;
	uint32_t n_lines; /* bytes of LINES */
	const uint8_t *lines;
};
bool cmr_codes_get(uint32_t number, struct cmr_code_copy *out);

/* Texts are numbered densely from 1; equal texts have equal numbers. */
uint32_t cmr_codes_n_texts(void);

/* A new str, or NULL with an exception set. */
PyObject *cmr_codes_text(uint32_t text);

/* Order by code points: negative, 0, positive. */
int cmr_codes_compare(uint32_t a, uint32_t b);

/* Number of copies. */
uint32_t cmr_codes_count(void);

#endif
