/* The -o options of new qcow2 images: the table, their checks, and what a disk of a size needs. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/size.h"
#include "libcommon/image/format/qcow2/bulk_writer.h"

enum { ITER_TIME_MOST = 20000 };

const struct image_option qcow2_options[] = {
	{"cluster_size", OPTION_SIZE, "unit of allocation, 512 to 2M (64k)", NULL},
	{"compat", OPTION_CHOICE, "v2 (0.10) or v3 (1.1) of the format (v3)", "v3|v2|1.1|0.10"},
	{"refcount_bits", OPTION_CHOICE, "width of a reference count (16)", "1|2|4|8|16|32|64"},
	{"compression_type", OPTION_CHOICE,
	 "codec of compressed clusters (zstd with -c, else zlib; v2: zlib)", "zlib|zstd"},
	{"extended_l2", OPTION_BOOL,
	 "32 subclusters a cluster; needs clusters of 16k or more (off)", NULL},
	{"lazy_refcounts", OPTION_BOOL, "postpone reference count updates of writers (off)", NULL},
	{"data_file", OPTION_STRING,
	 "keep guest data in this file; a relative name is taken from the image's folder, by QEMU "
	 "from the current one (none)",
	 NULL},
	{"data_file_raw", OPTION_BOOL, "the data file is a raw image of the disk (off)", NULL},
	{"preallocation", OPTION_CHOICE, "allocate beforehand (off)", "off|metadata|falloc|full"},
	{"encryption", OPTION_CHOICE,
	 "luks: encrypt with AES-256-XTS, the passphrase as for reading; the keys are random, so "
	 "no two "
	 "images have the same bytes (none)",
	 "none|luks"},
	{"iter_time", OPTION_SIZE,
	 "with encryption: milliseconds that a try of a passphrase shall take here (1000)", NULL},
	{NULL, OPTION_BOOL, NULL, NULL},
};

static int parse_bool(const struct bulk_params *p, const char *name, bool *ret, struct err *err)
{
	const char *v = bulk_option(p, name);

	*ret = v && (!strcmp(v, "on") || !strcmp(v, "true") || !strcmp(v, "yes") ||
		     !strcmp(v, "1") || !*v);
	if (!v || *ret || !strcmp(v, "off") || !strcmp(v, "false") || !strcmp(v, "no") ||
	    !strcmp(v, "0"))
		return 0;
	return err_set(err, ERR_USAGE, "%s is on or off, not '%s'", name, v);
}

static int parse_sizes(const struct bulk_params *p, struct qcow2_bulk_options *o, struct err *err)
{
	const char *v = bulk_option(p, "cluster_size");
	uint64_t n = 65536;

	if (v && size_parse(v, &n, err) < 0)
		return err_prefix(err, "cluster_size");
	if (!is_pow2(n) || n < 512 || n > 2U << 20)
		return err_set(err, ERR_USAGE,
			       "cluster_size must be a power of two from 512 to 2M, not '%s'", v);
	o->cluster_bits = log2_u64(n);

	v = bulk_option(p, "refcount_bits");
	n = 16;
	if (v && size_parse(v, &n, err) < 0)
		return err_prefix(err, "refcount_bits");
	if (!is_pow2(n) || n > 64)
		return err_set(err, ERR_USAGE,
			       "refcount_bits must be 1, 2, 4, 8, 16, 32 or 64, not '%s'", v);
	o->refcount_order = log2_u64(n);
	return 0;
}

static int parse_choices(const struct bulk_params *p, struct qcow2_bulk_options *o, struct err *err)
{
	static const char *const prealloc[] = {"off", "metadata", "falloc", "full"};
	const char *v = bulk_option(p, "compat");

	o->version = 3;
	if (v && (!strcmp(v, "v2") || !strcmp(v, "0.10")))
		o->version = 2;
	else if (v && strcmp(v, "v3") != 0 && strcmp(v, "1.1") != 0)
		return err_set(err, ERR_USAGE, "compat is v2 (0.10) or v3 (1.1), not '%s'", v);

	v = bulk_option(p, "preallocation");
	unsigned i = 0;

	while (v && i < 4 && strcmp(v, prealloc[i]) != 0)
		i++;
	if (i == 4)
		return err_set(err, ERR_USAGE,
			       "preallocation is off, metadata, falloc or full, not '%s'", v);
	o->preallocation = (enum qcow2_prealloc)i;

	/* -c zstd:9 names the codec, -o compression_type does as QEMU spells it; alone -c means zstd where
	 * the version has it: smaller and faster to read, and every QEMU since 5.1 (2020) reads it. */
	v = bulk_option(p, "compression_type");
	if (v && strcmp(v, "zlib") != 0 && strcmp(v, "zstd") != 0)
		return err_set(err, ERR_USAGE, "compression_type is zlib or zstd, not '%s'", v);
	if (!p->compress || p->compress_codec == CODEC_NONE)
		o->compression_type = v		    ? !strcmp(v, "zstd")
				      : p->compress ? o->version == 3
						    : QCOW2_COMPRESSION_ZLIB;
	else
		o->compression_type = p->compress_codec == CODEC_ZSTD;
	if (p->compress && p->compress_codec != CODEC_NONE && v &&
	    o->compression_type != (uint32_t)!strcmp(v, "zstd"))
		return err_set(err, ERR_USAGE, "compression_type %s contradicts the codec of -c",
			       v);
	if (p->compress && p->compress_codec == CODEC_OPAQUE)
		return err_set(err, ERR_USAGE, "qcow2 compresses with zlib or zstd");
	return 0;
}

static int parse_encryption(const struct bulk_params *p, struct qcow2_bulk_options *o,
			    struct err *err)
{
	const char *v = bulk_option(p, "encryption");
	uint64_t ms = 1000;

	if (v && strcmp(v, "none") != 0 && strcmp(v, "luks") != 0)
		return err_set(err, ERR_USAGE, "encryption is none or luks, not '%s'", v);
	o->encrypt = v && !strcmp(v, "luks");
	v = bulk_option(p, "iter_time");
	if (v && !o->encrypt)
		return err_set(err, ERR_USAGE, "iter_time needs encryption=luks");
	if (v && size_parse(v, &ms, err) < 0)
		return err_prefix(err, "iter_time");
	if (ms < 1 || ms > ITER_TIME_MOST)
		return err_set(err, ERR_USAGE, "iter_time is 1 to %d milliseconds, not '%s'",
			       ITER_TIME_MOST, v);
	o->iter_time = (unsigned)ms;
	return 0;
}

/* QEMU has no compressed clusters in an encrypted image; the others would have to hide what they leave unwritten */
static int check_encryption(const struct bulk_params *p, const struct qcow2_bulk_options *o,
			    struct err *err)
{
	const char *bad = p->compress			     ? "compression"
			  : o->version == 2		     ? "compat v2"
			  : o->data_file		     ? "data_file"
			  : o->preallocation != PREALLOC_OFF ? "preallocation"
							     : NULL;

	return o->encrypt && bad
		       ? err_set(err, ERR_USAGE, "encryption and %s exclude each other", bad)
		       : 0;
}

static int check_together(const struct bulk_params *p, const struct qcow2_bulk_options *o,
			  struct err *err)
{
	if (o->version == 2 && (o->refcount_order != 4 || o->compression_type || o->extended_l2 ||
				o->lazy_refcounts || o->data_file))
		return err_set(err, ERR_USAGE, "compat v2 has no %s",
			       o->refcount_order != 4 ? "refcount_bits but 16"
			       : o->compression_type  ? "zstd"
			       : o->extended_l2	      ? "extended_l2"
			       : o->lazy_refcounts    ? "lazy_refcounts"
						      : "data_file");
	if (o->extended_l2 && o->cluster_bits < 14)
		return err_set(err, ERR_USAGE, "extended_l2 needs a cluster_size of 16k or more");
	if (o->data_file_raw && !o->data_file)
		return err_set(err, ERR_USAGE, "data_file_raw needs data_file");
	if (o->data_file && p->compress)
		return err_set(err, ERR_USAGE,
			       "an external data file cannot hold compressed clusters");
	if (o->data_file_raw && p->backing_name)
		return err_set(err, ERR_USAGE, "data_file_raw cannot have a backing file");
	if (o->preallocation != PREALLOC_OFF && p->compress)
		return err_set(err, ERR_USAGE, "preallocation and compression exclude each other");
	if (o->preallocation != PREALLOC_OFF && p->backing_name)
		return err_set(err, ERR_USAGE,
			       "preallocation would hide the backing file: leave out one of them");
	if (p->backing_name && strlen(p->backing_name) > QCOW2_MAX_BACKING_NAME)
		return err_set(err, ERR_USAGE, "the backing file's name has more than %u bytes",
			       QCOW2_MAX_BACKING_NAME);
	return 0;
}

static int layout(const struct bulk_params *p, struct qcow2_bulk_options *o, struct err *err)
{
	uint64_t limit = QCOW2_MAX_L1_BYTES / 8;

	if (!u64_round_up(p->size, 512, &o->size) || o->size > INT64_MAX)
		return err_set(err, ERR_USAGE, "a disk of %llu bytes is too large",
			       (unsigned long long)p->size);
	o->l2_bits = o->cluster_bits - (o->extended_l2 ? 4 : 3);
	o->l1_entries = div_up(o->size, 1ULL << (o->cluster_bits + o->l2_bits));
	if (o->l1_entries > limit) {
		err_set(err, ERR_USAGE,
			"a disk of %llu bytes is too large for clusters of %u bytes",
			(unsigned long long)p->size, 1U << o->cluster_bits);
		err_hint(err, "the most is %llu bytes; use a larger cluster_size",
			 (unsigned long long)(limit << (o->cluster_bits + o->l2_bits)));
		return -1;
	}
	if (!o->l1_entries)
		o->l1_entries = 1;
	return 0;
}

int qcow2_bulk_options_parse(const struct bulk_params *p, struct qcow2_bulk_options *o,
			     struct err *err)
{
	memset(o, 0, sizeof(*o));
	o->data_file = bulk_option(p, "data_file");
	if (o->data_file && !*o->data_file)
		o->data_file = NULL;
	if (parse_sizes(p, o, err) < 0 || parse_choices(p, o, err) < 0 ||
	    parse_bool(p, "extended_l2", &o->extended_l2, err) < 0 ||
	    parse_bool(p, "lazy_refcounts", &o->lazy_refcounts, err) < 0 ||
	    parse_bool(p, "data_file_raw", &o->data_file_raw, err) < 0 ||
	    parse_encryption(p, o, err) < 0 || check_together(p, o, err) < 0 ||
	    check_encryption(p, o, err) < 0 || layout(p, o, err) < 0)
		return -1;
	/* As QEMU does: what another program writes into the raw file must be seen through the image. */
	if (o->data_file_raw && o->preallocation == PREALLOC_OFF)
		o->preallocation = PREALLOC_METADATA;
	return 0;
}

int qcow2_refcount_layout(uint64_t used, unsigned cluster_bits, unsigned refcount_order,
			  uint64_t *ret_table_clusters, uint64_t *ret_block_clusters,
			  struct err *err)
{
	uint64_t per_block = (8ULL << cluster_bits) >> refcount_order;
	uint64_t table = 0, blocks = 0, t, b;

	/* They count themselves; both only grow, so this ends at the least fix-point. */
	for (;;) {
		b = div_up(used + table + blocks, per_block);
		t = div_up(b * 8, 1ULL << cluster_bits);
		if (t << cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
			return err_set(
				err, ERR_USAGE,
				"%llu clusters of %u bytes are too many for a refcount table: "
				"use a larger cluster_size",
				(unsigned long long)used, 1U << cluster_bits);
		if (b == blocks && t == table)
			break;
		blocks = b;
		table = t;
	}
	*ret_table_clusters = table;
	*ret_block_clusters = blocks;
	return 0;
}
