/* Which file systems are on a disk that is to be a command's root: their drivers go along. */
#include <string.h>

#include "cmd/vmrun/command.h"
#include "libcommon/image/disk/partition.h"
#include "libcommon/image/image.h"

static const struct {
	const char *name, *magic;
	unsigned off, len;
} known[] = {
	{"ext4", "\x53\xef", 0x438, 2},
	{"xfs", "XFSB", 0, 4},
	{"btrfs", "_BHRfS_M", 0x10040, 8},
};

static void look(struct image *img, uint64_t start, struct root_drivers *ret)
{
	char found[8];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint64_t off = start + known[i].off;

		if (start >= image_size(img) ||
		    image_size(img) - start < known[i].off + known[i].len ||
		    image_read(img, found, off, known[i].len, NULL) < 0 ||
		    memcmp(found, known[i].magic, known[i].len) != 0)
			continue;
		for (size_t j = 0; j < ROOT_DRIVERS_MAX; j++) {
			if (ret->name[j] && strcmp(ret->name[j], known[i].name) != 0)
				continue;
			ret->name[j] = known[i].name;
			break;
		}
	}
}

int command_root_drivers(struct image *img, struct root_drivers *ret, struct err *err)
{
	struct partition_table t;

	memset(ret, 0, sizeof(*ret));
	look(img, 0, ret);
	if (!ret->name[0]) {
		if (partition_table_read(img, &t, err) < 0)
			return err_object(err, image_name(img));
		for (size_t i = 0; i < t.n; i++)
			look(img, t.parts[i].off, ret);
		partition_table_release(&t);
	}
	if (ret->name[0])
		return 0;
	err_set(err, ERR_UNSUPPORTED,
		"no ext4, XFS or btrfs file system is on it, nor in a partition of it");
	return err_object(err, image_name(img));
}
