#include "lines.h"

#include <limits.h>

void cmr_lines_start(struct cmr_lines *lines, const uint8_t *table, uint32_t size, int first_line)
{
	*lines = (struct cmr_lines){ table, table + size, first_line };
}

/* Six bits a byte, lowest first; bit 6 says that more follow. */
static uint32_t read_varint(struct cmr_lines *lines)
{
	uint32_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	while (lines->at < lines->end && shift < 32) {
		byte = *lines->at++;
		value |= (uint32_t)(byte & 63) << shift;
		shift += 6;
		if ((byte & 64) == 0)
			break;
	}
	return value;
}

/* The lowest bit is the sign. */
static int read_signed_varint(struct cmr_lines *lines)
{
	uint32_t value = read_varint(lines);
	int magnitude = (int)(value >> 1);

	return value & 1 ? -magnitude : magnitude;
}

static void skip(struct cmr_lines *lines, int n)
{
	lines->at = lines->end - lines->at > n ? lines->at + n : lines->end;
}

static int add_lines(int line, int delta)
{
	int sum;

	return __builtin_add_overflow(line, delta, &sum) ? INT_MAX : sum;
}

bool cmr_lines_next(struct cmr_lines *lines, uint32_t *n_units, int *line)
{
	uint8_t first;
	int code;

	if (lines->at >= lines->end || (*lines->at & 0x80) == 0)
		return false;
	first = *lines->at++;
	code = (first >> 3) & 15;
	*n_units = (first & 7u) + 1;
	if (code == 15) {
		*line = 0;
		return true;
	}
	if (code >= 13) {
		lines->line = add_lines(lines->line, read_signed_varint(lines));
		if (code == 14) {
			read_varint(lines);
			read_varint(lines);
			read_varint(lines);
		}
	} else if (code >= 10) {
		lines->line = add_lines(lines->line, code - 10);
		skip(lines, 2);
	} else {
		skip(lines, 1);
	}
	*line = lines->line;
	return true;
}

int cmr_lines_find(const uint8_t *table, uint32_t size, int first_line, int32_t unit)
{
	struct cmr_lines lines;
	uint32_t n_units;
	int64_t end = 0;
	int line;

	if (unit < 0)
		return first_line;
	cmr_lines_start(&lines, table, size, first_line);
	while (cmr_lines_next(&lines, &n_units, &line)) {
		end += n_units;
		if (unit < end)
			return line > 0 ? line : first_line;
	}
	return first_line;
}
