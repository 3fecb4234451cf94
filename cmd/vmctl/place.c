/* Where disks lie, what a host can, new identities: see place.h. */
#include "cmd/vmctl/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/xmldoc.h"

/* "qemu:///system", "qemu+unix:///session?socket=..."; not "qemu+ssh://host/system" */
bool place_is_local(const struct host *h)
{
	const char *authority = strstr(host_uri(h), "://");

	return authority && authority[3] == '/';
}

bool place_is_builtin(const struct host *h)
{
	return strcmp(host_uri(h), BUILTIN_URI) == 0;
}

static bool is_session(const struct host *h)
{
	return strstr(host_uri(h), ":///session") != NULL;
}

static int make_dir(char *path, struct err *err)
{
	for (char *s = path + 1;; s++) {
		if (*s && *s != '/')
			continue;

		char c = *s;

		*s = '\0';
		if (mkdir(path, 0711) < 0 && access(path, F_OK) < 0) {
			err_sys(err, "cannot create the folder");
			return err_object(err, path);
		}
		*s = c;
		if (!c)
			return 0;
	}
}

static int default_dir(const struct host *h, char **ret, struct err *err)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n;

	if (place_is_builtin(h) && data && data[0] == '/')
		n = asprintf(ret, "%s/vmkit/disks", data);
	else if (place_is_builtin(h) && home && home[0] == '/')
		n = asprintf(ret, "%s/.local/share/vmkit/disks", home);
	else if (!is_session(h) && !place_is_builtin(h))
		n = asprintf(ret, "/var/lib/libvirt/images");
	else if (data && data[0] == '/')
		n = asprintf(ret, "%s/libvirt/images", data);
	else if (home && home[0] == '/')
		n = asprintf(ret, "%s/.local/share/libvirt/images", home);
	else
		return err_set(err, ERR_USAGE, "HOME is not set: say --dir");
	return n < 0 ? err_nomem(err) : 0;
}

int place_disk(const struct host *h, const char *dir, const char *name, const char *suffix,
	       char **ret, struct err *err)
{
	CLEANUP_FREE char *folder = NULL;

	if (!place_is_local(h))
		return err_set(err, ERR_UNSUPPORTED,
			       "disks are made on this machine only, and %s is another",
			       host_uri(h));
	if (strchr(name, '/'))
		return err_set(err, ERR_USAGE, "a machine's name has no '/'");
	if (dir) {
		folder = realpath(dir, NULL);
		if (!folder) {
			err_sys(err, "no such folder");
			return err_object(err, dir);
		}
	} else if (default_dir(h, &folder, err) < 0 || make_dir(folder, err) < 0) {
		return -1;
	}
	return asprintf(ret, "%s/%s.%s", folder, name, suffix) < 0 ? err_nomem(err) : 0;
}

const char *place_network(const struct host *h)
{
	return place_is_builtin(h) ? "none" : is_session(h) ? "user" : "default";
}

/* /dev/kvm may be there on a machine whose processor has none of it (a nested one): guests would not run. */
static bool processor_has_it(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];
	bool has = false;

	while (f && !has && fgets(line, sizeof(line), f))
		has = strncmp(line, "flags", 5) == 0 &&
		      (strstr(line, " vmx") || strstr(line, " svm"));
	if (f)
		(void)fclose(f);
	return has;
}

int place_accel(struct host *h, char **ret, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	struct xmldoc *x;
	bool kvm;

	if (place_is_builtin(h)) { /* vmrun has nothing else */
		*ret = strdup("kvm");
		return *ret ? 0 : err_nomem(err);
	}
	if (host_capabilities(h, &xml, err) < 0 || xmldoc_parse(&x, xml, "capabilities", err) < 0)
		return -1;
	kvm = xmldoc_count(x, "/capabilities/guest/arch/domain[@type='kvm']") > 0 &&
	      (!place_is_local(h) || processor_has_it());
	xmldoc_free(x);
	*ret = strdup(kvm ? "kvm" : "qemu");
	return *ret ? 0 : err_nomem(err);
}

static int fill(uint8_t *bytes, size_t len, struct err *err)
{
	return getrandom(bytes, len, 0) == (ssize_t)len ? 0 : err_sys(err, "no random bytes");
}

int place_uuid(char ret[UUID_TEXT_MAX], struct err *err)
{
	uint8_t b[16];

	if (fill(b, sizeof(b), err) < 0)
		return -1;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, RFC 4122 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	(void)snprintf(ret, UUID_TEXT_MAX,
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		       b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		       b[13], b[14], b[15]);
	return 0;
}

int place_mac(char ret[18], struct err *err)
{
	uint8_t b[3];

	if (fill(b, sizeof(b), err) < 0)
		return -1;
	(void)snprintf(ret, 18, "52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]); /* QEMU's own */
	return 0;
}
