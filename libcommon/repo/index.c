/* Reading index runs: see index.h. */
#include "libcommon/repo/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/repo/index_format.h"

/* The parts behind the blocks: pieces of 64 KiB, each with its tag. */
static int read_part(struct run *r, unsigned part, uint64_t *off, void *buf, uint64_t len,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(INDEX_PIECE + CRYPTO_TAG);

	if (!piece)
		return err_nomem(err);
	for (uint64_t done = 0, number = 0; done < len; number++) {
		size_t n = (size_t)min_u64(INDEX_PIECE, len - done);
		struct seal s = {.part = part, .number = number};

		if (backend_object_read(r->object, *off, piece, n + CRYPTO_TAG, err) ||
		    crypto_open(r->crypto, &r->key, &s, piece, n, (uint8_t *)buf + done, err))
			return err_prefix(err, "piece at %llu", (unsigned long long)*off);
		done += n;
		*off += n + CRYPTO_TAG;
	}
	return 0;
}

static int read_header(struct run *r, uint64_t size, uint64_t *ret_filter, struct err *err)
{
	uint8_t h[INDEX_HEADER];
	struct seal s = {.part = INDEX_PART_HEADER, .aad = h, .aad_len = INDEX_HEADER - CRYPTO_TAG};
	uint64_t filter, expect;

	if (size < INDEX_HEADER)
		return err_set(err, ERR_CORRUPT, "index run of %llu bytes is too short",
			       (unsigned long long)size);
	if (backend_object_read(r->object, 0, h, sizeof(h), err))
		return -1;
	if (memcmp(h, index_magic, 8))
		return err_set(err, ERR_CORRUPT, "is no index run");
	/* Later versions keep this header, so that a damaged one is told from a newer one. */
	if (crypto_seal_key(r->crypto, "vmkit index", h + 32, &r->key, err))
		return -1;
	if (crypto_open(r->crypto, &r->key, &s, h + INDEX_HEADER - CRYPTO_TAG, 0, NULL, err))
		return err_prefix(err, "index header");
	if (get_le32(h + 8) != 1 || get_le32(h + 12))
		return err_set(err, ERR_UNSUPPORTED,
			       "index version %u with flags 0x%x is not known", get_le32(h + 8),
			       get_le32(h + 12));
	r->n_entries = get_le64(h + 64);
	r->n_blocks = get_le32(h + 72);
	r->n_packs = get_le32(h + 76);
	filter = get_le64(h + 80);
	/* Everything lies in the file, so nothing that is allocated can be larger than the file. */
	if (memcmp(h + 16, crypto_uuid(r->crypto), CRYPTO_UUID) || !is_zero(h + 88, 24) ||
	    r->n_blocks > size / INDEX_BLOCK || r->n_packs > size / PACK_ID ||
	    r->n_packs > INDEX_PACKS_MAX || filter > size || filter % 64 || !filter ||
	    r->n_entries > (uint64_t)r->n_blocks * INDEX_BLOCK_ENTRIES)
		return err_set(err, ERR_CORRUPT,
			       "index header is damaged or of another repository");
	expect = INDEX_HEADER + (uint64_t)r->n_blocks * INDEX_BLOCK +
		 index_part_size((uint64_t)r->n_blocks * 8) + index_part_size(filter) +
		 index_part_size((uint64_t)r->n_packs * PACK_ID);
	if (expect != size)
		return err_set(err, ERR_CORRUPT, "index run is %llu bytes long instead of %llu",
			       (unsigned long long)size, (unsigned long long)expect);
	*ret_filter = filter;
	return 0;
}

static int read_resident(struct run *r, uint64_t filter, struct err *err)
{
	uint64_t off = INDEX_HEADER + (uint64_t)r->n_blocks * INDEX_BLOCK;

	r->n_filter = filter / 64;
	r->firsts = malloc((size_t)r->n_blocks * 8 + 1);
	r->filter = malloc(filter);
	r->packs = malloc((size_t)r->n_packs * PACK_ID + 1);
	if (!r->firsts || !r->filter || !r->packs)
		return err_nomem(err);
	if (read_part(r, INDEX_PART_FIRSTS, &off, r->firsts, (uint64_t)r->n_blocks * 8, err) ||
	    read_part(r, INDEX_PART_FILTER, &off, r->filter, filter, err) ||
	    read_part(r, INDEX_PART_PACKS, &off, r->packs, (uint64_t)r->n_packs * PACK_ID, err))
		return -1;
	for (uint32_t i = 0; i < r->n_blocks; i++)
		r->firsts[i] = get_be64(&r->firsts[i]);
	for (uint64_t i = 0; i < filter / 8; i++)
		r->filter[i] = get_le64(&r->filter[i]);
	return 0;
}

int run_open_object(struct run **ret, struct crypto *c, const char *name, struct backend_object *o,
		    uint64_t size, struct err *err)
{
	struct run *r = calloc(1, sizeof(*r));
	uint64_t filter = 0;

	if (!r) {
		backend_object_close(o);
		return err_nomem(err);
	}
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->crypto = c;
	r->object = o;
	r->size = size;
	if (read_header(r, size, &filter, err) || read_resident(r, filter, err)) {
		run_free(r);
		return err_object(err, name);
	}
	*ret = r;
	return 0;
}

int run_open(struct run **ret, struct backend *b, struct crypto *c, const char *name,
	     struct err *err)
{
	struct backend_object *o;
	uint64_t size;

	if (backend_open(b, name, &o, &size, err))
		return -1;
	return run_open_object(ret, c, name, o, size, err);
}

void run_free(struct run *r)
{
	if (!r)
		return;
	backend_object_close(r->object);
	OPENSSL_cleanse(&r->key, sizeof(r->key));
	free(r->firsts);
	free(r->filter);
	free(r->packs);
	free(r);
}

static int read_block(struct run *r, uint32_t block, uint8_t plain[INDEX_BLOCK], struct err *err)
{
	struct seal s = {.part = INDEX_PART_BLOCK, .number = block};
	uint64_t off = INDEX_HEADER + (uint64_t)block * INDEX_BLOCK;
	struct err why = ERR_INIT;

	if (!backend_object_read(r->object, off, plain, INDEX_BLOCK, &why) &&
	    !crypto_open(r->crypto, &r->key, &s, plain, INDEX_BLOCK - CRYPTO_TAG, plain, &why) &&
	    get_le16(plain + INDEX_BLOCK_ENTRIES * INDEX_ENTRY) > INDEX_BLOCK_ENTRIES)
		err_set(&why, ERR_CORRUPT, "it is overfull");
	if (!why.code)
		return 0;
	if (read_is_damage(&why))
		atomic_store(&r->wrong, true);
	atomic_store(&r->damaged, true);
	err_prefix(&why, "index block at %llu", (unsigned long long)off);
	if (err)
		*err = why;
	return err_object(err, r->name);
}

static int decode_place(const struct run *r, const uint8_t *e, struct blob_place *ret,
			struct err *err)
{
	uint64_t place = get_le64(e + 32), extent = get_le64(e + 40);
	uint32_t pack = (uint32_t)(place >> 32) & 0xffffff;

	if (pack >= r->n_packs)
		return err_set(err, ERR_CORRUPT, "%s: pack number %u of %u", r->name, pack,
			       r->n_packs);
	memcpy(ret->pack, r->packs + (size_t)pack * PACK_ID, PACK_ID);
	ret->type = (uint8_t)(place >> 56);
	ret->section_off = (uint32_t)place;
	ret->section_len = (uint32_t)extent & ((1U << 22) - 1);
	ret->off = (uint32_t)(extent >> 22) & ((1U << 21) - 1);
	ret->len = ((uint32_t)(extent >> 43) & ((1U << 20) - 1)) + 1;
	return 0;
}

/* The last block whose first id is not above @key; blocks before it may begin with the same 8 bytes. */
static uint32_t last_block(const struct run *r, uint64_t key)
{
	uint32_t lo = 0, hi = r->n_blocks;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (r->firsts[mid] <= key)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

int run_find(struct run *r, const struct repo_id *id, struct blob_place *ret, size_t max,
	     struct err *err)
{
	uint64_t key = get_be64(id->bytes);
	uint32_t block;
	size_t found = 0;

	if (!r->n_blocks || !index_filter_has(r->filter, r->n_filter, id) || r->firsts[0] > key)
		return 0;
	block = last_block(r, key);
	for (;;) {
		uint8_t plain[INDEX_BLOCK];
		const uint8_t *e = plain;

		if (read_block(r, block, plain, err))
			return -1;
		for (size_t n = get_le16(plain + INDEX_BLOCK_ENTRIES * INDEX_ENTRY); n;
		     n--, e += INDEX_ENTRY)
			if (found < max && !memcmp(e, id->bytes, sizeof(id->bytes)) &&
			    decode_place(r, e, &ret[found++], err))
				return -1;
		if (!block || r->firsts[block] != key || found >= max)
			return (int)found;
		block--;
	}
}

int run_block(struct run *r, uint32_t block, struct index_entry ret[INDEX_BLOCK_ENTRIES],
	      size_t *ret_n, struct err *err)
{
	uint8_t plain[INDEX_BLOCK];
	size_t n;

	if (read_block(r, block, plain, err))
		return -1;
	n = get_le16(plain + INDEX_BLOCK_ENTRIES * INDEX_ENTRY);
	for (size_t i = 0; i < n; i++) {
		memcpy(ret[i].id.bytes, plain + i * INDEX_ENTRY, 32);
		if (decode_place(r, plain + i * INDEX_ENTRY, &ret[i].place, err))
			return -1;
	}
	*ret_n = n;
	return 0;
}

static int compare_packs(const void *a, const void *b)
{
	return memcmp(a, b, PACK_ID);
}

bool run_has_pack(const struct run *r, const uint8_t pack[PACK_ID])
{
	return bsearch(pack, r->packs, r->n_packs, PACK_ID, compare_packs) != NULL;
}
