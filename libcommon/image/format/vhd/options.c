/* The -o options of new VHDs: the table, their checks, the size of the disk.
 *
 * Most readers take the size from the footer's current_size, so it is exact by default and the creator is one that all
 * of them know ("win "). Virtual PC takes it from the geometry: with force_size=off the disk grows to the next size
 * that a geometry can say.
 */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/size.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/format/vhd/vhd.h"

const struct image_option vhd_options_table[] = {
	{"subformat", OPTION_CHOICE,
	 "dynamic or fixed; with a backing file: differencing (dynamic)", "dynamic|fixed"},
	{"block_size", OPTION_CHOICE, "unit of allocation (2M)", "512k|1M|2M"},
	{"size_multiple", OPTION_CHOICE, "grow the disk to a multiple of it; Azure wants 1M (512)",
	 "512|1M"},
	{"force_size", OPTION_BOOL,
	 "exact size; off: grown to a geometry, as Virtual PC reads it (on)", NULL},
	{NULL, OPTION_BOOL, NULL, NULL},
};

/* The next size that cylinders, heads and sectors make; beyond the largest geometry any size goes */
static uint64_t chs_size(uint64_t size)
{
	uint64_t sectors = size / VHD_SECTOR, chs = 0;
	uint16_t c;
	uint8_t h, s;

	if (sectors >= 65535ULL * 16 * 255)
		return size;
	for (uint64_t i = sectors; chs < sectors; i++) {
		vhd_geometry(i, &c, &h, &s);
		chs = (uint64_t)c * h * s;
	}
	return chs * VHD_SECTOR;
}

int vhd_options_parse(const struct bulk_params *p, struct vhd_options *o, struct err *err)
{
	const char *type = bulk_option(p, "subformat"), *block = bulk_option(p, "block_size");
	const char *multiple = bulk_option(p, "size_multiple");
	uint64_t align = VHD_SECTOR, bytes = 2 << 20;

	*o = (struct vhd_options){.type = VHD_DYNAMIC};
	if (type && !strcmp(type, "fixed"))
		o->type = VHD_FIXED;
	if (p->backing_name && type)
		return err_set(err, ERR_USAGE,
			       "a VHD with a backing file is differencing: leave out subformat");
	if (p->backing_name && p->backing_format && strcmp(p->backing_format, "vhd") != 0)
		return err_set(err, ERR_USAGE, "the parent of a VHD must be a VHD, not %s",
			       p->backing_format);
	if (p->backing_name)
		o->type = VHD_DIFFERENCING;
	if (p->compress)
		return err_set(err, ERR_UNSUPPORTED, "VHD images cannot be compressed");
	if ((block && size_parse(block, &bytes, err) < 0) ||
	    (multiple && size_parse(multiple, &align, err) < 0))
		return -1;
	if (block && o->type == VHD_FIXED)
		return err_set(err, ERR_USAGE, "a fixed VHD has no blocks: leave out block_size");
	o->block_size = (uint32_t)bytes;
	o->by_chs = !blocks_on(p, "force_size", true);
	if (!u64_round_up(p->size, align, &o->size) || o->size > VHD_MOST_BYTES)
		return err_set(err, ERR_USAGE,
			       "a VHD has at most 2040 GiB: %" PRIu64 " bytes are too many",
			       p->size);
	if (!o->size)
		return err_set(err, ERR_USAGE, "a VHD of 0 bytes is not possible");
	if (o->by_chs && multiple)
		return err_set(err, ERR_USAGE,
			       "size_multiple and force_size=off exclude each other");
	if (o->by_chs)
		o->size = chs_size(o->size);
	return 0;
}
