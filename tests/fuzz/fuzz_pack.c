/* Packs, frames, config and keys. What a tag protects is sealed here with the known key of a repository without
 * encryption, so that the parsers behind the tags see the fuzzer's bytes. First byte: which parser. */
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/repo/keys.h"
#include "libcommon/repo/pack.h"
#include "libcommon/repo/parity_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t uuid[CRYPTO_UUID], pack_id[PACK_ID];
static struct crypto *crypto;

struct memory {
	uint8_t *bytes;
	size_t len;
};

static int memory_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *err)
{
	const struct memory *m = ctx;

	if (!range_inside(off, len, m->len))
		return err_set(err, ERR_CORRUPT, "ends before");
	memcpy(buf, m->bytes + off, len);
	return 0;
}

static void read_pack(struct memory *m)
{
	struct pack_source src = {.read = memory_read, .ctx = m, .size = m->len};
	struct pack_contents pc = {0};
	struct err err = ERR_INIT;
	uint64_t end;

	if (pack_read_header(crypto, &src, &err))
		return;
	if (!pack_read_table(crypto, &src, &pc, NULL, &err))
		pack_contents_free(&pc);
	if (!pack_scan(crypto, &src, true, &pc, &end, &err))
		pack_contents_free(&pc);
}

/* A pack with a right header, and the fuzzer's bytes as sections, or as a frame's sealed blob table and payload. */
static void fuzz_pack(const uint8_t *data, size_t size, bool seal_it)
{
	struct memory m = {.bytes = calloc(1, PACK_HEADER + size + 4096), .len = PACK_HEADER};
	struct err err = ERR_INIT;
	struct seal_key key;
	uint8_t *section = m.bytes + PACK_HEADER;

	if (pack_header_encode(crypto, pack_id, m.bytes, &key, &err))
		abort();
	if (!seal_it) {
		memcpy(section, data, size);
		m.len += size;
	} else if (size > 4) {
		uint32_t table = 512 * (1 + data[0] % 4), payload;
		struct seal s = {.aad = pack_id,
				 .aad_len = PACK_ID,
				 .aad2 = section,
				 .aad2_len = FRAME_HEADER};

		memcpy(section, "VMFR", 4);
		section[4] = data[1];
		section[5] = data[2];
		data += 3;
		size -= 3;
		payload = size > table ? (uint32_t)(size - table) : 1;
		put_le32(section + 12, table);
		put_le32(section + 16, payload);
		memcpy(section + FRAME_HEADER, data, size < table ? size : table);
		if (crypto_seal(crypto, &key, &s, section + FRAME_HEADER, table,
				section + FRAME_HEADER, &err))
			abort();
		s.part = 1;
		if (crypto_seal(crypto, &key, &s, size > table ? data + table : data, payload,
				section + FRAME_HEADER + table + CRYPTO_TAG, &err))
			abort();
		m.len += FRAME_HEADER + table + payload + 2 * CRYPTO_TAG;
	}
	read_pack(&m);
	free(m.bytes);
}

static void fuzz_table(const uint8_t *data, size_t size)
{
	struct pack_contents pc = {0};
	struct err err = ERR_INIT;

	if (!pack_table_decode(data, size, 64 << 20, &pc, &err)) {
		uint8_t *again;
		size_t len;

		if (pack_table_encode(&pc, &again, &len, &err) || len != size ||
		    memcmp(again, data, size))
			abort();
		free(again);
		pack_contents_free(&pc);
	} else if (err.code == ERR_NONE) {
		abort();
	}
}

static void fuzz_small(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct repo_config cfg;
	uint8_t *plain;
	size_t len;

	if (!config_decode(data, size, &cfg, &err)) {
		uint8_t again[CONFIG_SIZE];

		config_encode(&cfg, again);
		if (memcmp(again, data, CONFIG_MAC_OFF))
			abort();
	}
	(void)keyfile_check(data, size, uuid, &err);
	if (!sealed_decode(crypto, SEALED_OBJECT, "snapshots/x", data, size, &plain, &len, &err))
		free(plain);
}

/* A map with the fuzzer's shape and hashes, and a right hash of its own, somewhere in a pack of up to 16 blocks. */
static void fuzz_parity(const uint8_t *data, size_t size)
{
	struct parity_report report;
	struct parity_shape shape;
	struct err err = ERR_INIT;
	size_t len = 16 * PARITY_BLOCK, at;
	uint8_t *buf = calloc(1, len), *map;

	if (size < 16) {
		free(buf);
		return;
	}
	at = PARITY_BLOCK * (size_t)(data[0] % 15);
	map = buf + at;
	memcpy(map, "VMKITPAR\1", 9);
	memcpy(map + 12, data + 1, 12);
	memcpy(map + 24, pack_id, PACK_ID);
	memcpy(map + PARITY_HEAD, data + 13,
	       size - 13 < len - at - PARITY_HEAD ? size - 13 : len - at - PARITY_HEAD);
	if (parity_map_shape(map, len - at, pack_id, &shape) &&
	    range_inside(at, (uint64_t)shape.map * PARITY_BLOCK, len))
		put_le64(map + 56, XXH3_64bits(map, (size_t)shape.map * PARITY_BLOCK));
	if (parity_heal(&buf, &len, pack_id, &report, &err) == 0 && report.left > report.bad)
		abort();
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;

	if (!crypto && crypto_new(&crypto, NULL, uuid, &err))
		abort();
	if (!size || size > 1 << 20)
		return 0;
	switch (data[0] & 7) {
	case 4:
		fuzz_parity(data + 1, size - 1);
		break;
	case 0:
		fuzz_small(data + 1, size - 1);
		break;
	case 1:
		fuzz_table(data + 1, size - 1);
		break;
	default:
		fuzz_pack(data + 1, size - 1, data[0] & 1);
	}
	return 0;
}
