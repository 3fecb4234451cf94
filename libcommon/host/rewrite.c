/* Changes to a machine's XML: see rewrite.h. */
#include "libcommon/host/rewrite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"

/* Number of the disk, which no quoting can get wrong; -1: none */
static long find_disk(const struct xmldoc *x, const char *target)
{
	static const char disks[] = "/domain/devices/disk";
	size_t n = xmldoc_count(x, disks);

	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *dev = xmldoc_get_nth(x, disks, i, "target/@dev");

		if (dev && strcmp(dev, target) == 0)
			return (long)i;
	}
	return -1;
}

int rewrite_disk(struct xmldoc *x, const char *target, const char *file, const char *format,
		 struct err *err)
{
	CLEANUP_FREE char *name = xml_escape(file), *source = NULL;
	char disk[64], path[96];
	long i = find_disk(x, target);

	if (i < 0)
		return err_set(err, ERR_NOT_FOUND, "the machine's description has no disk %s",
			       target);
	if (!name || asprintf(&source, "<source file='%s'/>", name) < 0) {
		source = NULL;
		return err_nomem(err);
	}
	(void)snprintf(disk, sizeof(disk), "/domain/devices/disk[%ld]", i + 1);
	(void)snprintf(path, sizeof(path), "%s/source", disk);
	(void)xmldoc_remove(x, path);
	(void)snprintf(path, sizeof(path), "%s/backingStore", disk);
	(void)xmldoc_remove(x, path);
	if (xmldoc_add(x, disk, source, err) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/driver", disk);
	if (xmldoc_count(x, path) == 0 && xmldoc_add(x, disk, "<driver name='qemu'/>", err) < 0)
		return -1;
	if (!xmldoc_set_attribute(x, path, 0, "type", format) ||
	    !xmldoc_set_attribute(x, disk, 0, "type", "file"))
		return err_nomem(err);
	return 0;
}

int rewrite_name(struct xmldoc *x, const char *name, struct err *err)
{
	if (!xmldoc_set(x, "/domain/name", name))
		return err_set(err, ERR_USAGE, "the machine's description has no name");
	(void)xmldoc_remove(x, "/domain/uuid");
	(void)xmldoc_remove(x, "/domain/sysinfo/system/entry[@name='uuid']");
	(void)xmldoc_remove(x, "/domain/devices/interface/mac");
	(void)xmldoc_remove(x, "/domain/devices/interface/target");
	(void)xmldoc_remove(x, "/domain/os/nvram");
	(void)xmldoc_remove(x, "/domain/devices/channel[@type='unix']/source");
	return 0;
}
