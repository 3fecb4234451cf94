/* Loading libcurl when it is needed: see backend_s3_curl.h. */
#include "libcommon/repo/backend_s3_curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Guards the table while it is filled; it is never changed afterwards, nor unloaded. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct curl_lib functions;
static bool loaded;

static int load(struct err *err)
{
	static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
	void *handle = NULL;

	for (size_t i = 0; !handle && i < sizeof(names) / sizeof(*names); i++)
		handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		err_set(err, ERR_UNSUPPORTED, "S3 needs libcurl.so.4, which is not here");
		return err_hint(err, "install libcurl4");
	}
/* A slot is a pointer to a function, of which POSIX says that it fits a void pointer. */
#define CURL_FIND(name)                                                                            \
	do {                                                                                       \
		void *address = dlsym(handle, #name);                                              \
                                                                                                   \
		if (!address)                                                                      \
			return err_set(err, ERR_UNSUPPORTED, "the libcurl here has no %s", #name); \
		memcpy(&functions.name, &address, sizeof(address));                                \
	} while (0);
	CURL_FUNCTIONS(CURL_FIND)
#undef CURL_FIND
	if (functions.curl_global_init(CURL_GLOBAL_ALL))
		return err_set(err, ERR_UNSUPPORTED, "libcurl does not start");
	return 0;
}

const struct curl_lib *curl_lib(struct err *err)
{
	bool have;

	pthread_mutex_lock(&lock);
	if (!loaded)
		loaded = !load(err);
	have = loaded;
	pthread_mutex_unlock(&lock);
	return have ? &functions : NULL;
}
