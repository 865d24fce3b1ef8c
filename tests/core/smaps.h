/* What the kernel notes about a mapping (/proc/self/smaps). */
#ifndef CMR_TEST_SMAPS_H
#define CMR_TEST_SMAPS_H

#include <stdio.h>

/* Whether the kernel has huge pages that a mapping could refuse. */
static inline bool has_huge_pages(void)
{
	return access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) == 0 &&
	       access("/proc/self/smaps", R_OK) == 0;
}

/* Whether the mapping of MEMORY is never to be of huge pages: flag "nh". */
static inline bool refuses_huge_pages(const void *memory)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512];
	unsigned long start, end;
	bool here = false, refuses = false;

	REQUIRE(file != NULL);
	while (fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)memory && (uintptr_t)memory < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			refuses = strstr(line, " nh") != NULL;
	}
	fclose(file);
	return refuses;
}

#endif
