/* Line numbers of a code object, from a copy of its location table (co_linetable, PEP 626).
 *
 * An entry covers 1 to 8 code units:
 *
 *	1 code:4 length-1:3        code  0..9   short form, 1 more byte: same line
 *	                                10..12  2 more bytes: line + code - 10
 *	                                13      no columns: signed varint, line delta
 *	                                14      long form: the same, then 3 varints
 *	                                15      no location
 *
 * Only first bytes have bit 7 set. Two tables, for first line 5: `81 00 d8 08 0c` = units 0-1 on
 * line 5, unit 2 on line 6; `e9 06 f8` = units 0-1 on line 8, unit 2 nowhere. */
#ifndef CMR_BINDING_LINES_H
#define CMR_BINDING_LINES_H

#include <stdbool.h>
#include <stdint.h>

struct cmr_lines {
	const uint8_t *at, *end;
	int line; /* running line */
};

/* Begins to read TABLE of SIZE bytes, which must outlive LINES. */
void cmr_lines_start(struct cmr_lines *lines, const uint8_t *table, uint32_t size, int first_line);

/* Next entry: how many code units, and their line (0: none). False at the end, or at a byte that
 * cannot begin an entry. */
bool cmr_lines_next(struct cmr_lines *lines, uint32_t *n_units, int *line);

/* Line of code unit UNIT; FIRST_LINE when it has none, is negative or beyond the table. */
int cmr_lines_find(const uint8_t *table, uint32_t size, int first_line, int32_t unit);

#endif
