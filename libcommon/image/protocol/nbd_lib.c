/* libnbd, loaded when it is wanted: with its libraries it would add 3 ms to the start of every command (measured
 * 2026-11-23, `vmimg info`). */
#include <dlfcn.h>
#include <stdio.h>

#include "libcommon/image/protocol/nbd_private.h"

#define LIBRARY "libnbd.so.0"

/* Written once under once_control, only read afterwards. */
static struct nbd_lib lib;
static char problem[200];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	const char *text = handle ? NULL : dlerror();

#define NBD_LOOKUP(name)                                                                           \
	if (handle && !text && !(*(void **)&lib.name = dlsym(handle, "nbd_" #name)))               \
		text = dlerror();
	NBD_FUNCTIONS(NBD_LOOKUP)
#undef NBD_LOOKUP
	if (text)
		(void)snprintf(problem, sizeof(problem), "%s", text);
}

int nbd_lib_load(const struct nbd_lib **ret, struct err *err)
{
	(void)pthread_once(&once, load);
	if (*problem) {
		err_set(err, ERR_UNSUPPORTED, "NBD needs libnbd: %s", problem);
		return err_hint(err, "on Debian: apt-get install libnbd0");
	}
	*ret = &lib;
	return 0;
}
