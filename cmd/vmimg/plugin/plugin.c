/* The nbdkit plugin behind `vmimg serve`: one image, whatever its name and format, for all connections.
 *
 * It takes its configuration from vmimg alone (serve.c), which has looked at the image before and said what is
 * wrong with it. The image is opened after nbdkit has forked: with --run the other process only runs the command,
 * and must not hold a writable image as well.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/io.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol/nbd.h"
#include "libcommon/package/package.h"
#include "libcommon/repo/repo.h"
#include "libcommon/repo/s3_opts.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum { MAX_ALLOW = 64, EXTENTS_MAX = 64 << 10 };

/* Set while nbdkit reads its arguments, before there are threads. */
static const char *allow[MAX_ALLOW];
static struct image_open_opts how = {.allow_dirs = allow};
static const char *name, *export = "", *socket_path;
static long idle_ms, pass_fd = -1;
static bool once_only;
static struct repo_s3_opts s3 = {.retries = S3_RETRIES, .cache_size = S3_CACHE_SIZE};

static struct image *image; /* from after_fork to cleanup */

/* Connections now, whether there has been one, and since when there is none: for --once and --timeout. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned connections;
static uint64_t idle_since_ms;

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* To nbdkit's log and as the errno that the client sees. */
static int failed(const struct err *err)
{
	nbdkit_error("%s%s%s", err->object, *err->object ? ": " : "", err->message);
	nbdkit_set_error(err->code == ERR_NO_SPACE	? ENOSPC
			 : err->code == ERR_DENIED	? EPERM
			 : err->code == ERR_UNSUPPORTED ? ENOTSUP
			 : err->code == ERR_NO_MEMORY	? ENOMEM
							: EIO);
	return -1;
}

static int plugin_config(const char *key, const char *value)
{
	if (strcmp(key, "image") == 0)
		name = value;
	else if (strcmp(key, "format") == 0)
		how.format = value;
	else if (strcmp(key, "snapshot") == 0)
		how.snapshot = value;
	else if (strcmp(key, "flags") == 0)
		how.flags = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(key, "allow") == 0 && how.n_allow_dirs < MAX_ALLOW)
		allow[how.n_allow_dirs++] = value;
	else if (strcmp(key, "export") == 0)
		export = value;
	else if (strcmp(key, "socket") == 0)
		socket_path = value;
	else if (strcmp(key, "idle_ms") == 0)
		idle_ms = strtol(value, NULL, 10);
	else if (strcmp(key, "once") == 0)
		once_only = true;
	else if (strcmp(key, "pass_fd") == 0)
		pass_fd = strtol(value, NULL, 10);
	else if (strcmp(key, "s3_retries") == 0)
		s3.retries = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(key, "s3_rate_limit") == 0)
		s3.rate_limit = strtoull(value, NULL, 10);
	else if (strcmp(key, "s3_cache_size") == 0)
		s3.cache_size = strtoull(value, NULL, 10);
	else if (strcmp(key, "s3_stall_ms") == 0)
		s3.stall_ms = strtoull(value, NULL, 10);
	else {
		nbdkit_error("vmimg serve does not say %s=", key);
		return -1;
	}
	return 0;
}

static int plugin_config_complete(void)
{
	if (name)
		return 0;
	nbdkit_error("this plugin is started by vmimg serve");
	return -1;
}

/* The passphrase of an encrypted repository, which vmimg has asked for. */
static int get_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	char *text = pass_fd >= 0 ? calloc(1, 4097) : NULL;

	(void)ctx;
	(void)confirm;
	if (!text)
		return err_set(err, ERR_DENIED, "no passphrase was handed over");

	ssize_t n = pread((int)pass_fd, text, 4096, 0);

	if (n <= 0) {
		free(text);
		return err_set(err, ERR_DENIED, "no passphrase was handed over");
	}
	*ret = text;
	return 0;
}

static void release_key(void *ctx, char *passphrase)
{
	(void)ctx;
	explicit_bzero(passphrase, strlen(passphrase));
	free(passphrase);
}

/* nbdkit ends itself when nobody has been connected for so long. */
static void *watch_idle(void *unused)
{
	(void)unused;
	for (;;) {
		uint64_t left;
		struct timespec t;

		(void)pthread_mutex_lock(&lock);
		left = idle_since_ms + (uint64_t)idle_ms;
		left = connections ? (uint64_t)idle_ms : left > now_ms() ? left - now_ms() : 0;
		(void)pthread_mutex_unlock(&lock);
		if (left == 0) {
			nbdkit_shutdown();
			return NULL;
		}
		left = min_u64(left, 500);
		t = (struct timespec){.tv_sec = (time_t)(left / 1000),
				      .tv_nsec = (long)(left % 1000) * 1000000};
		(void)nanosleep(&t, NULL);
	}
}

static int plugin_after_fork(void)
{
	static const struct repo_key_source key = {.get = get_key, .release = release_key};
	struct err err = ERR_INIT;
	pthread_t thread;

	package_register();
	nbd_register();
	repo_register(&key);
	repo_set_s3_opts(&s3);
	if (image_open(&image, name, &how, &err) < 0)
		return failed(&err);
	idle_since_ms = now_ms();
	if (idle_ms > 0 && pthread_create(&thread, NULL, watch_idle, NULL) == 0)
		(void)pthread_detach(thread);
	return 0;
}

static void plugin_cleanup(void)
{
	struct err err = ERR_INIT;

	if (image && image_flush(image, &err) < 0)
		(void)failed(&err);
	image_close(image);
	image = NULL;
	if (socket_path)
		(void)unlink(socket_path);
}

static const char *plugin_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return export;
}

static int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	(void)readonly;
	(void)is_tls;
	return nbdkit_add_export(exports, export, NULL);
}

static void *plugin_open(int readonly)
{
	const char *wanted = nbdkit_export_name();

	(void)readonly;
	if (!wanted || (strcmp(wanted, export) != 0 && *wanted)) {
		nbdkit_error("there is no export %s", wanted ? wanted : "");
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	(void)pthread_mutex_lock(&lock);
	connections++;
	(void)pthread_mutex_unlock(&lock);
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static void plugin_close(void *handle)
{
	bool last;

	(void)handle;
	(void)pthread_mutex_lock(&lock);
	last = --connections == 0;
	idle_since_ms = now_ms();
	(void)pthread_mutex_unlock(&lock);
	if (last && once_only)
		nbdkit_shutdown();
}

static int64_t plugin_get_size(void *handle)
{
	(void)handle;
	return (int64_t)image_size(image);
}

static int writable(void *handle)
{
	(void)handle;
	return (how.flags & IMAGE_RDWR) != 0;
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = ERR_INIT;

	(void)handle;
	(void)flags;
	return image_read(image, buf, offset, count, &err) < 0 ? failed(&err) : 0;
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
			 uint32_t flags)
{
	struct err err = ERR_INIT;

	(void)handle;
	(void)flags; /* FUA is a flush afterwards: nbdkit does that */
	return image_write(image, buf, offset, count, &err) < 0 ? failed(&err) : 0;
}

static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = ERR_INIT;

	(void)handle;
	return image_write_zeroes(image, offset, count, flags & NBDKIT_FLAG_MAY_TRIM, &err) < 0
		       ? failed(&err)
		       : 0;
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = ERR_INIT;

	(void)handle;
	(void)flags;
	return image_discard(image, offset, count, &err) < 0 ? failed(&err) : 0;
}

static int plugin_flush(void *handle, uint32_t flags)
{
	struct err err = ERR_INIT;

	(void)handle;
	(void)flags;
	return image_flush(image, &err) < 0 ? failed(&err) : 0;
}

/* The answer may end early; it is bounded, however small the image's extents are. */
static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	uint64_t end = offset + count;
	struct err err = ERR_INIT;

	(void)handle;
	for (unsigned n = 0; offset < end && n < EXTENTS_MAX; n++) {
		struct extent e;
		uint32_t type = NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;

		if (image_extent(image, offset, end - offset, &e, &err) < 0)
			return failed(&err);
		if (e.kind == EXTENT_DATA)
			type = 0;
		if (nbdkit_add_extent(extents, offset, e.len, type) < 0)
			return -1;
		offset += e.len;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "vmimg",
	.longname = "vmkit's virtual disk images",
	.version = VMKIT_VERSION,
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.after_fork = plugin_after_fork,
	.cleanup = plugin_cleanup,
	.default_export = plugin_default_export,
	.list_exports = plugin_list_exports,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.can_write = writable,
	.can_flush = yes,
	.can_trim = writable,
	.can_zero = yes,
	.can_multi_conn = yes, /* one image behind all of them */
	.can_extents = yes,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.zero = plugin_zero,
	.trim = plugin_trim,
	.flush = plugin_flush,
	.extents = plugin_extents,
};

/* What the macro defines; clang misses it in nbdkit's header. */
extern struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
