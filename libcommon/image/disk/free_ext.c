/* Free blocks of ext2, ext3 and ext4, through libext2fs. */
#include <inttypes.h>

#include "libcommon/base/stop.h"
#include "libcommon/image/disk/ext_io.h"
#include "libcommon/image/disk/freemap.h"

static int add_free(ext2_filsys fs, const struct volume *v, struct freemap *m, struct err *err)
{
	uint64_t bs = fs->blocksize, end = ext2fs_blocks_count(fs->super);
	blk64_t at = fs->super->s_first_data_block, first, last;

	while (at < end && stop_check(err) == 0) {
		if (ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, end - 1, &first))
			return 0;
		if (ext2fs_find_first_set_block_bitmap2(fs->block_map, first, end - 1, &last))
			last = end;
		if (last <= first)
			return err_set(err, ERR_CORRUPT, "the block bitmap contradicts itself");
		if (freemap_add(m, v, first * bs, (last - first) * bs, err) < 0)
			return -1;
		at = last;
	}
	return at < end ? -1 : 0;
}

static int ext_read(const struct volume *v, struct freemap *m, struct err *err)
{
	struct ext_io io = {.v = *v};
	ext2_filsys fs = NULL;
	errcode_t rc;

	if (ext_open(&io, false, &fs, err) < 0)
		return -1;
	rc = ext2fs_read_block_bitmap(fs);

	int r = rc ? err_set(err, ERR_CORRUPT, "cannot read the block bitmap: %s",
			     error_message(rc))
		   : add_free(fs, v, m, err);

	ext2fs_free(fs);
	return r;
}

const struct free_reader free_ext = {"ext", ext_probe, ext_read};
