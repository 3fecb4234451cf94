/* Loading libarchive and libxml2 when they are needed: see libs.h. */
#include "libcommon/package/libs.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* Guards the two tables below while they are filled; they are never changed afterwards, nor unloaded. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct archive_lib archive_functions;
static struct xml_lib xml_functions;
static bool have_archive, have_xml;

static void *open_library(const char *name, struct err *err)
{
	void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		err_set(err, ERR_UNSUPPORTED, "packages need %s, which is not here", name);
		err_hint(err, "install the package that holds it");
	}
	return handle;
}

/* *@slot is a pointer to a function, of which POSIX says that it fits a void pointer. */
static int find(void *handle, const char *name, void *slot, struct err *err)
{
	void *address = dlsym(handle, name);

	if (!address)
		return err_set(err, ERR_UNSUPPORTED, "the library here has no function %s", name);
	memcpy(slot, &address, sizeof(address));
	return 0;
}

static int load_archive(struct err *err)
{
	void *handle = open_library("libarchive.so.13", err);

	if (!handle)
		return -1;
#define LIBS_FIND(name)                                                                            \
	if (find(handle, #name, &archive_functions.name, err) < 0)                                 \
		return -1;
	ARCHIVE_FUNCTIONS(LIBS_FIND)
#undef LIBS_FIND
	return 0;
}

static int load_xml(struct err *err)
{
	void *handle = open_library("libxml2.so.2", err);

	if (!handle)
		return -1;
#define LIBS_FIND(name)                                                                            \
	if (find(handle, #name, &xml_functions.name, err) < 0)                                     \
		return -1;
	XML_FUNCTIONS(LIBS_FIND)
#undef LIBS_FIND
	return 0;
}

const struct archive_lib *archive_lib(struct err *err)
{
	pthread_mutex_lock(&lock);
	if (!have_archive)
		have_archive = load_archive(err) == 0;

	bool have = have_archive;

	pthread_mutex_unlock(&lock);
	return have ? &archive_functions : NULL;
}

const struct xml_lib *xml_lib(struct err *err)
{
	pthread_mutex_lock(&lock);
	if (!have_xml)
		have_xml = load_xml(err) == 0;

	bool have = have_xml;

	pthread_mutex_unlock(&lock);
	return have ? &xml_functions : NULL;
}
