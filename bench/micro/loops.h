/* The loops that are timed, built twice from one source: into the program, whose slots the hooks
 * never touch, and into a library. Same code, same kind of call (GLOB_DAT). */
#ifndef LOOPS_H
#define LOOPS_H

#include <stddef.h>

struct loops {
	void (*pairs)(size_t n, size_t bytes);   /* malloc and free */
	void (*queue)(size_t n, size_t bytes);   /* 1000 live, oldest freed */
	void (*random)(size_t n, size_t bytes);  /* 100000 live, any freed */
	void (*resizes)(size_t n, size_t bytes); /* malloc, realloc to twice, free */
	void (*maps)(size_t n, size_t bytes);    /* mmap and munmap */
	void *(*get)(size_t bytes);
	void (*put)(void *block);
};

typedef const struct loops *(*loops_function)(void);
const struct loops *loops(void);

#endif
