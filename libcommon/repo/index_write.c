/* Writing and merging index runs: see index.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/repo/index.h"
#include "libcommon/repo/index_format.h"

enum { OUT_BLOCKS = 512 }; /* blocks a write: 1 MiB */

struct run_builder {
	struct crypto *crypto;
	struct backend_writer *writer;
	char name[INDEX_NAME_MAX];
	uint8_t header[INDEX_HEADER];
	struct seal_key key;
	uint8_t *packs;
	size_t n_packs;
	uint64_t *filter, n_filter;
	uint64_t *firsts;
	size_t cap_firsts;
	uint64_t n_entries;
	uint32_t n_blocks;
	uint64_t off;
	uint8_t *out; /* whole sealed blocks not written yet */
	size_t n_out;
	uint8_t block[INDEX_BLOCK];
	unsigned used;
	struct index_entry last;
};

int run_builder_new(struct run_builder **ret, struct backend *b, struct crypto *c,
		    const uint8_t *packs, size_t n_packs, uint64_t max_entries, struct err *err)
{
	struct run_builder *rb;
	uint8_t id[16];

	if (n_packs > INDEX_PACKS_MAX || max_entries > (uint64_t)UINT32_MAX * INDEX_BLOCK_ENTRIES)
		return err_set(err, ERR_UNSUPPORTED, "too many packs for one index run");
	rb = calloc(1, sizeof(*rb));
	if (!rb)
		return err_nomem(err);
	rb->crypto = c;
	rb->n_packs = n_packs;
	rb->n_filter = div_up(max_entries * INDEX_FILTER_BITS + 1, 512);
	rb->filter = calloc(rb->n_filter, 64);
	rb->packs = malloc(n_packs * PACK_ID + 1);
	rb->out = malloc((size_t)OUT_BLOCKS * INDEX_BLOCK);
	rb->off = INDEX_HEADER;
	if (!rb->filter || !rb->packs || !rb->out) {
		run_builder_discard(rb);
		return err_nomem(err);
	}
	memcpy(rb->packs, packs, n_packs * PACK_ID);
	memcpy(rb->header, index_magic, 8);
	put_le32(rb->header + 8, 1);
	memcpy(rb->header + 16, crypto_uuid(c), CRYPTO_UUID);
	if (crypto_random(id, sizeof(id), err) ||
	    crypto_random(rb->header + 32, CRYPTO_SALT, err) ||
	    crypto_seal_key(c, "vmkit index", rb->header + 32, &rb->key, err)) {
		run_builder_discard(rb);
		return -1;
	}
	memcpy(rb->name, "index/", 6);
	hex_encode(id, sizeof(id), rb->name + 6);
	if (backend_writer_new(b, rb->name, &rb->writer, err)) {
		run_builder_discard(rb);
		return -1;
	}
	*ret = rb;
	return 0;
}

void run_builder_discard(struct run_builder *rb)
{
	if (!rb)
		return;
	backend_writer_close(rb->writer, false);
	OPENSSL_cleanse(&rb->key, sizeof(rb->key));
	free(rb->packs);
	free(rb->filter);
	free(rb->firsts);
	free(rb->out);
	free(rb);
}

static int write_out(struct run_builder *rb, struct err *err)
{
	size_t len = rb->n_out * INDEX_BLOCK;

	if (len && backend_writer_write(rb->writer, rb->off, rb->out, len, err))
		return -1;
	rb->off += len;
	rb->n_out = 0;
	return 0;
}

static int end_block(struct run_builder *rb, struct err *err)
{
	struct seal s = {.part = INDEX_PART_BLOCK, .number = rb->n_blocks};

	if (!rb->used)
		return 0;
	put_le16(rb->block + INDEX_BLOCK_ENTRIES * INDEX_ENTRY, (uint16_t)rb->used);
	if (crypto_seal(rb->crypto, &rb->key, &s, rb->block, INDEX_BLOCK - CRYPTO_TAG,
			rb->out + rb->n_out * INDEX_BLOCK, err))
		return -1;
	rb->n_out++;
	if (rb->n_blocks == rb->cap_firsts) {
		size_t cap = rb->cap_firsts ? 2 * rb->cap_firsts : 1024;
		uint64_t *p = realloc(rb->firsts, cap * sizeof(*p));

		if (!p)
			return err_nomem(err);
		rb->firsts = p;
		rb->cap_firsts = cap;
	}
	memcpy(&rb->firsts[rb->n_blocks], rb->block, 8); /* big endian, as the id is */
	rb->n_blocks++;
	rb->used = 0;
	memset(rb->block, 0, sizeof(rb->block));
	return rb->n_out == OUT_BLOCKS ? write_out(rb, err) : 0;
}

static int compare_packs(const void *a, const void *b)
{
	return memcmp(a, b, PACK_ID);
}

int run_builder_add(struct run_builder *rb, const struct index_entry *e, struct err *err)
{
	const struct blob_place *p = &e->place;
	const uint8_t *pack;
	uint8_t *out = rb->block + rb->used * INDEX_ENTRY;

	/* The same copy known twice, by two runs or two adopters */
	if (rb->n_entries && !index_entry_compare(&rb->last, e))
		return 0;
	pack = bsearch(p->pack, rb->packs, rb->n_packs, PACK_ID, compare_packs);
	if (!pack || !p->len || p->len > BLOB_MAX || p->off >= FRAME_RAW_MAX ||
	    p->section_len >= 1U << 22)
		return err_set(err, ERR_FAILED, "a blob of %u bytes at %u cannot be indexed",
			       p->len, p->off);
	memcpy(out, e->id.bytes, 32);
	put_le64(out + 32, p->section_off | (uint64_t)((pack - rb->packs) / PACK_ID) << 32 |
				   (uint64_t)p->type << 56);
	put_le64(out + 40, p->section_len | (uint64_t)p->off << 22 | (uint64_t)(p->len - 1) << 43);
	index_filter_add(rb->filter, rb->n_filter, &e->id);
	rb->last = *e;
	rb->n_entries++;
	return ++rb->used == INDEX_BLOCK_ENTRIES ? end_block(rb, err) : 0;
}

static int write_part(struct run_builder *rb, unsigned part, const void *data, uint64_t len,
		      struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(INDEX_PIECE + CRYPTO_TAG);

	if (!piece)
		return err_nomem(err);
	for (uint64_t done = 0, number = 0; done < len; number++) {
		size_t n = (size_t)min_u64(INDEX_PIECE, len - done);
		struct seal s = {.part = part, .number = number};

		if (crypto_seal(rb->crypto, &rb->key, &s, (const uint8_t *)data + done, n, piece,
				err) ||
		    backend_writer_write(rb->writer, rb->off, piece, n + CRYPTO_TAG, err))
			return -1;
		done += n;
		rb->off += n + CRYPTO_TAG;
	}
	return 0;
}

static int finish(struct run_builder *rb, struct err *err)
{
	struct seal s = {
		.part = INDEX_PART_HEADER, .aad = rb->header, .aad_len = INDEX_HEADER - CRYPTO_TAG};
	struct backend_writer *w;

	if (end_block(rb, err) || write_out(rb, err))
		return -1;
	put_le64(rb->header + 64, rb->n_entries);
	put_le32(rb->header + 72, rb->n_blocks);
	put_le32(rb->header + 76, (uint32_t)rb->n_packs);
	put_le64(rb->header + 80, rb->n_filter * 64);
	for (uint64_t i = 0; i < rb->n_filter * 8; i++)
		put_le64(&rb->filter[i], rb->filter[i]);
	if (crypto_seal(rb->crypto, &rb->key, &s, NULL, 0, rb->header + INDEX_HEADER - CRYPTO_TAG,
			err) ||
	    write_part(rb, INDEX_PART_FIRSTS, rb->firsts, (uint64_t)rb->n_blocks * 8, err) ||
	    write_part(rb, INDEX_PART_FILTER, rb->filter, rb->n_filter * 64, err) ||
	    write_part(rb, INDEX_PART_PACKS, rb->packs, rb->n_packs * PACK_ID, err) ||
	    backend_writer_write(rb->writer, 0, rb->header, INDEX_HEADER, err))
		return -1;
	w = steal_ptr(&rb->writer);
	return backend_writer_commit(w, rb->off, err);
}

int run_builder_finish(struct run_builder *rb, char ret_name[INDEX_NAME_MAX], struct err *err)
{
	int rc = finish(rb, err);

	if (!rc)
		memcpy(ret_name, rb->name, INDEX_NAME_MAX);
	run_builder_discard(rb);
	return rc;
}

int index_entry_compare(const void *a, const void *b)
{
	const struct index_entry *x = a, *y = b;
	int d = memcmp(&x->id, &y->id, sizeof(x->id));

	if (!d)
		d = memcmp(x->place.pack, y->place.pack, PACK_ID);
	if (!d)
		d = (x->place.section_off > y->place.section_off) -
		    (x->place.section_off < y->place.section_off);
	if (!d)
		d = (x->place.off > y->place.off) - (x->place.off < y->place.off);
	return d;
}

static size_t unique_packs(uint8_t *packs, size_t n)
{
	size_t kept = 0;

	qsort(packs, n, PACK_ID, compare_packs);
	for (size_t i = 0; i < n; i++)
		if (!kept || memcmp(packs + i * PACK_ID, packs + (kept - 1) * PACK_ID, PACK_ID))
			memmove(packs + kept++ * PACK_ID, packs + i * PACK_ID, PACK_ID);
	return kept;
}

int index_write(struct backend *b, struct crypto *c, struct index_entry *entries, size_t n,
		uint8_t *packs, size_t n_packs, char ret_name[INDEX_NAME_MAX], struct err *err)
{
	struct run_builder *rb;

	n_packs = unique_packs(packs, n_packs);
	qsort(entries, n, sizeof(*entries), index_entry_compare);
	if (run_builder_new(&rb, b, c, packs, n_packs, n, err))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (run_builder_add(rb, &entries[i], err)) {
			run_builder_discard(rb);
			return -1;
		}
	return run_builder_finish(rb, ret_name, err);
}

struct cursor {
	struct run *run;
	uint32_t block; /* next one */
	size_t at, n;
	struct index_entry entries[INDEX_BLOCK_ENTRIES];
};

/* Return: the entry a cursor stands on; NULL at the end or with an error in @err */
static struct index_entry *current(struct cursor *c, struct err *err)
{
	while (c->at == c->n) {
		if (c->block == c->run->n_blocks ||
		    run_block(c->run, c->block++, c->entries, &c->n, err))
			return NULL;
		c->at = 0;
	}
	return &c->entries[c->at];
}

static int merge_loop(struct run_builder *rb, struct cursor *cs, size_t n, const uint8_t *without,
		      size_t n_without, struct err *err)
{
	for (;;) {
		struct index_entry *least = NULL;
		struct cursor *from = NULL;

		for (size_t i = 0; i < n; i++) {
			struct err e = ERR_INIT;
			struct index_entry *x = current(&cs[i], &e);

			if (e.code) {
				*err = e;
				return -1;
			}
			if (x && (!least || index_entry_compare(x, least) < 0)) {
				least = x;
				from = &cs[i];
			}
		}
		if (!least)
			return 0;
		if (!pack_in(without, n_without, least->place.pack) &&
		    run_builder_add(rb, least, err))
			return -1;
		from->at++;
	}
}

bool pack_in(const uint8_t *packs, size_t n, const uint8_t pack[PACK_ID])
{
	return n && bsearch(pack, packs, n, PACK_ID, compare_packs);
}

int index_merge(struct backend *b, struct crypto *c, struct run **runs, size_t n,
		const uint8_t *without, size_t n_without, char ret_name[INDEX_NAME_MAX],
		struct err *err)
{
	CLEANUP_FREE struct cursor *cs = calloc(n, sizeof(*cs));
	CLEANUP_FREE uint8_t *packs = NULL;
	struct run_builder *rb;
	uint64_t entries = 0;
	size_t n_packs = 0;

	for (size_t i = 0; i < n; i++) {
		entries += runs[i]->n_entries;
		n_packs += runs[i]->n_packs;
	}
	packs = malloc(n_packs * PACK_ID + 1);
	if (!cs || !packs)
		return err_nomem(err);
	n_packs = 0;
	for (size_t i = 0; i < n; i++) {
		cs[i].run = runs[i];
		for (uint32_t k = 0; k < runs[i]->n_packs; k++) {
			const uint8_t *id = runs[i]->packs + (size_t)k * PACK_ID;

			if (!pack_in(without, n_without, id))
				memcpy(packs + n_packs++ * PACK_ID, id, PACK_ID);
		}
	}
	ret_name[0] = 0;
	if (!n_packs)
		return 0;
	n_packs = unique_packs(packs, n_packs);
	if (run_builder_new(&rb, b, c, packs, n_packs, entries, err))
		return -1;
	if (merge_loop(rb, cs, n, without, n_without, err)) {
		run_builder_discard(rb);
		return -1;
	}
	return run_builder_finish(rb, ret_name, err);
}
