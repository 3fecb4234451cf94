/* See holes.h. */
#include "libcommon/base/holes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>

enum {
	ZFS_MAGIC = 0x2fc12fc1,	    /* OpenZFS, include/sys/zfs_vfsops_os.h */
	OVERLAY_MAGIC = 0x794c7630, /* linux/magic.h: what lies below is not told */
};

/* One number of a version and the dot behind it */
static bool part(const char **at, unsigned long long *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	*ret = strtoull(*at, &end, 10);
	*at = *end == '.' ? end + 1 : end;
	return true;
}

bool holes_zfs_version(const char *version)
{
	unsigned long long major, minor, patch;

	if (!part(&version, &major) || !part(&version, &minor) || !part(&version, &patch))
		return false;
	if (major != 2)
		return major > 2;
	if (minor == 1)
		return patch >= 14;
	if (minor == 2)
		return patch >= 2;
	return minor > 2;
}

/* @absent when the module is not there */
static bool zfs_here_told(bool absent)
{
	FILE *f = fopen("/sys/module/zfs/version", "re");
	char version[64] = "";

	if (!f)
		return absent;
	if (!fgets(version, sizeof(version), f))
		version[0] = '\0';
	(void)fclose(f);
	return holes_zfs_version(version);
}

bool holes_told(int fd)
{
	const char *set = getenv("VMKIT_HOLES");
	struct statfs fs;

	if (set && *set)
		return false;
	if (fstatfs(fd, &fs) < 0)
		return true; /* no file system is known without it */
	if (fs.f_type == ZFS_MAGIC)
		return zfs_here_told(false);
	return fs.f_type != OVERLAY_MAGIC || zfs_here_told(true);
}
