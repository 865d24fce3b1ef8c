#include "os/status.h"

#include <string.h>

enum cmr_status cmr_fail(struct cmr_error *err, enum cmr_status status, int sys_errno,
			 const char *text)
{
	size_t length = strlen(text);

	if (err == NULL)
		return status;
	if (length >= sizeof err->text)
		length = sizeof err->text - 1;
	err->status = status;
	err->sys_errno = sys_errno;
	memcpy(err->text, text, length);
	err->text[length] = '\0';
	return status;
}
