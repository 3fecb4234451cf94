/* The initial RAM disk of a command: see command.h. What it holds is read by guest/init.c. */
#include "cmd/vmrun/command.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmrun/shares.h"
#include "libcommon/base/bytes.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/runner/cpio.h"
#include "libcommon/runner/modules.h"
#include "libcommon/runner/net.h"

/* Beside the folder of the programs, where make builds it and make install puts it. */
#define INIT "libexec/vmkit/vmrun-init"

static int find_init(char path[PATH_MAX + sizeof(INIT)], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash = NULL;

	path[n > 0 ? n : 0] = '\0';
	for (int up = 0; up < 2; up++) { /* PREFIX/bin/vmrun */
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
	}
	if (slash)
		(void)memcpy(slash, "/" INIT, sizeof("/" INIT));
	if (slash && access(path, R_OK) == 0)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the first process for guests is not installed");
	return err_object(err, path);
}

static int modules_folder(const struct command *c, char path[PATH_MAX], struct err *err)
{
	char version[KERNEL_VERSION_MAX];

	if (c->modules) {
		if (snprintf(path, PATH_MAX, "%s", c->modules) >= PATH_MAX ||
		    access(c->modules, R_OK) < 0) {
			err_sys(err, "cannot be read");
			return err_object(err, c->modules);
		}
		return 0;
	}
	if (kernel_version(c->kernel, version, err) < 0)
		return -1;
	(void)snprintf(path, PATH_MAX, "/lib/modules/%s", version);
	if (!*version || access(path, R_OK) < 0)
		log_info("no modules for the kernel %s: it must have its virtio drivers built in",
			 version);
	return 0;
}

/* The other way for a root works with any kernel */
static int add_share_modules(struct modules *m, const char *folder, struct err *err)
{
	if (!modules_has(folder, "virtiofs") || !modules_has(folder, "overlay")) {
		err_set(err, ERR_UNSUPPORTED,
			"the kernel has no virtiofs, or no overlay: it cannot share folders");
		return err_hint(err, "--copy-root copies those of the root into its memory");
	}
	if (modules_add(m, folder, "virtiofs", err) < 0)
		return -1;
	return modules_add(m, folder, "overlay", err);
}

static int pack_modules(struct cpio *out, const struct command *c, struct err *err)
{
	static const char *const names[] = {"virtio_pci", "virtio_console", "virtio_rng",
					    "virtio_blk"};
	size_t wanted = c->disks ? 4 : 3;
	struct modules m = {.n = 0};
	char folder[PATH_MAX];
	int rc = modules_folder(c, folder, err);

	for (size_t i = 0; rc == 0 && i < wanted; i++)
		rc = modules_add(&m, folder, names[i], err);
	if (rc == 0 && c->net)
		rc = modules_add(&m, folder, "virtio_net", err);
	if (rc == 0 && c->balloon)
		rc = modules_add(&m, folder, "virtio_balloon", err);
	if (rc == 0 && c->vsock)
		rc = modules_add(&m, folder, "vmw_vsock_virtio_transport", err);
	if (rc == 0 && c->shares->n)
		rc = add_share_modules(&m, folder, err);
	for (size_t i = 0; rc == 0 && i < ROOT_DRIVERS_MAX && c->drivers.name[i]; i++)
		rc = modules_add(&m, folder, c->drivers.name[i], err);
	for (size_t i = 0; rc == 0 && i < m.n; i++) {
		const char *base = strrchr(m.path[i], '/');
		char path[2 * PATH_MAX], name[NAME_MAX + 64];

		(void)snprintf(path, sizeof(path), "%s/%s", folder, m.path[i]);
		(void)snprintf(name, sizeof(name), "vmrun/modules/%02zu-%s", i,
			       base ? base + 1 : m.path[i]);
		rc = cpio_file(out, name, path, 0644, err);
	}
	modules_free(&m);
	return rc;
}

static void add_string(FILE *f, char type, const char *s)
{
	(void)fputc(type, f);
	(void)fwrite(s, 1, strlen(s) + 1, f); /* memory: what fails shows when it is closed */
}

/* "sro TAG PATH", or for the root "hro" */
static void add_share(FILE *f, const struct shares *s, size_t i)
{
	const char *how = s->read_only[i] ? "ro" : "rw";

	if (strcmp(s->tag[i], ROOT_TAG) == 0) {
		add_string(f, 'h', how);
		return;
	}
	(void)fprintf(f, "s%s %s %s", how, s->tag[i], s->name[i]);
	(void)fputc('\0', f);
}

static void add_command(FILE *f, char *const *args, const char *folder, const char *user,
			const struct opt_list *env)
{
	if (user)
		add_string(f, 'u', user);
	if (folder)
		add_string(f, 'd', folder);
	for (size_t i = 0; i < env->count; i++)
		add_string(f, 'e', env->items[i]);
	for (size_t i = 0; args[i]; i++)
		add_string(f, 'a', args[i]);
}

static int check_env(const struct opt_list *env, struct err *err)
{
	for (size_t i = 0; i < env->count; i++)
		if (!strchr(env->items[i], '=') || env->items[i][0] == '=') {
			err_set(err, ERR_USAGE, "NAME=VALUE is wanted");
			return err_object(err, env->items[i]);
		}
	return 0;
}

int command_check_user(const char *user, struct err *err)
{
	if (!user || (*user && !strpbrk(user, ":,\n")))
		return 0;
	err_set(err, ERR_USAGE, "a user's name or number is wanted");
	return err_object(err, user);
}

int command_text(char *const *args, const char *folder, const char *user,
		 const struct opt_list *env, char **ret, size_t *ret_len, struct err *err)
{
	static const char no_length[4];
	char hex[65], clock[64];
	struct timespec now;
	uint8_t seed[32];
	FILE *f;

	if (check_env(env, err) < 0)
		return -1;
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		return err_sys(err, "cannot get random bytes");
	hex_encode(seed, sizeof(seed), hex);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)snprintf(clock, sizeof(clock), "%lld %ld", (long long)now.tv_sec, now.tv_nsec);
	f = open_memstream(ret, ret_len);
	if (!f)
		return err_nomem(err);
	(void)fwrite(no_length, 1, sizeof(no_length), f);
	add_string(f, 't', clock);
	add_string(f, 'x', hex);
	add_command(f, args, folder, user, env);
	if (fclose(f) != 0)
		return err_nomem(err);
	put_le32(*ret, (uint32_t)(*ret_len - sizeof(no_length)));
	return 0;
}

static int pack_command(struct cpio *out, const struct command *c, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return err_nomem(err);
	if (c->root_disk)
		add_string(f, 'r', c->root_disk);
	if (c->net_user)
		add_string(f, 'n', NET_USER_ADDRESS " " NET_USER_GATEWAY " " NET_USER_DNS);
	for (size_t i = 0; i < c->shares->n; i++)
		add_share(f, c->shares, i);
	if (c->waits)
		add_string(f, 'w', "");
	else
		add_command(f, c->args, c->folder, c->user, c->env);
	if (fclose(f) != 0)
		return err_nomem(err);
	return cpio_entry(out, "vmrun/command", S_IFREG | 0600, text, len, err);
}

static int pack_all(struct cpio *out, const struct command *c, struct err *err)
{
	char init[PATH_MAX + sizeof(INIT)];

	if (find_init(init, err) < 0 || (c->root && cpio_tree(out, c->root, err) < 0))
		return -1;
	if (cpio_entry(out, "vmrun", S_IFDIR | 0700, NULL, 0, err) < 0 ||
	    cpio_entry(out, "vmrun/modules", S_IFDIR | 0700, NULL, 0, err) < 0 ||
	    cpio_file(out, "vmrun/init", init, 0700, err) < 0 || pack_modules(out, c, err) < 0 ||
	    pack_command(out, c, err) < 0)
		return -1;
	return cpio_finish(out, err);
}

int command_pack(const struct command *c, int *ret_fd, struct err *err)
{
	struct cpio out = {.out = NULL};
	int fd, copy, rc;

	if (check_env(c->env, err) < 0)
		return -1;
	if (io_nameless(&fd, err) < 0)
		return -1;
	copy = dup(fd);
	out.out = copy < 0 ? NULL : fdopen(copy, "w");
	if (!out.out) {
		rc = err_sys(err, "no file for the initial RAM disk");
	} else {
		rc = pack_all(&out, c, err);
		if (fclose(out.out) != 0 && rc == 0)
			rc = err_sys(err, "cannot write the initial RAM disk");
	}
	if (rc < 0)
		(void)close(fd);
	else
		*ret_fd = fd;
	return rc;
}
