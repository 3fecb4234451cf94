/* A machine as the XML of a libvirt domain, and back: so that create, clone, edit, export and info are the same for both. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/host/xmldoc.h"

void builtin_put(FILE *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(f, fmt, ap);
	va_end(ap);
}

/* "BEFORE text AFTER", escaped; nothing for NULL; false without memory */
static bool piece(FILE *f, const char *before, const char *text, const char *after)
{
	CLEANUP_FREE char *safe = text ? xml_escape(text) : NULL;

	if (safe)
		builtin_put(f, "%s%s%s", before, safe, after);
	return safe || !text;
}

static bool disk(FILE *f, const struct builtin_disk *d, size_t i)
{
	bool ok;

	(void)fputs("    <disk type='file' device='disk'>\n", f);
	ok = piece(f, "      <driver name='vmrun' type='", d->format, "'/>\n") &&
	     piece(f, "      <source file='", d->file, "'/>\n");
	builtin_put(f, "      <target dev='vd%c' bus='virtio'/>\n%s    </disk>\n", (char)('a' + i),
		    d->read_only ? "      <readonly/>\n" : "");
	return ok;
}

static bool nic(FILE *f, const struct builtin_nic *n)
{
	bool ok = true;

	builtin_put(f, "    <interface type='%s'>\n", n->tap ? "ethernet" : "user");
	if (n->mac[0])
		builtin_put(f, "      <mac address='%s'/>\n", n->mac);
	if (n->tap)
		ok = piece(f, "      <target dev='", n->tap, "' managed='no'/>\n");
	(void)fputs("      <model type='virtio'/>\n    </interface>\n", f);
	return ok;
}

char *builtin_to_xml(const struct builtin_machine *m)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool ok;

	if (!f)
		return NULL;
	ok = piece(f, "<domain type='vmrun'>\n  <name>", m->name, "</name>\n");
	builtin_put(f,
		    "  <uuid>%s</uuid>\n  <memory unit='KiB'>%" PRIu64
		    "</memory>\n  <currentMemory unit='KiB'>%" PRIu64
		    "</currentMemory>\n  <vcpu>%u</vcpu>\n",
		    m->uuid, m->memory >> 10, m->memory >> 10, m->cpus);
	builtin_limits_to_xml(f, &m->limits);
	(void)fputs("  <os>\n    <type arch='x86_64' machine='vmrun'>hvm</type>\n", f);
	ok = piece(f, "    <kernel>", m->kernel, "</kernel>\n") && ok;
	ok = piece(f, "    <initrd>", m->initrd, "</initrd>\n") && ok;
	ok = piece(f, "    <cmdline>", m->append, "</cmdline>\n") && ok;
	(void)fputs("  </os>\n  <devices>\n", f);
	for (size_t i = 0; i < m->n_disks; i++)
		ok = disk(f, &m->disks[i], i) && ok;
	for (size_t i = 0; i < m->n_nics; i++)
		ok = nic(f, &m->nics[i]) && ok;
	(void)fputs("    <serial type='unix'/>\n    <console type='unix'/>\n"
		    "    <rng model='virtio'/>\n  </devices>\n</domain>\n",
		    f);
	if (fclose(f) != 0 || !ok) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- back */

static int refuse(const struct xmldoc *x, struct err *err)
{
	static const struct {
		const char *path, *what;
	} not_there[] = {
		{"/domain/devices/interface[@type!='user' and @type!='ethernet']",
		 "network cards but of types user and ethernet"},
		{"/domain/devices/hostdev", "devices of the host"},
		{"/domain/devices/filesystem", "shared folders"},
		{"/domain/os/loader | /domain/os[@firmware]", "firmware"},
		{"/domain/devices/disk[@type!='file' and @type!='block']",
		 "disks that are no files"},
	};

	for (size_t i = 0; i < sizeof(not_there) / sizeof(not_there[0]); i++)
		if (xmldoc_count(x, not_there[i].path))
			return err_set(err, ERR_UNSUPPORTED, "vmrun's machines have no %s",
				       not_there[i].what);
	return 0;
}

static int number(const char *text, uint64_t most, const char *what, uint64_t *ret, struct err *err)
{
	char *end;
	unsigned long long n;

	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || end[strspn(end, " \t\n")] || n > most)
		return err_set(err, ERR_USAGE, "%s is '%.40s'", what, text);
	*ret = n;
	return 0;
}

/* "2" and "MiB"; KiB when no unit is named */
static int get_memory(const struct xmldoc *x, const char *path, uint64_t *ret, struct err *err)
{
	CLEANUP_FREE char *text = xmldoc_get(x, path), *unit = NULL, *whole = NULL;
	char at[128];
	uint64_t n;

	if (!text)
		return 0;
	(void)snprintf(at, sizeof(at), "%s/@unit", path);
	unit = xmldoc_get(x, at);
	if (number(text, 1ULL << 50, "memory", &n, err) < 0)
		return -1;
	if (asprintf(&whole, "%" PRIu64 "%s", n,
		     !unit			  ? "KiB"
		     : strcmp(unit, "bytes") == 0 ? "b"
						  : unit) < 0) {
		whole = NULL;
		return err_nomem(err);
	}
	return size_parse(whole, ret, err);
}

static int get_cpus(const struct xmldoc *x, struct builtin_machine *m, struct err *err)
{
	CLEANUP_FREE char *text = xmldoc_get(x, "/domain/vcpu");
	uint64_t n = 1;

	if (text && number(text, BUILTIN_CPUS_MAX, "vcpu", &n, err) < 0)
		return -1;
	if (n == 0)
		return err_set(err, ERR_USAGE, "vcpu is 0");
	m->cpus = (unsigned)n;
	return builtin_limits_from_xml(x, &m->limits, err);
}

#define DISKS "/domain/devices/disk[not(@device='floppy')][source/@file or source/@dev]"

static int get_disk(const struct xmldoc *x, size_t i, struct builtin_machine *m, struct err *err)
{
	struct builtin_disk *d = &m->disks[m->n_disks];
	CLEANUP_FREE char *device = xmldoc_get_nth(x, DISKS, i, "@device"),
			  *read_only = xmldoc_get_nth(x, DISKS, i, "readonly");

	d->file = xmldoc_get_nth(x, DISKS, i, "source/@file | source/@dev");
	if (!d->file)
		return err_nomem(err);
	m->n_disks++;
	d->format = xmldoc_get_nth(x, DISKS, i, "driver/@type");
	d->read_only = read_only || (device && strcmp(device, "cdrom") == 0);
	return d->file[0] == '/'
		       ? 0
		       : err_set(err, ERR_USAGE, "disk '%.200s' is no whole path", d->file);
}

static int get_nics(const struct xmldoc *x, struct builtin_machine *m, struct err *err)
{
	static const char path[] = "/domain/devices/interface";
	size_t n = xmldoc_count(x, path);

	if (n > BUILTIN_NICS_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%zu network cards are too many: %d at most",
			       n, BUILTIN_NICS_MAX);
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *type = xmldoc_get_nth(x, path, i, "@type"),
				  *mac = xmldoc_get_nth(x, path, i, "mac/@address");
		struct builtin_nic *to = &m->nics[m->n_nics++];

		if (type && strcmp(type, "ethernet") == 0)
			to->tap = xmldoc_get_nth(x, path, i, "target/@dev");
		if (type && strcmp(type, "ethernet") == 0 && !to->tap)
			return err_set(err, ERR_USAGE,
				       "an interface of type ethernet has no <target dev=...>");
		if (mac && strlen(mac) == 17)
			memcpy(to->mac, mac, sizeof(to->mac));
	}
	return 0;
}

static int random_uuid(char ret[UUID_TEXT_MAX], struct err *err)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return err_sys(err, "no random bytes");
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	for (unsigned i = 0, at = 0; i < 16; i++)
		at += (unsigned)snprintf(ret + at, UUID_TEXT_MAX - at, "%s%02x",
					 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
	return 0;
}

static int get_uuid(const struct xmldoc *x, struct builtin_machine *m, struct err *err)
{
	CLEANUP_FREE char *text = xmldoc_get(x, "/domain/uuid");

	if (!text)
		return random_uuid(m->uuid, err);
	if (strlen(text) != 36 || strspn(text, "0123456789abcdef-") != 36)
		return err_set(err, ERR_USAGE, "uuid is '%.40s'", text);
	memcpy(m->uuid, text, UUID_TEXT_MAX);
	return 0;
}

static int read_all(const struct xmldoc *x, struct builtin_machine *m, struct err *err)
{
	size_t n = xmldoc_count(x, DISKS);

	if (refuse(x, err) < 0)
		return -1;
	m->name = xmldoc_get(x, "/domain/name");
	if (!m->name)
		return err_set(err, ERR_USAGE, "the definition has no name");
	m->kernel = xmldoc_get(x, "/domain/os/kernel");
	m->initrd = xmldoc_get(x, "/domain/os/initrd");
	m->append = xmldoc_get(x, "/domain/os/cmdline");
	if (n > BUILTIN_DISKS_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%zu disks are too many: %d at most", n,
			       BUILTIN_DISKS_MAX);
	for (size_t i = 0; i < n; i++)
		if (get_disk(x, i, m, err) < 0)
			return -1;
	if (get_nics(x, m, err) < 0 || get_uuid(x, m, err) < 0 || get_cpus(x, m, err) < 0 ||
	    get_memory(x, "/domain/memory", &m->memory, err) < 0 ||
	    get_memory(x, "/domain/memtune/hard_limit", &m->limits.memory, err) < 0)
		return -1;
	builtin_order(m);
	return m->memory < 1 << 20 ? err_set(err, ERR_USAGE, "memory is less than 1 MiB") : 0;
}

int builtin_from_xml(const char *xml, struct builtin_machine *ret, struct err *err)
{
	struct builtin_machine m = {0};
	struct xmldoc *x;

	if (xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	if (read_all(x, &m, err) < 0) {
		xmldoc_free(x);
		builtin_release(&m);
		return -1;
	}
	xmldoc_free(x);
	*ret = m;
	return 0;
}
