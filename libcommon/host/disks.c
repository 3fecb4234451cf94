/* Disks out of a domain's XML: see disks.h. */
#include "libcommon/host/disks.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/host/xmldoc.h"

/* What a backup is about: no CD-ROM, no floppy, nothing shared that cannot change. */
#define DISKS                                                                                      \
	"/domain/devices/disk[not(@device) or @device='disk' or @device='lun']"                    \
	"[not(readonly)][target/@dev][source]"

static int take(struct xmldoc *x, size_t i, struct domain_disk *d, struct err *err)
{
	char *type = xmldoc_get_nth(x, DISKS, i, "@type");

	d->kind = DISK_ELSEWHERE;
	d->target = xmldoc_get_nth(x, DISKS, i, "target/@dev");
	d->format = xmldoc_get_nth(x, DISKS, i, "driver/@type");
	if (!d->format)
		d->format = strdup("raw");
	if (type && strcmp(type, "file") == 0 &&
	    (d->source = xmldoc_get_nth(x, DISKS, i, "source/@file")))
		d->kind = DISK_FILE;
	else if (type && strcmp(type, "block") == 0 &&
		 (d->source = xmldoc_get_nth(x, DISKS, i, "source/@dev")))
		d->kind = DISK_BLOCK;
	else
		d->source = strdup(type ? type : "file");
	free(type);
	return d->target && d->format && d->source ? 0 : err_nomem(err);
}

int domain_disks(const char *xml, struct domain_disk **ret, size_t *ret_n, struct err *err)
{
	struct domain_disk *disks;
	struct xmldoc *x;
	size_t n;
	int rc = 0;

	if (xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	n = xmldoc_count(x, DISKS);
	disks = calloc(n ? n : 1, sizeof(*disks));
	if (!disks)
		rc = err_nomem(err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = take(x, i, &disks[i], err);
	xmldoc_free(x);
	if (rc < 0) {
		domain_disks_free(disks, n);
		return -1;
	}
	*ret = disks;
	*ret_n = n;
	return 0;
}

void domain_disks_free(struct domain_disk *disks, size_t n)
{
	for (size_t i = 0; disks && i < n; i++) {
		free(disks[i].target);
		free(disks[i].source);
		free(disks[i].format);
	}
	free(disks);
}
