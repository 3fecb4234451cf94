/* OVF descriptors: envelope, files and disks. The machines: ovf_system.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/package/ovf_private.h"

int ovf_fault(struct ovf *o, struct err *err, const char *fmt, ...)
{
	char *text;
	va_list ap;

	if (o->n_faults >= OVF_FAULTS_MAX)
		return 0;

	char **more = reallocarray(o->faults, o->n_faults + 1, sizeof(*more));

	if (!more)
		return err_nomem(err);
	o->faults = more;
	va_start(ap, fmt);

	int n = vasprintf(&text, fmt, ap);

	va_end(ap);
	if (n < 0)
		return err_nomem(err);
	o->faults[o->n_faults++] = text;
	return 0;
}

void ovf_release(struct ovf *o)
{
	for (size_t i = 0; i < o->n_files; i++) {
		free(o->files[i].id);
		free(o->files[i].href);
	}
	for (size_t i = 0; i < o->n_disks; i++) {
		free(o->disks[i].id);
		free(o->disks[i].format);
		free(o->disks[i].parent);
	}
	for (size_t i = 0; i < o->n_machines; i++)
		machine_release(&o->machines[i]);
	for (size_t i = 0; i < o->n_faults; i++)
		free(o->faults[i]);
	free(o->files);
	free(o->disks);
	free(o->machines);
	free(o->faults);
	*o = (struct ovf){0};
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What a name must not hold: ways out of the folder, bytes that no file name has. */
static int plain_name(const char *name, struct err *err)
{
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '\\')
			return err_set(err, ERR_DENIED, "a file name with byte 0x%02x in it",
				       (unsigned char)*p);
	if (*name == '/')
		return err_set(err, ERR_DENIED, "the file %s lies outside of the package", name);
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.')
			return err_set(err, ERR_DENIED, "the file %s lies outside of the package",
				       name);
		p += n + (p[n] == '/');
	}
	return 0;
}

int ovf_decode_href(const char *href, char **ret, struct err *err)
{
	size_t scheme = strcspn(href, ":/");
	CLEANUP_FREE char *name = NULL;
	char *out;

	if (strncmp(href, "file:", 5) == 0 && href[5] != '/')
		href += 5;
	else if (href[scheme] == ':')
		return err_set(err, ERR_UNSUPPORTED,
			       "the file %.200s is not in the package: nothing is fetched", href);
	name = out = calloc(1, strlen(href) + 1);
	if (!name)
		return err_nomem(err);
	for (const char *p = href; *p; p++) {
		int hi = *p == '%' ? hex(p[1]) : -1, lo = hi < 0 ? -1 : hex(p[2]);

		if (lo < 0) {
			*out++ = *p;
			continue;
		}
		if (!(hi | lo))
			return err_set(err, ERR_DENIED, "a file name with byte 0x00 in it");
		*out++ = (char)(hi << 4 | lo);
		p += 2;
	}
	*out = '\0';

	size_t skip = 0;

	while (name[skip] == '.' && name[skip + 1] == '/')
		skip += 2;
	memmove(name, name + skip, strlen(name + skip) + 1);
	if (!*name)
		return err_set(err, ERR_CORRUPT, "a file without a name");
	if (plain_name(name, err) < 0)
		return -1;
	*ret = steal_ptr(&name);
	return 0;
}

bool ovf_units(const char *text, uint64_t *ret)
{
	static const struct {
		const char *name;
		unsigned shift;
	} words[] = {{"byte", 0},	{"bytes", 0}, {"KiloBytes", 10}, {"KB", 10},
		     {"MegaBytes", 20}, {"MB", 20},   {"GigaBytes", 30}, {"GB", 30},
		     {"TeraBytes", 40}, {"TB", 40}};
	uint64_t base = 0, power = 0, v = 1;
	char *end;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(text, words[i].name) == 0) {
			*ret = 1ULL << words[i].shift;
			return true;
		}
	if (strncasecmp(text, "byte", 4) != 0)
		return false;
	text += 4;
	text += strspn(text, " \t");
	if (*text++ != '*')
		return false;
	text += strspn(text, " \t");
	if (*text < '0' || *text > '9')
		return false;
	base = strtoull(text, &end, 10);
	if (*end == '^' && end[1] >= '0' && end[1] <= '9')
		power = strtoull(end + 1, &end, 10);
	else
		power = 1;
	if (*end || power > 62 || base > UINT32_MAX)
		return false;
	for (uint64_t i = 0; i < power; i++)
		if (!u64_mul(v, base, &v) || v > 1ULL << 60)
			return false;
	*ret = v;
	return v != 0;
}

int ovf_number(struct ovf *o, const char *what, const char *text, bool *ret_has, uint64_t *ret,
	       struct err *err)
{
	*ret_has = xml_number(text, ret);
	if (!text || *ret_has)
		return 0;
	*ret = 0;
	return ovf_fault(o, err, "%s is '%.40s', which is no size", what, text);
}

static int parse_file(struct ovf *o, const struct xml *x, const xmlNode *node, struct err *err)
{
	CLEANUP_FREE char *href = NULL, *size = NULL, *chunk = NULL, *compression = NULL;
	struct ovf_file *more, *f;
	bool chunked = false;
	char what[96];

	if (o->n_files >= OVF_FILES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "more than %u files", OVF_FILES_MAX);
	more = reallocarray(o->files, o->n_files + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	o->files = more;
	f = &more[o->n_files++];
	*f = (struct ovf_file){0};
	if (xml_attribute(x, node, "id", &f->id, err) < 0 ||
	    xml_attribute(x, node, "href", &href, err) < 0 ||
	    xml_attribute(x, node, "size", &size, err) < 0 ||
	    xml_attribute(x, node, "chunkSize", &chunk, err) < 0 ||
	    xml_attribute(x, node, "compression", &compression, err) < 0)
		return -1;
	if (!href)
		return err_set(err, ERR_CORRUPT, "file %s has no name",
			       f->id ? f->id : "in References");
	if (ovf_decode_href(href, &f->href, err) < 0)
		return -1;
	if (compression && strcmp(compression, "gzip") == 0)
		f->gzip = true;
	else if (compression && strcmp(compression, "identity") != 0)
		return err_set(err, ERR_UNSUPPORTED, "file %s has the compression %.40s", f->href,
			       compression);
	(void)snprintf(what, sizeof(what), "size of %.60s", f->href);
	if (ovf_number(o, what, size, &f->has_size, &f->size, err) < 0)
		return -1;
	(void)snprintf(what, sizeof(what), "chunk size of %.60s", f->href);
	if (ovf_number(o, what, chunk, &chunked, &f->chunk_size, err) < 0)
		return -1;
	return 0;
}

static size_t find_file(const struct ovf *o, const char *id)
{
	for (size_t i = 0; id && i < o->n_files; i++)
		if (o->files[i].id && strcmp(o->files[i].id, id) == 0)
			return i;
	return OVF_NO_FILE;
}

static int parse_capacity(struct ovf *o, const struct xml *x, const xmlNode *node,
			  struct ovf_disk *d, struct err *err)
{
	CLEANUP_FREE char *capacity = NULL, *units = NULL, *populated = NULL;
	uint64_t factor = 1, bytes;
	bool has;
	char what[96];

	if (xml_attribute(x, node, "capacity", &capacity, err) < 0 ||
	    xml_attribute(x, node, "capacityAllocationUnits", &units, err) < 0 ||
	    xml_attribute(x, node, "populatedSize", &populated, err) < 0)
		return -1;
	(void)snprintf(what, sizeof(what), "capacity of disk %.60s", d->id);
	if (ovf_number(o, what, capacity, &has, &bytes, err) < 0)
		return -1;
	if (units && !ovf_units(units, &factor)) {
		has = false;
		if (ovf_fault(o, err, "disk %.60s counts in '%.40s', which is no unit", d->id,
			      units) < 0)
			return -1;
	}
	if (has && (!u64_mul(bytes, factor, &bytes) || bytes > INT64_MAX)) {
		has = false;
		if (ovf_fault(o, err, "disk %.60s has a capacity of %.40s times %" PRIu64 " bytes",
			      d->id, capacity, factor) < 0)
			return -1;
	}
	d->capacity = has ? bytes : 0;
	(void)snprintf(what, sizeof(what), "populated size of disk %.60s", d->id);
	if (ovf_number(o, what, populated, &d->has_populated, &d->populated, err) < 0)
		return -1;
	/* Exporters that do not know write 2^63-1. */
	if (d->has_populated && d->capacity && d->populated > d->capacity + d->capacity / 4)
		d->has_populated = false;
	return 0;
}

static int parse_disk(struct ovf *o, const struct xml *x, const xmlNode *node, struct err *err)
{
	CLEANUP_FREE char *ref = NULL;
	struct ovf_disk *more, *d;

	if (o->n_disks >= OVF_FILES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "more than %u disks", OVF_FILES_MAX);
	more = reallocarray(o->disks, o->n_disks + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	o->disks = more;
	d = &more[o->n_disks++];
	*d = (struct ovf_disk){.file = OVF_NO_FILE};
	if (xml_attribute(x, node, "diskId", &d->id, err) < 0 ||
	    xml_attribute(x, node, "fileRef", &ref, err) < 0 ||
	    xml_attribute(x, node, "format", &d->format, err) < 0 ||
	    xml_attribute(x, node, "parentRef", &d->parent, err) < 0)
		return -1;
	if (!d->id)
		return err_set(err, ERR_CORRUPT, "disk %zu has no diskId", o->n_disks);
	for (size_t i = 0; i + 1 < o->n_disks; i++)
		if (strcmp(o->disks[i].id, d->id) == 0)
			return err_set(err, ERR_CORRUPT, "two disks are called %.60s", d->id);
	d->file = find_file(o, ref);
	if (ref && d->file == OVF_NO_FILE &&
	    ovf_fault(o, err, "disk %.60s is in file %.60s, which References does not list", d->id,
		      ref) < 0)
		return -1;
	return parse_capacity(o, x, node, d, err);
}

static int parse_envelope(struct ovf *o, const struct xml *x, struct err *err)
{
	const xmlNode *list, *n;

	if (!xml_is(x->root, "Envelope"))
		return err_set(err, ERR_CORRUPT, "OVF descriptor: the root is not Envelope");
	list = xml_child(x->root, "References");
	for (n = xml_child(list, "File"); n; n = xml_next(n, "File"))
		if (parse_file(o, x, n, err) < 0)
			return -1;
	for (list = xml_child(x->root, "DiskSection"); list; list = xml_next(list, "DiskSection"))
		for (n = xml_child(list, "Disk"); n; n = xml_next(n, "Disk"))
			if (parse_disk(o, x, n, err) < 0)
				return -1;
	/* Before 1.0 a section was <Section xsi:type="ovf:DiskSection_Type">. */
	for (list = xml_child(x->root, "Section"); list; list = xml_next(list, "Section"))
		for (n = xml_child(list, "Disk"); n; n = xml_next(n, "Disk"))
			if (parse_disk(o, x, n, err) < 0)
				return -1;
	return ovf_parse_systems(o, x, x->root, 0, err);
}

int ovf_parse(struct ovf *ret, const char *text, size_t len, struct err *err)
{
	struct xml x;
	int rc;

	*ret = (struct ovf){0};
	if (xml_parse(&x, text, len, "OVF descriptor", err) < 0)
		return -1;
	rc = parse_envelope(ret, &x, err);
	xml_release(&x);
	return rc;
}
