#include "os/kinds.h"

const char *cmr_kind_text(unsigned kind)
{
	switch (kind) {
#define X(number, name, text)                                                                      \
	case number:                                                                               \
		return text;
		CMR_KIND_LIST(X)
#undef X
	default:
		return "unknown";
	}
}
