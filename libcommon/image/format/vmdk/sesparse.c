/* seSparse extents: ESX snapshots since vSphere 6.5. Entries of 64 bits, tables numbered rather than addressed.
 *
 * Read only. One whose journal must be replayed is refused: nobody outside of VMware knows how.
 */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/vmdk/vmdk.h"

#define VOLATILE_MAGIC	 0x00000000cafecafeULL
#define SESPARSE_VERSION 0x0000000200000001ULL
#define SESPARSE_GRAIN	 8U  /* sectors */
#define SESPARSE_GT	 64U /* sectors */

static int check_volatile(struct vmdk_extent *x, uint64_t sector, struct err *err)
{
	uint8_t s[VMDK_SECTOR];
	uint64_t off;

	if (!u64_mul(sector, VMDK_SECTOR, &off) ||
	    !range_inside(off, sizeof(s), bfile_size(x->file)))
		return err_set(err, ERR_CORRUPT,
			       "the volatile header at sector %" PRIu64 " lies outside of the file",
			       sector);
	if (bfile_pread(x->file, s, sizeof(s), off, err) < 0)
		return -1;
	if (get_le64(s) != VOLATILE_MAGIC)
		return err_set(err, ERR_CORRUPT, "there is no volatile header at offset %" PRIu64,
			       off);
	if (get_le64(s + 24))
		return err_set(err, ERR_UNSUPPORTED,
			       "the journal must be replayed, which only VMware can do");
	return 0;
}

int vmdk_sesparse_open(struct vmdk_extent *x, bool full, struct err *err)
{
	uint8_t s[VMDK_SECTOR];

	if (bfile_pread(x->file, s, sizeof(s), 0, err) < 0)
		return -1;
	if (get_le64(s) != VMDK_SESPARSE_MAGIC)
		return err_set(err, ERR_CORRUPT, "has no header of a seSparse extent");
	if (get_le64(s + 8) != SESPARSE_VERSION)
		return err_set(err, ERR_UNSUPPORTED, "seSparse version %#" PRIx64, get_le64(s + 8));
	if (get_le64(s + 24) != SESPARSE_GRAIN || get_le64(s + 32) != SESPARSE_GT)
		return err_set(err, ERR_UNSUPPORTED,
			       "seSparse grains of %" PRIu64 " and tables of %" PRIu64 " sectors",
			       get_le64(s + 24), get_le64(s + 32));
	if (vmdk_geometry_check(x, get_le64(s + 16), SESPARSE_GRAIN, SESPARSE_GT * VMDK_SECTOR / 8,
				err) < 0)
		return -1;
	if (!full)
		return 0;
	if (check_volatile(x, get_le64(s + 80), err) < 0)
		return -1;

	uint64_t dir = get_le64(s + 128), tables = get_le64(s + 144), grains = get_le64(s + 192);
	uint64_t size = bfile_size(x->file);

	if (!u64_mul(dir, VMDK_SECTOR, &x->gd_off) || !dir ||
	    !range_inside(x->gd_off, x->gd_entries * 8, size))
		return err_set(err, ERR_CORRUPT,
			       "the grain directory at sector %" PRIu64 " lies outside of the file",
			       dir);
	if (!u64_mul(tables, VMDK_SECTOR, &x->table_base) || x->table_base > size ||
	    !u64_mul(grains, VMDK_SECTOR, &x->grain_base) || x->grain_base > size)
		return err_set(err, ERR_CORRUPT,
			       "tables at sector %" PRIu64 " or grains at %" PRIu64
			       " lie outside of the file",
			       tables, grains);
	return 0;
}
