/* The -o options of new VMDKs, and the descriptor made of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/vmdk/bulk_writer.h"

#define MOST_BYTES    (62ULL << 40) /* vSphere's largest disk */
#define MOST_SPARSE   (2ULL << 40)  /* entries of grain tables have 32 bits */
#define DEFAULT_LEVEL 5

const struct image_option vmdk_options[] = {
	{"subformat", OPTION_CHOICE, "kind of VMDK (monolithicSparse; with -c streamOptimized)",
	 "monolithicSparse|streamOptimized|monolithicFlat|twoGbMaxExtentSparse|"
	 "twoGbMaxExtentFlat|vmfs"},
	{"adapter_type", OPTION_CHOICE, "controller the guest sees (lsilogic)",
	 "lsilogic|buslogic|ide|legacyESX"},
	{"hwversion", OPTION_STRING, "virtual hardware version (4)", NULL},
	{"toolsversion", OPTION_STRING, "VMware tools version (2147483647: not VMware's)", NULL},
	{NULL, OPTION_BOOL, NULL, NULL},
};

static const char *const create_types[] = {
	[SUB_MONOLITHIC_SPARSE] = "monolithicSparse", [SUB_STREAM] = "streamOptimized",
	[SUB_MONOLITHIC_FLAT] = "monolithicFlat",     [SUB_SPLIT_SPARSE] = "twoGbMaxExtentSparse",
	[SUB_SPLIT_FLAT] = "twoGbMaxExtentFlat",      [SUB_VMFS] = "vmfs",
};
enum { SUB_COUNT = sizeof(create_types) / sizeof(create_types[0]) };

static enum vmdk_subformat subformat_of(const struct bulk_params *p)
{
	const char *v = bulk_option(p, "subformat");
	unsigned i = 0;

	if (!v)
		return p->compress ? SUB_STREAM : SUB_MONOLITHIC_SPARSE;
	while (i + 1 < SUB_COUNT && strcmp(v, create_types[i]))
		i++;
	return (enum vmdk_subformat)i;
}

const struct bulk_ops *vmdk_bulk_for(const struct bulk_params *p)
{
	switch (subformat_of(p)) {
	case SUB_STREAM:
		return &vmdk_stream_bulk_ops;
	case SUB_MONOLITHIC_FLAT:
	case SUB_SPLIT_FLAT:
	case SUB_VMFS:
		return &vmdk_flat_bulk_ops;
	case SUB_MONOLITHIC_SPARSE:
	case SUB_SPLIT_SPARSE:
		break;
	}
	return &vmdk_sparse_bulk_ops;
}

/* Versions go into the text as they are */
static int check_number(const char *key, const char *value, struct err *err)
{
	size_t n = strspn(value, "0123456789");

	if (!n || n > 10 || value[n])
		return err_set(err, ERR_USAGE, "%s is a number, not '%s'", key, value);
	return 0;
}

static int parse_compression(const struct bulk_params *p, struct vmdk_bulk_options *o,
			     struct err *err)
{
	o->level = DEFAULT_LEVEL;
	if (!p->compress)
		return 0;
	if (o->subformat != SUB_STREAM)
		return err_set(err, ERR_USAGE, "only streamOptimized VMDKs are compressed, not %s",
			       o->create_type);
	if (p->compress_codec == CODEC_ZSTD)
		return err_set(err, ERR_USAGE, "VMDK compresses with zlib");
	if (p->compress_level < 0 || p->compress_level > 12)
		return err_set(err, ERR_USAGE, "zlib has no level %d (1 to 12)", p->compress_level);
	if (p->compress_level)
		o->level = p->compress_level;
	return 0;
}

static int check_backing(const struct bulk_params *p, const struct vmdk_bulk_options *o,
			 struct err *err)
{
	const char *name = p->backing_name;

	if (!name)
		return 0;
	if (o->subformat != SUB_MONOLITHIC_SPARSE && o->subformat != SUB_SPLIT_SPARSE)
		return err_set(err, ERR_USAGE, "a %s VMDK cannot have a parent", o->create_type);
	if (p->backing_format && strcmp(p->backing_format, "vmdk"))
		return err_set(err, ERR_USAGE, "the parent of a VMDK is a VMDK, not %s",
			       p->backing_format);
	if (strlen(name) > 1023 || strpbrk(name, "\"\n\r"))
		return err_set(err, ERR_USAGE,
			       "the parent's name has quotes or more than 1023 bytes");
	return 0;
}

int vmdk_bulk_options_parse(const struct bulk *b, struct vmdk_bulk_options *o, struct err *err)
{
	const struct bulk_params *p = b->params;
	const char *v;

	*o = (struct vmdk_bulk_options){.subformat = subformat_of(p)};
	o->create_type = create_types[o->subformat];
	v = bulk_option(p, "adapter_type");
	o->adapter = v ? v : "lsilogic";
	v = bulk_option(p, "hwversion");
	o->hw_version = v ? v : "4";
	v = bulk_option(p, "toolsversion");
	o->tools_version = v ? v : "2147483647";
	if (check_number("hwversion", o->hw_version, err) < 0 ||
	    check_number("toolsversion", o->tools_version, err) < 0 ||
	    parse_compression(p, o, err) < 0 || check_backing(p, o, err) < 0)
		return -1;
	if (p->size > MOST_BYTES)
		return err_set(err, ERR_USAGE, "a VMDK has at most 62 TiB");
	o->sectors = div_up(p->size, VMDK_SECTOR);
	if (o->subformat == SUB_MONOLITHIC_SPARSE && p->size > MOST_SPARSE) {
		err_set(err, ERR_USAGE, "a sparse VMDK in one file has at most 2 TiB");
		return err_hint(err, "-o subformat=twoGbMaxExtentSparse or vmfs holds more");
	}
	if (b->file && b->file->is_blockdev)
		return err_set(err, ERR_UNSUPPORTED,
			       "a VMDK ends where its file ends: a device cannot hold one");
	return 0;
}

const char *vmdk_own_name(const struct bulk_params *p, const char *unnamed)
{
	const char *slash = p->target_path ? strrchr(p->target_path, '/') : NULL;

	return slash ? slash + 1 : p->target_path ? p->target_path : unnamed;
}

int vmdk_new_text(const struct bulk *b, const struct vmdk_bulk_options *o, uint32_t cid,
		  const struct vmdk_files *s, const char *type, const char *name, char **ret_text,
		  size_t *ret_len, struct err *err)
{
	size_t n = s ? s->n : 1;
	CLEANUP_FREE struct vmdk_line *lines = calloc(n, sizeof(*lines));
	CLEANUP_FREE char *adapter = strdup(o->adapter), *hw = strdup(o->hw_version);
	CLEANUP_FREE char *tools = strdup(o->tools_version), *create = strdup(o->create_type);
	CLEANUP_FREE char *own = strdup(name ? name : "");
	CLEANUP_FREE char *hint = b->params->backing_name ? strdup(b->params->backing_name) : NULL;

	if (!lines || !adapter || !hw || !tools || !create || !own ||
	    (b->params->backing_name && !hint))
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		lines[i] = (struct vmdk_line){.access = o->subformat == SUB_STREAM ? VMDK_RDONLY
										   : VMDK_RW,
					      .type = type,
					      .sectors = s ? s->f[i].sectors : o->sectors,
					      .name = s ? s->f[i].name : own};
	/* A self-made name cannot end the quotes it stands in */
	for (char *c = own; *c; c++)
		if (*c == '"' || (unsigned char)*c < 0x20)
			*c = '_';

	const struct vmdk_descriptor d = {
		.cid = cid,
		.parent_cid =
			b->base ? ((const struct vmdk *)b->base->priv)->d.cid : VMDK_NO_PARENT,
		.create_type = create,
		.parent_hint = hint,
		.adapter_type = adapter,
		.hw_version = hw,
		.tools_version = tools,
		.lines = lines,
		.n_lines = n};

	return vmdk_describe(&d, o->subformat == SUB_VMFS, ret_text, ret_len, err);
}

int vmdk_write_text(struct bulk *b, const struct vmdk_bulk_options *o, uint32_t cid,
		    const struct vmdk_files *s, const char *type, uint64_t *ret_len,
		    struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (vmdk_new_text(b, o, cid, s, type, NULL, &text, &len, err) < 0)
		return -1;
	*ret_len = len;
	if (b->measuring)
		return 0;
	return bfile_truncate(b->file, len, err) < 0 ? -1
						     : bfile_pwrite(b->file, text, len, 0, err);
}

/* The sum does not care for order, nor for how units were cut: blocks of zeros add nothing. */
void vmdk_sum_data(vmdk_sum *sum, const uint8_t *data, uint64_t off, size_t len)
{
	enum { BLOCK = 4096, SAMPLE = 64 };
	uint64_t add = 0;

	for (size_t at = 0; at < len; at += BLOCK) {
		size_t n = (size_t)min_u64(SAMPLE, len - at);

		if (!is_zero(data + at, n))
			add += XXH3_64bits_withSeed(data + at, n, off + at);
	}
	atomic_fetch_add_explicit(sum, add, memory_order_relaxed);
}

int vmdk_sum_unit(vmdk_sum *sum, const struct bulk_unit *u, struct err *err)
{
	uint8_t block[4096];
	uint64_t place[2] = {u->off, u->len};

	if (!u->src) {
		vmdk_sum_data(sum, u->data, u->off, u->len);
		return 0;
	}
	if (bfile_pread_padded(u->src, block, sizeof(block), u->src_off, err) < 0)
		return -1;
	atomic_fetch_add_explicit(sum,
				  XXH3_64bits_withSeed(block, sizeof(block), u->off) +
					  XXH3_64bits(place, sizeof(place)),
				  memory_order_relaxed);
	return 0;
}

int vmdk_cid(const struct bulk *b, uint64_t sum, uint32_t *ret, struct err *err)
{
	uint64_t in[2] = {htole64(sum), htole64(b->params->size)}, h = XXH3_64bits(in, sizeof(in));

	if (b->params->random_ids && getrandom(&h, sizeof(h), 0) != sizeof(h))
		return err_sys(err, "cannot get random bytes");
	/* The two highest have meanings: no parent, and never written to */
	*ret = (uint32_t)(h % 0xfffffffeU);
	return 0;
}
