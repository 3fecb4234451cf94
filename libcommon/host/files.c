/* Files that the machines of a host name as their disks: see snapshot.h. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/snapshot.h"
#include "libcommon/host/xmldoc.h"

#define SOURCES "/domain/devices/disk/descendant::source"

static int tell_all(const char *text, const char *name, host_file_fn *fn, void *ctx,
		    struct err *err)
{
	struct xmldoc *x;
	size_t n;
	int rc = 0;

	if (xmldoc_parse(&x, text, "domain", err) < 0)
		return -1;
	n = xmldoc_count(x, SOURCES);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		CLEANUP_FREE char *file = xmldoc_get_nth(x, SOURCES, i, "@file");

		if (file)
			rc = fn(ctx, name, file, err);
	}
	xmldoc_free(x);
	return rc;
}

/* As it runs, and as it will the next time; one that vanishes meanwhile names nothing */
static int files_of(struct host *h, const char *name, host_file_fn *fn, void *ctx, struct err *err)
{
	static const unsigned flags[] = {0, DOMAIN_XML_CONFIG};
	struct domain *d;
	int rc = 0;

	if (host_find(h, name, &d, NULL) < 0)
		return 0;
	for (size_t i = 0; rc == 0 && i < sizeof(flags) / sizeof(flags[0]); i++) {
		CLEANUP_FREE char *text = NULL;

		if (domain_xml(d, flags[i], &text, NULL) == 0)
			rc = tell_all(text, name, fn, ctx, err);
	}
	domain_close(d);
	return rc;
}

int host_files(struct host *h, const char *but_uuid, host_file_fn *fn, void *ctx, struct err *err)
{
	struct domain_info *list;
	size_t n;
	int rc = 0;

	if (host_list(h, &list, &n, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (strcmp(list[i].uuid, but_uuid) != 0)
			rc = files_of(h, list[i].name, fn, ctx, err);
	host_list_free(list, n);
	return rc;
}
