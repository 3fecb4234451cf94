/* Index runs: the header's fields and the parts are the fuzzer's, sealed with the known key of a repository without
 * encryption, so that the parser behind the tags sees them. An even first byte leaves the bytes as they are. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/repo/index_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct crypto *crypto;

struct memory {
	struct backend_object base;
	uint8_t *bytes;
	size_t len;
};

static int memory_read(struct backend_object *o, uint64_t off, void *buf, size_t len,
		       struct err *err)
{
	const struct memory *m = (struct memory *)o;

	if (!range_inside(off, len, m->len))
		return err_set(err, ERR_CORRUPT, "ends before");
	memcpy(buf, m->bytes + off, len);
	return 0;
}

static void memory_close(struct backend_object *o)
{
	free(((struct memory *)o)->bytes);
	free(o);
}

static const struct backend_ops ops = {.read = memory_read, .object_close = memory_close};

static void seal_part(struct memory *m, const struct seal_key *key, unsigned part, size_t *off,
		      size_t len, size_t piece, size_t room)
{
	struct err err = ERR_INIT;

	for (size_t number = 0; len && *off < room; number++) {
		size_t n = len < piece ? len : piece;
		struct seal s = {.part = part, .number = number};

		if (n + CRYPTO_TAG > room - *off)
			return;
		if (crypto_seal(crypto, key, &s, m->bytes + *off, n, m->bytes + *off, &err))
			abort();
		*off += n + CRYPTO_TAG;
		len -= n;
	}
}

/* Header fields as they are, tags made right wherever the header says that a part lies. */
static void make_authentic(struct memory *m)
{
	struct seal s = {.aad = m->bytes, .aad_len = INDEX_HEADER - CRYPTO_TAG};
	uint32_t blocks = get_le32(m->bytes + 72) % 64, packs = get_le32(m->bytes + 76) % 1024;
	uint64_t filter = get_le64(m->bytes + 80) % 8192;
	size_t off = INDEX_HEADER;
	struct err err = ERR_INIT;
	struct seal_key key;

	memcpy(m->bytes, index_magic, 8);
	put_le32(m->bytes + 8, 1);
	memset(m->bytes + 12, 0, 4);
	memset(m->bytes + 16, 0, 16);
	memset(m->bytes + 88, 0, 24);
	if (crypto_seal_key(crypto, "vmkit index", m->bytes + 32, &key, &err) ||
	    crypto_seal(crypto, &key, &s, NULL, 0, m->bytes + INDEX_HEADER - CRYPTO_TAG, &err))
		abort();
	for (uint32_t i = 0; i < blocks && off + INDEX_BLOCK <= m->len; i++) {
		struct seal b = {.part = INDEX_PART_BLOCK, .number = i};

		if (crypto_seal(crypto, &key, &b, m->bytes + off, INDEX_BLOCK - CRYPTO_TAG,
				m->bytes + off, &err))
			abort();
		off += INDEX_BLOCK;
	}
	seal_part(m, &key, INDEX_PART_FIRSTS, &off, 8 * (size_t)blocks, INDEX_PIECE, m->len);
	seal_part(m, &key, INDEX_PART_FILTER, &off, filter, INDEX_PIECE, m->len);
	seal_part(m, &key, INDEX_PART_PACKS, &off, PACK_ID * (size_t)packs, INDEX_PIECE, m->len);
	if (off <= m->len)
		m->len = off;
}

static void use(struct run *r)
{
	struct index_entry entries[INDEX_BLOCK_ENTRIES];
	struct blob_place places[INDEX_PLACES];
	struct err err = ERR_INIT;
	struct repo_id id = {{0}};
	size_t n;

	for (uint32_t i = 0; i < r->n_blocks; i++) {
		if (run_block(r, i, entries, &n, &err))
			continue;
		for (size_t j = 0; j < n; j++)
			(void)run_find(r, &entries[j].id, places, INDEX_PLACES, &err);
	}
	(void)run_find(r, &id, places, INDEX_PLACES, &err);
	(void)run_has_pack(r, id.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[CRYPTO_UUID];
	struct err err = ERR_INIT;
	struct memory *m;
	struct run *r;

	if (!crypto && crypto_new(&crypto, NULL, uuid, &err))
		abort();
	if (size < 1 + INDEX_HEADER || size > 1 << 20)
		return 0;
	m = calloc(1, sizeof(*m));
	m->base.ops = &ops;
	m->len = size - 1;
	m->bytes = malloc(m->len);
	memcpy(m->bytes, data + 1, m->len);
	if (data[0] & 1)
		make_authentic(m);
	if (!run_open_object(&r, crypto, "index/fuzz", &m->base, m->len, &err)) {
		use(r);
		run_free(r);
	}
	return 0;
}
