#include "os/losses.h"

_Atomic uint64_t cmr_loss_counters[CMR_N_LOSSES];
_Atomic uint64_t cmr_loss_replaced_now;

void cmr_losses_read(struct cmr_losses *out)
{
#define X(name)                                                                                    \
	out->name = atomic_load_explicit(&cmr_loss_counters[CMR_LOSS_##name], memory_order_relaxed);
	CMR_LOSS_LIST(X)
#undef X
}
