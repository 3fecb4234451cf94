/* vmfsSparse extents ("COWD"): ESX snapshots before vSphere 6.5 on VMFS 5. Tables of 4096 entries, no redundancy. */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/vmdk/vmdk.h"

#define COWD_GTES 4096U

int vmdk_cowd_open(struct vmdk_extent *x, bool full, struct err *err)
{
	uint8_t s[VMDK_SECTOR];

	if (bfile_pread(x->file, s, sizeof(s), 0, err) < 0)
		return -1;
	if (memcmp(s, "COWD", 4))
		return err_set(err, ERR_CORRUPT, "has no header of a vmfsSparse extent");
	if (get_le32(s + 4) != 1)
		return err_set(err, ERR_UNSUPPORTED, "vmfsSparse version %" PRIu32 " (1 is known)",
			       get_le32(s + 4));
	if (vmdk_geometry_check(x, get_le32(s + 12), get_le32(s + 16), COWD_GTES, err) < 0)
		return -1;
	x->gd_off = (uint64_t)get_le32(s + 20) * VMDK_SECTOR;
	if (get_le32(s + 24) < x->gd_entries)
		return err_set(err, ERR_CORRUPT,
			       "the grain directory has %" PRIu32 " entries, %" PRIu64
			       " are needed",
			       get_le32(s + 24), x->gd_entries);
	if (full && (x->gd_off < VMDK_SECTOR ||
		     !range_inside(x->gd_off, x->gd_entries * 4, bfile_size(x->file))))
		return err_set(err, ERR_CORRUPT,
			       "the grain directory at offset %" PRIu64 " lies outside of the file",
			       x->gd_off);
	return 0;
}
