/* The qcow2 header: parsed and checked, with its extensions; serialized for writers.
 *
 * What leads out of the header (tables, directories) is only held against the size of the file here. Nothing is
 * read but the first cluster, so that info costs one read whatever the header claims.
 */
#include "libcommon/image/format/qcow2/qcow2.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"

#define V2_LENGTH	   72U
#define V3_MIN_LENGTH	   104U
#define V3_LENGTH	   112U /* what we write: through compression_type, padded */
#define FEATURE_ENTRY	   48U
#define FEATURE_NAME_BYTES 46U

/* The whole first cluster, as far as the file has it */
struct head {
	uint8_t *bytes;
	size_t len; /* cluster size; what the file does not have is zero */
	uint64_t file_size;
	uint64_t backing_off;
	uint32_t backing_len;
	const uint8_t *features; /* feature name table; NULL: none */
	size_t features_len;
};

uint64_t qcow2_l1_needed(uint64_t size, uint32_t cluster_bits, bool extended_l2)
{
	uint32_t shift = cluster_bits + cluster_bits - (extended_l2 ? 4 : 3);

	return shift >= 64 ? size != 0 : div_up(size, 1ULL << shift);
}

static int parse_fixed(const uint8_t *p, size_t have, struct qcow2_header *h, struct head *head,
		       struct err *err)
{
	if (have < V2_LENGTH)
		return err_set(err, ERR_CORRUPT, "file of %zu bytes ends inside the qcow2 header",
			       have);
	if (get_be32(p) != QCOW2_MAGIC)
		return err_set(err, ERR_CORRUPT, "not a qcow2 image: magic is %#" PRIx32,
			       get_be32(p));
	h->version = get_be32(p + 4);
	if (h->version != 2 && h->version != 3)
		return err_set(err, ERR_UNSUPPORTED, "qcow2 version %" PRIu32 " is not supported",
			       h->version);
	head->backing_off = get_be64(p + 8);
	head->backing_len = get_be32(p + 16);
	h->cluster_bits = get_be32(p + 20);
	h->size = get_be64(p + 24);
	h->crypt_method = get_be32(p + 32);
	h->l1_entries = get_be32(p + 36);
	h->l1_offset = get_be64(p + 40);
	h->reftable_offset = get_be64(p + 48);
	h->reftable_clusters = get_be32(p + 56);
	h->nb_snapshots = get_be32(p + 60);
	h->snapshots_offset = get_be64(p + 64);
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return err_set(err,
			       h->cluster_bits > 21 && h->cluster_bits < 32 ? ERR_UNSUPPORTED
									    : ERR_CORRUPT,
			       "cluster size of 2^%" PRIu32 " bytes: only 2^9 to 2^21 exist",
			       h->cluster_bits);
	h->refcount_order = 4;
	h->header_length = V2_LENGTH;
	if (h->version == 2)
		return 0;
	if (have < V3_MIN_LENGTH)
		return err_set(err, ERR_CORRUPT, "file of %zu bytes ends inside the qcow2 header",
			       have);
	h->incompatible = get_be64(p + 72);
	h->compatible = get_be64(p + 80);
	h->autoclear = get_be64(p + 88);
	h->refcount_order = get_be32(p + 96);
	h->header_length = get_be32(p + 100);
	if (h->header_length < V3_MIN_LENGTH || h->header_length % 8 ||
	    h->header_length > 1U << h->cluster_bits)
		return err_set(err, ERR_CORRUPT,
			       "header length %" PRIu32
			       " is not a multiple of 8 from 104 to the cluster size",
			       h->header_length);
	return 0;
}

/* An owned copy of a string of the file; NULL for an empty one. Some writers pad with NULs. */
static int copy_string(char **ret, const uint8_t *p, size_t len, const char *what, struct err *err)
{
	while (len && !p[len - 1])
		len--;
	if (memchr(p, 0, len))
		return err_set(err, ERR_CORRUPT, "%s holds a NUL byte", what);
	free(*ret);
	*ret = NULL;
	if (!len)
		return 0;
	*ret = strndup((const char *)p, len);
	return *ret ? 0 : err_nomem(err);
}

static int parse_bitmaps(const uint8_t *p, uint32_t len, const struct head *head,
			 struct qcow2_header *h, struct err *err)
{
	uint64_t cluster_size = 1ULL << h->cluster_bits;
	uint32_t n = len >= 4 ? get_be32(p) : 0;
	uint64_t size = len == 24 ? get_be64(p + 8) : 0, off = len == 24 ? get_be64(p + 16) : 0;
	bool good = len == 24 && n >= 1 && n <= QCOW2_MAX_BITMAPS && size <= QCOW2_MAX_BITMAP_DIR &&
		    off && off % cluster_size == 0 && range_inside(off, size, head->file_size);

	if (!good) {
		/* Without the autoclear bit the extension is stale, whatever it says: no bitmap */
		if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
			return 0;
		return err_set(err, ERR_CORRUPT,
			       "bitmaps extension names %" PRIu32 " bitmaps, %" PRIu64
			       " bytes at offset %" PRIu64 ": out of bounds",
			       n, size, off);
	}
	h->nb_bitmaps = n;
	h->bitmaps_dir_size = size;
	h->bitmaps_dir_offset = off;
	return 0;
}

static int parse_luks(const uint8_t *p, uint32_t len, const struct head *head,
		      struct qcow2_header *h, struct err *err)
{
	if (len < 16)
		return err_set(err, ERR_CORRUPT,
			       "encryption header extension has %" PRIu32 " bytes, not 16", len);
	h->luks_offset = get_be64(p);
	h->luks_len = get_be64(p + 8);
	if (h->luks_offset % (1ULL << h->cluster_bits) ||
	    !range_inside(h->luks_offset, h->luks_len, head->file_size))
		return err_set(err, ERR_CORRUPT,
			       "encryption header of %" PRIu64 " bytes at offset %" PRIu64
			       " lies outside the file of %" PRIu64 " bytes",
			       h->luks_len, h->luks_offset, head->file_size);
	return 0;
}

static int parse_extension(uint32_t type, const uint8_t *p, uint32_t len, struct head *head,
			   struct qcow2_header *h, struct err *err)
{
	switch (type) {
	case QCOW2_EXT_BACKING_FORMAT:
		return copy_string(&h->backing_format, p, len, "backing format", err);
	case QCOW2_EXT_DATA_FILE:
		if (len > QCOW2_MAX_BACKING_NAME)
			return err_set(err, ERR_CORRUPT,
				       "name of the data file has %" PRIu32 " bytes", len);
		return copy_string(&h->data_file, p, len, "name of the data file", err);
	case QCOW2_EXT_FEATURE_NAMES:
		head->features = p;
		head->features_len = len;
		return 0;
	case QCOW2_EXT_BITMAPS:
		return parse_bitmaps(p, len, head, h, err);
	case QCOW2_EXT_LUKS:
		return parse_luks(p, len, head, h, err);
	default:
		return 0; /* "can be safely ignored" */
	}
}

static int parse_extensions(struct head *head, struct qcow2_header *h, struct err *err)
{
	uint64_t pos = h->header_length;
	uint64_t end = head->backing_off ? head->backing_off : head->len;
	bool seen[5] = {false};
	static const uint32_t once[5] = {QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_FEATURE_NAMES,
					 QCOW2_EXT_BITMAPS, QCOW2_EXT_LUKS, QCOW2_EXT_DATA_FILE};

	while (pos + 8 <= end) {
		uint32_t type = get_be32(head->bytes + pos), len = get_be32(head->bytes + pos + 4);

		if (type == QCOW2_EXT_END)
			break;
		pos += 8;
		if (len > end - pos)
			return err_set(err, ERR_CORRUPT,
				       "header extension %#" PRIx32 " at offset %" PRIu64
				       " claims %" PRIu32 " bytes, %" PRIu64 " are left",
				       type, pos - 8, len, end - pos);
		for (size_t i = 0; i < 5; i++) {
			if (type != once[i])
				continue;
			if (seen[i])
				return err_set(err, ERR_CORRUPT,
					       "header extension %#" PRIx32 " stands there twice",
					       type);
			seen[i] = true;
		}
		if (parse_extension(type, head->bytes + pos, len, head, h, err))
			return -1;
		pos += round_up(len, 8);
	}
	return 0;
}

/* "NAME (bit N)" for each unknown bit; names are taken from the image and cleaned for the terminal */
static int refuse_unknown(const struct head *head, uint64_t unknown, struct err *err)
{
	char list[512] = "";
	size_t used = 0;

	for (unsigned bit = 0; bit < 64 && used < sizeof(list) - 80; bit++) {
		char name[FEATURE_NAME_BYTES + 1] = "unnamed";

		if (!(unknown >> bit & 1))
			continue;
		for (size_t i = 0; i + FEATURE_ENTRY <= head->features_len; i += FEATURE_ENTRY) {
			const uint8_t *e = head->features + i;

			if (e[0] != 0 || e[1] != bit || !e[2])
				continue;
			memcpy(name, e + 2, FEATURE_NAME_BYTES);
			name[FEATURE_NAME_BYTES] = '\0';
		}
		for (char *c = name; *c; c++)
			if (*c < 0x20 || *c > 0x7e)
				*c = '?';
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s (bit %u)",
					 used ? ", " : "", name, bit);
	}
	return err_set(err, ERR_UNSUPPORTED, "uses features that this program does not know: %s",
		       list);
}

static int check_features(const struct head *head, struct qcow2_header *h, struct err *err)
{
	uint64_t unknown = h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN;

	if (unknown)
		return refuse_unknown(head, unknown, err);
	if (h->version == 3 && h->header_length > V3_MIN_LENGTH)
		h->compression_type = head->bytes[104];
	if (h->incompatible & QCOW2_INCOMPAT_COMPRESSION ? !h->compression_type
							 : h->compression_type)
		return err_set(err, ERR_CORRUPT,
			       "compression type %" PRIu32
			       " does not fit the incompatible feature bits %#" PRIx64,
			       h->compression_type, h->incompatible);
	if (h->compression_type > QCOW2_COMPRESSION_ZSTD)
		return err_set(err, ERR_UNSUPPORTED, "compression type %" PRIu32 " is not known",
			       h->compression_type);
	if (h->refcount_order > 6)
		return err_set(err, ERR_CORRUPT, "refcount order %" PRIu32 " is above 6 (64 bits)",
			       h->refcount_order);
	if (h->crypt_method > QCOW2_CRYPT_LUKS)
		return err_set(err, ERR_UNSUPPORTED, "encryption method %" PRIu32 " is not known",
			       h->crypt_method);
	if ((h->incompatible & QCOW2_INCOMPAT_EXTL2) && h->cluster_bits < 14)
		return err_set(
			err, ERR_CORRUPT,
			"extended L2 entries need clusters of at least 16 KiB, here 2^%" PRIu32,
			h->cluster_bits);
	return 0;
}

static int check_table(const char *what, uint64_t off, uint64_t bytes, const struct qcow2_header *h,
		       const struct head *head, bool allow_faults, struct err *err)
{
	if (off % (1ULL << h->cluster_bits))
		return err_set(err, ERR_CORRUPT,
			       "%s lies at offset %" PRIu64
			       ", not at a multiple of the cluster size",
			       what, off);
	if (off > INT64_MAX - bytes ||
	    (!allow_faults && !range_inside(off, bytes, head->file_size)))
		return err_set(err, ERR_CORRUPT,
			       "%s of %" PRIu64 " bytes lies at offset %" PRIu64
			       ", beyond the end of the file (%" PRIu64 " bytes)",
			       what, bytes, off, head->file_size);
	return 0;
}

static int check_tables(const struct head *head, const struct qcow2_header *h, bool allow_faults,
			struct err *err)
{
	uint64_t l1_bytes = 8ULL * h->l1_entries;
	uint64_t reftable_bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;
	uint64_t needed;

	if (l1_bytes > QCOW2_MAX_L1_BYTES)
		return err_set(err, ERR_CORRUPT,
			       "L1 table has %" PRIu32 " entries, at most %u are possible",
			       h->l1_entries, QCOW2_MAX_L1_BYTES / 8);
	if (h->size > INT64_MAX)
		return err_set(err, ERR_CORRUPT, "virtual size of %" PRIu64 " bytes is impossible",
			       h->size);
	needed = qcow2_l1_needed(h->size, h->cluster_bits, h->incompatible & QCOW2_INCOMPAT_EXTL2);
	if (needed > h->l1_entries)
		return err_set(err, ERR_CORRUPT,
			       "L1 table has %" PRIu32 " entries, a disk of %" PRIu64
			       " bytes needs %" PRIu64,
			       h->l1_entries, h->size, needed);
	if (check_table("L1 table", h->l1_offset, l1_bytes, h, head, allow_faults, err))
		return -1;
	if (reftable_bytes > QCOW2_MAX_REFTABLE_BYTES)
		return err_set(err, ERR_CORRUPT,
			       "refcount table has %" PRIu64 " bytes, at most %u are possible",
			       reftable_bytes, QCOW2_MAX_REFTABLE_BYTES);
	if (!h->reftable_clusters && !allow_faults)
		return err_set(err, ERR_CORRUPT, "there is no refcount table");
	if (check_table("refcount table", h->reftable_offset, reftable_bytes, h, head, allow_faults,
			err))
		return -1;
	if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS)
		return err_set(err, ERR_CORRUPT,
			       "%" PRIu32 " internal snapshots, at most %u are possible",
			       h->nb_snapshots, QCOW2_MAX_SNAPSHOTS);
	return h->nb_snapshots ? check_table("snapshot table", h->snapshots_offset,
					     40ULL * h->nb_snapshots, h, head, false, err)
			       : 0;
}

static int parse_backing(const struct head *head, struct qcow2_header *h, struct err *err)
{
	if (!head->backing_off)
		return 0;
	if (head->backing_len > QCOW2_MAX_BACKING_NAME ||
	    !range_inside(head->backing_off, head->backing_len, head->len) ||
	    head->backing_off < h->header_length)
		return err_set(err, ERR_CORRUPT,
			       "name of the backing file, %" PRIu32 " bytes at offset %" PRIu64
			       ", is not inside the first cluster (%zu bytes)",
			       head->backing_len, head->backing_off, head->len);
	return copy_string(&h->backing_name, head->bytes + head->backing_off, head->backing_len,
			   "name of the backing file", err);
}

static int parse_cluster(struct head *head, struct qcow2_header *h, bool allow_faults,
			 struct err *err)
{
	int rc;

	/* Before the extensions: they end where the name begins */
	if (parse_backing(head, h, err))
		return -1;
	rc = parse_extensions(head, h, err);
	/* An unknown feature is the better message than what it may have done to the extensions */
	if (rc && !(h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN))
		return -1;
	if (check_features(head, h, err))
		return -1;
	return check_tables(head, h, allow_faults, err);
}

int qcow2_header_read(struct bfile *file, struct qcow2_header *ret, bool allow_faults,
		      struct err *err)
{
	uint8_t fixed[V3_LENGTH] = {0};
	struct head head = {.file_size = bfile_size(file)};
	size_t have = (size_t)min_u64(head.file_size, sizeof(fixed));
	struct qcow2_header h = {0};
	CLEANUP_FREE uint8_t *cluster = NULL;

	if (bfile_pread(file, fixed, have, 0, err) || parse_fixed(fixed, have, &h, &head, err))
		return -1;
	head.len = (size_t)1 << h.cluster_bits;
	cluster = calloc(1, head.len);
	if (!cluster)
		return err_nomem(err);
	if (bfile_pread(file, cluster, (size_t)min_u64(head.len, head.file_size), 0, err))
		return -1;
	head.bytes = cluster;
	if (parse_cluster(&head, &h, allow_faults, err)) {
		qcow2_header_release(&h);
		return -1;
	}
	*ret = h;
	return 0;
}

void qcow2_header_release(struct qcow2_header *h)
{
	free(h->backing_name);
	free(h->backing_format);
	free(h->data_file);
	h->backing_name = h->backing_format = h->data_file = NULL;
}

/* ---- writing */

static const struct {
	uint8_t type, bit;
	const char *name;
} feature_names[] = {
	{0, 0, "dirty bit"},	    {0, 1, "corrupt bit"},	   {0, 2, "external data file"},
	{0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},	    {2, 1, "raw external data"},
};

#define FEATURES_LEN (sizeof(feature_names) / sizeof(feature_names[0]) * FEATURE_ENTRY)

static void put_fixed(const struct qcow2_header *h, uint8_t *buf)
{
	put_be32(buf, QCOW2_MAGIC);
	put_be32(buf + 4, h->version);
	put_be32(buf + 20, h->cluster_bits);
	put_be64(buf + 24, h->size);
	put_be32(buf + 32, h->crypt_method);
	put_be32(buf + 36, h->l1_entries);
	put_be64(buf + 40, h->l1_offset);
	put_be64(buf + 48, h->reftable_offset);
	put_be32(buf + 56, h->reftable_clusters);
	put_be32(buf + 60, h->nb_snapshots);
	put_be64(buf + 64, h->snapshots_offset);
	if (h->version == 2)
		return;
	put_be64(buf + 72, h->incompatible);
	put_be64(buf + 80, h->compatible);
	put_be64(buf + 88, h->autoclear);
	put_be32(buf + 96, h->refcount_order);
	put_be32(buf + 100, V3_LENGTH);
	buf[104] = (uint8_t)h->compression_type;
}

/* Where the next extension goes; NULL data leaves its bytes zero. Return: its data, NULL: no room */
static uint8_t *put_extension(uint8_t *buf, size_t room, size_t *pos, uint32_t type,
			      const void *data, size_t len)
{
	size_t at = *pos, whole = 8 + (size_t)round_up(len, 8);

	/* 8 bytes stay for the end mark */
	if (whole + 8 > room - at)
		return NULL;
	put_be32(buf + at, type);
	put_be32(buf + at + 4, (uint32_t)len);
	if (data)
		memcpy(buf + at + 8, data, len);
	*pos = at + whole;
	return buf + at + 8;
}

static bool put_pointers(const struct qcow2_header *h, uint8_t *buf, size_t room, size_t *pos)
{
	uint8_t *p;

	if (h->luks_len) {
		p = put_extension(buf, room, pos, QCOW2_EXT_LUKS, NULL, 16);
		if (!p)
			return false;
		put_be64(p, h->luks_offset);
		put_be64(p + 8, h->luks_len);
	}
	if (h->nb_bitmaps) {
		p = put_extension(buf, room, pos, QCOW2_EXT_BITMAPS, NULL, 24);
		if (!p)
			return false;
		put_be32(p, h->nb_bitmaps);
		put_be64(p + 8, h->bitmaps_dir_size);
		put_be64(p + 16, h->bitmaps_dir_offset);
	}
	return true;
}

static void put_feature_names(uint8_t *p)
{
	for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++) {
		p[0] = feature_names[i].type;
		p[1] = feature_names[i].bit;
		memcpy(p + 2, feature_names[i].name, strlen(feature_names[i].name));
		p += FEATURE_ENTRY;
	}
}

int qcow2_header_write(const struct qcow2_header *h, uint8_t *buf, size_t len, struct err *err)
{
	size_t name_len = h->backing_name ? strlen(h->backing_name) : 0;
	size_t pos = h->version == 2 ? V2_LENGTH : V3_LENGTH;
	size_t room;
	bool fits;

	if (name_len > QCOW2_MAX_BACKING_NAME || name_len > len - pos)
		return err_set(err, ERR_USAGE,
			       "name of the backing file has %zu bytes, at most %u are possible",
			       name_len, QCOW2_MAX_BACKING_NAME);
	room = len - name_len;
	put_fixed(h, buf);
	fits = (!h->backing_name || !h->backing_format ||
		put_extension(buf, room, &pos, QCOW2_EXT_BACKING_FORMAT, h->backing_format,
			      strlen(h->backing_format))) &&
	       (!h->data_file || put_extension(buf, room, &pos, QCOW2_EXT_DATA_FILE, h->data_file,
					       strlen(h->data_file))) &&
	       put_pointers(h, buf, room, &pos) && pos + 8 <= room;
	if (!fits)
		return err_set(err, ERR_USAGE,
			       "names of backing file and data file do not fit into a cluster of "
			       "%zu bytes",
			       len);
	if (h->version == 3) {
		/* Only an aid for messages: left out where a small cluster has no room */
		uint8_t *p =
			put_extension(buf, room, &pos, QCOW2_EXT_FEATURE_NAMES, NULL, FEATURES_LEN);

		if (p)
			put_feature_names(p);
	}
	pos += 8; /* the end mark: zeros */
	if (name_len) {
		put_be64(buf + 8, pos);
		put_be32(buf + 16, (uint32_t)name_len);
		memcpy(buf + pos, h->backing_name, name_len);
	}
	return 0;
}

int qcow2_header_store_features(struct bfile *file, const struct qcow2_header *h, struct err *err)
{
	uint8_t words[24];

	put_be64(words, h->incompatible);
	put_be64(words + 8, h->compatible);
	put_be64(words + 16, h->autoclear);
	return bfile_pwrite(file, words, sizeof(words), 72, err);
}
