/* Asking for the protection of a page without reading /proc/self/maps, which takes milliseconds in
 * a process with many mappings.
 *
 * FUTEX_WAKE_OP does an atomic operation of the caller's choice on a word, here "or 0", before it
 * wakes the waiters of that word and of another (there are none, and at most 0 are to be woken). On
 * a page that is not writable it fails with EFAULT. The operation is atomic towards the stores of
 * other threads, so a relocation that happens at the same moment is not lost. */
#include "hook/page.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

bool cmr_page_is_writable(uintptr_t address)
{
	uint32_t nobody = 0;

	return syscall(SYS_futex, &nobody, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, NULL, address,
		       FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0)) >= 0;
}
