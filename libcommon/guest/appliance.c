/* Launching libguestfs's appliance and asking it for systems: see appliance.h. */
#include "libcommon/guest/appliance.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/appliance_lib.h"

bool appliance_reads(const char *family)
{
	static const char *const families[] = {"btrfs", "ntfs",	    "exfat",
					       "f2fs",	"squashfs", "iso9660"};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (strcmp(family, families[i]) == 0)
			return true;
	return false;
}

const struct guestfs_lib *guestfs_lib(struct err *err)
{
	static struct guestfs_lib lib;
	static bool loaded;
	void *handle;

	if (loaded)
		return &lib;
	handle = dlopen("libguestfs.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		err_set(err, ERR_UNSUPPORTED, "is read by libguestfs alone, which is not here");
		err_hint(err, "install libguestfs (Debian: libguestfs0 and supermin)");
		return NULL;
	}
#define GUESTFS_FIND(result, name, arguments)                                                      \
	{                                                                                          \
		void *address = dlsym(handle, "guestfs_" #name);                                   \
		if (!address) {                                                                    \
			err_set(err, ERR_UNSUPPORTED,                                              \
				"the libguestfs here has no guestfs_" #name);                      \
			return NULL;                                                               \
		}                                                                                  \
		memcpy(&lib.name, &address, sizeof(address));                                      \
	}
	GUESTFS_FUNCTIONS(GUESTFS_FIND)
#undef GUESTFS_FIND
	loaded = true;
	return &lib;
}

int appliance_error(struct appliance *a, struct err *err)
{
	const char *text = a->lib->last_error(a->g);
	int number = a->lib->last_errno(a->g);
	char line[300];

	if (stop_check(err) < 0) /* a signal has ended QEMU as well */
		return -1;
	(void)snprintf(line, sizeof(line), "%s", text ? text : "no reason given");
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = ' ';
	return err_set(err, number == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, "libguestfs: %s", line);
}

/* /dev/kvm may be there without a processor behind it, where the appliance would creep or die. */
static bool good_kvm(void)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (access("/dev/kvm", R_OK | W_OK) < 0 ||
	    io_read_file("/proc/cpuinfo", 16 << 20, &text, &len, NULL) < 0)
		return false;
	return strstr(text, " vmx") || strstr(text, " svm");
}

static int prepare(struct appliance *a, const char *socket, bool tcg, struct err *err)
{
	CLEANUP_FREE char *server = NULL;

	a->g = a->lib->create();
	if (!a->g)
		return err_nomem(err);
	a->lib->set_error_handler(a->g, NULL, NULL);
	if (asprintf(&server, "unix:%s", socket) < 0) {
		server = NULL;
		return err_nomem(err);
	}

	char *servers[] = {server, NULL};

	if ((!getenv("LIBGUESTFS_BACKEND") && a->lib->set_backend(a->g, "direct") < 0) ||
	    (tcg && a->lib->set_backend_setting(a->g, "force_tcg", "1") < 0) ||
	    a->lib->add_drive_opts(a->g, "", DRIVE_READONLY, 1, DRIVE_FORMAT, "raw", DRIVE_PROTOCOL,
				   "nbd", DRIVE_SERVER, servers, -1) < 0)
		return appliance_error(a, err);
	return 0;
}

static int launch(struct appliance *a, const char *socket, bool tcg, struct err *err)
{
	int rc = prepare(a, socket, tcg, err);

	if (rc == 0 && a->lib->launch(a->g) < 0)
		rc = appliance_error(a, err);
	if (rc < 0 && a->g) {
		a->lib->close(a->g);
		a->g = NULL;
	}
	return rc;
}

int appliance_new(struct appliance **ret, const struct guest_server *server, struct err *err)
{
	bool chosen = getenv("LIBGUESTFS_BACKEND_SETTINGS") != NULL;
	bool tcg = !chosen && !good_kvm();
	struct appliance *a = calloc(1, sizeof(*a));
	const char *socket;
	int rc = -1;

	if (!a)
		return err_nomem(err);
	a->lib = guestfs_lib(err);
	if (a->lib && server->start(server->ctx, &socket, err) == 0) {
		log_info("starting the appliance of libguestfs");
		rc = launch(a, socket, tcg, err);
		if (rc < 0 && !tcg && !chosen && !stop_requested()) {
			err_clear(err);
			rc = launch(a, socket, true, err);
		}
	}
	if (rc < 0) {
		appliance_free(a);
		return -1;
	}
	*ret = a;
	return 0;
}

void appliance_free(struct appliance *a)
{
	if (!a)
		return;
	if (a->g)
		a->lib->close(a->g);
	for (size_t i = 0; i < a->n_roots; i++)
		free(a->roots[i].mountable);
	free(a);
}

/* ---- systems */

/* "/dev/sda2", "/dev/GROUP/VOLUME", "btrfsvol:/dev/sda2/NAME" */
static int volume_of(const struct guest *g, const char *mountable)
{
	static const char subvolume[] = "btrfsvol:", disk[] = "/dev/sda", dev[] = "/dev/";
	const char *s = mountable;
	char *end;

	if (strncmp(s, subvolume, strlen(subvolume)) == 0)
		s += strlen(subvolume);
	for (size_t i = 0; i < g->n_volumes; i++) {
		const struct guest_volume *v = &g->volumes[i];
		unsigned long number = 0;
		size_t len;

		if (v->owned) {
			len = strlen(v->name);
			if (strncmp(s, dev, strlen(dev)) == 0 &&
			    strncmp(s + strlen(dev), v->name, len) == 0 &&
			    (!s[strlen(dev) + len] || s[strlen(dev) + len] == '/'))
				return (int)i;
			continue;
		}
		if (strncmp(s, disk, strlen(disk)) != 0)
			continue;
		end = (char *)(uintptr_t)(s + strlen(disk));
		if (*end >= '0' && *end <= '9')
			number = strtoul(end, &end, 10);
		if (number == v->number && (!*end || *end == '/'))
			return (int)i;
	}
	return -1;
}

/* @s is owned by malloc; "unknown" is libguestfs's word for nothing */
static char *known(char *s)
{
	if (s && strcmp(s, "unknown") != 0 && *s)
		return s;
	free(s);
	return NULL;
}

static const char *arch_name(const char *name)
{
	static const char *const names[] = {"x86_64", "i386",	 "aarch64", "arm",
					    "ppc64",  "ppc64le", "s390x",   "riscv64"};

	for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return names[i];
	return NULL;
}

static void describe(struct appliance *a, const char *root, struct guest_system *s)
{
	const struct guestfs_lib *l = a->lib;
	CLEANUP_FREE char *arch = l->inspect_get_arch(a->g, root);
	int major = l->inspect_get_major_version(a->g, root);
	int minor = l->inspect_get_minor_version(a->g, root);

	s->id = known(l->inspect_get_distro(a->g, root));
	if (!s->id)
		s->id = known(l->inspect_get_type(a->g, root));
	s->name = known(l->inspect_get_product_name(a->g, root));
	s->hostname = known(l->inspect_get_hostname(a->g, root));
	s->arch = arch_name(arch);
	if (major >= 0 && minor >= 0 && (major || minor) &&
	    asprintf(&s->version, minor ? "%d.%d" : "%d", major, minor) < 0)
		s->version = NULL;
}

static int take_root(struct appliance *a, const struct guest *g, const char *root,
		     int (*found)(void *, struct guest_system *, struct err *), void *ctx,
		     struct err *err)
{
	struct guest_system s = {.root = volume_of(g, root)};

	if (s.root < 0 || a->n_roots == sizeof(a->roots) / sizeof(a->roots[0]))
		return 0;
	a->roots[a->n_roots].mountable = strdup(root);
	if (!a->roots[a->n_roots].mountable)
		return err_nomem(err);
	a->roots[a->n_roots++].volume = s.root;
	describe(a, root, &s);
	return found(ctx, &s, err);
}

int appliance_inspect(struct appliance *a, const struct guest *g,
		      int (*found)(void *ctx, struct guest_system *system, struct err *err),
		      void *ctx, struct err *err)
{
	char **roots = a->lib->inspect_os(a->g);
	int rc = 0;

	if (!roots)
		return appliance_error(a, err);
	for (char **r = roots; *r; r++) {
		if (rc == 0)
			rc = take_root(a, g, *r, found, ctx, err);
		free(*r);
	}
	free(roots);
	return rc;
}
