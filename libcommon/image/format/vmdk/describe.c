/* The text of a new VMDK. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/image/format/vmdk/vmdk.h"

struct text {
	char *p;
	size_t len, room;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	for (;;) {
		va_start(ap, fmt);
		n = vsnprintf(t->p ? t->p + t->len : NULL, t->room - t->len, fmt, ap);
		va_end(ap);
		if (n < 0 || t->failed) {
			t->failed = true;
			return;
		}
		if (t->len + (size_t)n < t->room)
			break;

		size_t room = 2 * (t->room + (size_t)n) + 256;
		char *more = realloc(t->p, room);

		if (!more) {
			t->failed = true;
			return;
		}
		t->p = more;
		t->room = room;
	}
	t->len += (size_t)n;
}

/* What BIOSes made of a disk; only old guests look at it. VMware: 16 heads for IDE, up to 255 for SCSI. */
static void add_geometry(struct text *t, uint64_t sectors, const char *adapter)
{
	bool ide = !strcmp(adapter, "ide");
	uint64_t heads = ide ? 16 : sectors < 2097152 ? 64 : 255;
	uint64_t per_track = !ide && heads == 64 ? 32 : 63;
	uint64_t cylinders = sectors / (heads * per_track);

	if (ide && cylinders > 16383)
		cylinders = 16383;
	add(t, "ddb.geometry.cylinders = \"%" PRIu64 "\"\n", max_u64(cylinders, 1));
	add(t, "ddb.geometry.heads = \"%" PRIu64 "\"\n", heads);
	add(t, "ddb.geometry.sectors = \"%" PRIu64 "\"\n", per_track);
}

int vmdk_describe(const struct vmdk_descriptor *d, bool thin, char **ret_text, size_t *ret_len,
		  struct err *err)
{
	static const char *const access[] = {"RW", "RDONLY", "NOACCESS"};
	struct text t = {0};
	uint64_t sectors = 0;

	add(&t,
	    "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=%08" PRIx32
	    "\nparentCID=%08" PRIx32 "\ncreateType=\"%s\"\n",
	    d->cid, d->parent_cid, d->create_type);
	if (d->parent_hint)
		add(&t, "parentFileNameHint=\"%s\"\n", d->parent_hint);
	add(&t, "\n# Extent description\n");
	for (size_t i = 0; i < d->n_lines; i++) {
		const struct vmdk_line *l = &d->lines[i];

		sectors += l->sectors;
		add(&t, "%s %" PRIu64 " %s \"%s\"", access[l->access], l->sectors, l->type,
		    l->name);
		/* VMFS extents are whole files; there is no offset to tell */
		add(&t, strcmp(l->type, "FLAT") ? "\n" : " 0\n");
	}
	add(&t, "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"%s\"\n", d->hw_version);
	add_geometry(&t, sectors, d->adapter_type);
	add(&t, "ddb.adapterType = \"%s\"\n", d->adapter_type);
	if (d->tools_version)
		add(&t, "ddb.toolsVersion = \"%s\"\n", d->tools_version);
	if (thin)
		add(&t, "ddb.thinProvisioned = \"1\"\n");
	if (t.failed) {
		free(t.p);
		return err_nomem(err);
	}
	*ret_text = t.p;
	*ret_len = t.len;
	return 0;
}
