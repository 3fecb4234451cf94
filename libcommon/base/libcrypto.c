/* Loading libcrypto: see libcrypto.h. */
#define LIBCRYPTO_IMPLEMENTATION
#include "libcommon/base/libcrypto.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "libcommon/base/log.h"

_Atomic(const struct libcrypto *) libcrypto_loaded;

/* Written once under once_control, only read afterwards. */
static struct libcrypto functions;
static void (*missing)(const char *why);
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *look_up(void)
{
	void *handle = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return dlerror();
#define LIBCRYPTO_LOOKUP(name)                                                                     \
	if (!(*(void **)&functions.name = dlsym(handle, #name)))                                   \
		return dlerror();
	LIBCRYPTO_FUNCTIONS(LIBCRYPTO_LOOKUP)
#undef LIBCRYPTO_LOOKUP
	return NULL;
}

static void load(void)
{
	const char *problem = look_up();

	if (problem) {
		if (missing)
			missing(problem);
		log_warning("libcrypto cannot be loaded: %s", problem);
		abort(); /* No caller could go on: what it would give back was not computed. */
	}
	atomic_store_explicit(&libcrypto_loaded, &functions, memory_order_release);
}

const struct libcrypto *libcrypto_load(void)
{
	(void)pthread_once(&once, load);
	return &functions;
}

void libcrypto_if_missing(void (*end)(const char *why))
{
	missing = end;
}
