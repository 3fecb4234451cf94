/* The option --vsock: see vsock.h. */
#include "cmd/vmrun/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"

int vsock_option(const char *text, struct vsock **ret, uint32_t *ret_cid, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	const char *cid = text ? strstr(text, ",cid=") : NULL;
	unsigned long n = VSOCK_CID_FIRST;
	char *end;

	*ret = NULL;
	if (!text)
		return 0;
	if (cid) {
		errno = 0;
		n = strtoul(cid + 5, &end, 10);
		if (*end || errno || cid[5] < '0' || cid[5] > '9' || n < VSOCK_CID_FIRST ||
		    n >= UINT32_MAX)
			return err_set(err, ERR_USAGE,
				       "--vsock PATH,cid=N: N is 3 to 4294967294, not %s", cid + 5);
	}
	path = strndup(text, cid ? (size_t)(cid - text) : strlen(text));
	if (!path)
		return err_nomem(err);
	*ret_cid = (uint32_t)n;
	return vsock_open(ret, path, err);
}
