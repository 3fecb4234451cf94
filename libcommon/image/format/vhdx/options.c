/* The -o options of new VHDX images. Blocks of 1 MiB are what Microsoft recommends for Linux file systems, which
 * spread their tables over a disk; larger disks get larger ones, so that the table stays small. */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/size.h"
#include "libcommon/image/format/vhdx/vhdx.h"

const struct image_option vhdx_options_table[] = {
	{"subformat", OPTION_CHOICE,
	 "dynamic or fixed; with a backing file: differencing (dynamic)", "dynamic|fixed"},
	{"block_size", OPTION_CHOICE,
	 "unit of allocation (1M up to disks of 1 TiB, 8M to 16 TiB, then 32M)",
	 "1M|2M|4M|8M|16M|32M|64M|128M|256M"},
	{"logical_sector_size", OPTION_CHOICE, "sector of the disk (512)", "512|4096"},
	{"physical_sector_size", OPTION_CHOICE, "what the disk says of its medium (4096)",
	 "512|4096"},
	{NULL, OPTION_BOOL, NULL, NULL},
};

static int parse_size(const struct bulk_params *p, const char *name, uint64_t otherwise,
		      uint32_t *ret, struct err *err)
{
	const char *v = bulk_option(p, name);
	uint64_t n = otherwise;

	if (v && size_parse(v, &n, err) < 0)
		return -1;
	*ret = (uint32_t)n;
	return 0;
}

int vhdx_options_parse(const struct bulk_params *p, struct vhdx_options *o, struct err *err)
{
	const char *type = bulk_option(p, "subformat");
	uint64_t block = p->size <= 1ULL << 40	  ? VHDX_MIB
			 : p->size <= 16ULL << 40 ? 8 * VHDX_MIB
						  : 32 * VHDX_MIB;

	*o = (struct vhdx_options){.fixed = type && !strcmp(type, "fixed"),
				   .has_parent = p->backing_name};
	if (p->backing_name && type)
		return err_set(err, ERR_USAGE,
			       "a VHDX with a backing file is differencing: leave out subformat");
	if (p->backing_name && p->backing_format && strcmp(p->backing_format, "vhdx") != 0)
		return err_set(err, ERR_USAGE, "the parent of a VHDX must be a VHDX, not %s",
			       p->backing_format);
	if (p->compress)
		return err_set(err, ERR_UNSUPPORTED, "VHDX images cannot be compressed");
	if (parse_size(p, "block_size", block, &o->block_size, err) < 0 ||
	    parse_size(p, "logical_sector_size", 512, &o->logical_sector, err) < 0 ||
	    parse_size(p, "physical_sector_size", 4096, &o->physical_sector, err) < 0)
		return -1;
	if (o->physical_sector < o->logical_sector)
		return err_set(err, ERR_USAGE,
			       "physical sectors cannot be smaller than logical ones");
	if (!u64_round_up(p->size, o->logical_sector, &o->size) || o->size > VHDX_MOST_BYTES)
		return err_set(err, ERR_USAGE,
			       "a VHDX has at most 64 TiB: %" PRIu64 " bytes are too many",
			       p->size);
	if (!o->size)
		return err_set(err, ERR_USAGE, "a VHDX of 0 bytes is not possible");
	return 0;
}
