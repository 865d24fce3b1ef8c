/* Outcomes of functions that can fail. The hot path has none: it degrades and counts (losses.h). */
#ifndef CMR_OS_STATUS_H
#define CMR_OS_STATUS_H

enum cmr_status {
	CMR_OK = 0,
	CMR_NO_MEMORY, /* the kernel refused memory to the tracker itself */
	CMR_TOO_MANY,  /* more than CMR_MAX_REGIONS regions open at once, or no block tag left */
	CMR_STATE,     /* call out of order: started twice, stopped before started, ... */
	CMR_SYSTEM,    /* a system call failed; sys_errno tells */
};

/* Filled by functions that return a status other than CMR_OK; owned by the caller. */
struct cmr_error {
	enum cmr_status status;
	int sys_errno;  /* 0 unless status is CMR_SYSTEM or CMR_NO_MEMORY */
	char text[160]; /* NUL-terminated, for a person */
};

#define CMR_CHECKED __attribute__((warn_unused_result))

/* Fills ERR (which may be NULL) and returns STATUS. TEXT is cut to fit. [any] [nomalloc] */
enum cmr_status cmr_fail(struct cmr_error *err, enum cmr_status status, int sys_errno,
			 const char *text);

#endif
