/* Is an initial RAM disk whole? Plain cpio archives and zstd streams, which initramfs-tools makes, tell; a kernel that gets
 * half an archive says so in one line among hundreds and boots on without its modules. See linux.h. */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/linux.h"

enum { CPIO_HEADER = 110, CPIO_SIZE = 54, CPIO_NAME_SIZE = 94 };

static int cut_off(const char *what, uint64_t at, size_t len, struct err *err)
{
	return err_set(err, ERR_CORRUPT,
		       "cut off: %s at %" PRIu64 " ends beyond the end of the file, %zu bytes",
		       what, at, len);
}

static bool hex8(const uint8_t *p, uint32_t *ret)
{
	uint32_t v = 0;

	for (int i = 0; i < 8; i++) {
		unsigned c = p[i] | 0x20U;

		if (p[i] >= '0' && p[i] <= '9')
			v = v << 4 | (p[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (c - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

static bool is_cpio(const uint8_t *p, size_t len)
{
	return len >= 6 && (memcmp(p, "070701", 6) == 0 || memcmp(p, "070702", 6) == 0);
}

/* Over one archive, its trailer included; not all who make archives write one, so its end may be the file's behind a whole
 * member. Return: 1 with *@at behind it, 0 when it cannot be told, -1 */
static int walk_cpio(const uint8_t *data, size_t len, uint64_t *at, struct err *err)
{
	do {
		uint32_t size, name;
		uint64_t body, next;

		if (!is_cpio(data + *at,
			     len - *at)) /* the kernel looks for zeros or the next one */
			return err_set(err, ERR_CORRUPT, "no cpio header at %" PRIu64, *at);
		if (len - *at < CPIO_HEADER)
			return cut_off("a header", *at, len, err);
		if (!hex8(data + *at + CPIO_SIZE, &size) ||
		    !hex8(data + *at + CPIO_NAME_SIZE, &name))
			return err_set(err, ERR_CORRUPT, "no cpio header at %" PRIu64, *at);
		body = round_up(*at + CPIO_HEADER + name, 4);
		next = round_up(body + size, 4);
		if (body > len || body + size > len)
			return cut_off("a file", *at, len, err);
		if (name == 11 && memcmp(data + *at + CPIO_HEADER, "TRAILER!!!", 11) == 0) {
			*at = min_u64(next, len);
			return 1;
		}
		*at = min_u64(next, len);
	} while (*at < len);
	return 1;
}

/* Frames of RFC 8878: a header of 2 to 14 bytes, blocks that tell their sizes, a checksum if the header says so */
static int walk_zstd(const uint8_t *data, size_t len, uint64_t *at, struct err *err)
{
	static const uint8_t id_sizes[] = {0, 1, 2, 4}, size_sizes[] = {0, 2, 4, 8};
	uint64_t start = *at, p = *at + 4;
	uint8_t d;

	if (p >= len)
		return cut_off("a zstd stream", start, len, err);
	d = data[p++];
	p += !(d & 0x20);	     /* window */
	p += id_sizes[d & 3];	     /* dictionary */
	p += size_sizes[d >> 6];     /* content size */
	p += (d & 0x20) && d < 0x40; /* a size of one byte */
	for (bool last = false; !last;) {
		uint32_t block;

		if (p > len || len - p < 3)
			return cut_off("a zstd stream", start, len, err);
		block = data[p] | (uint32_t)data[p + 1] << 8 | (uint32_t)data[p + 2] << 16;
		last = block & 1;
		p += 3 + ((block >> 1 & 3) == 1 ? 1 : block >> 3);
	}
	p += d & 4 ? 4 : 0;
	if (p > len)
		return cut_off("a zstd stream", start, len, err);
	*at = p;
	return 1;
}

int linux_check_initrd(const uint8_t *data, size_t len, struct err *err)
{
	uint64_t at = 0;
	bool any = false;

	while (at < len) {
		int rc;

		if (is_cpio(data + at, len - at))
			rc = walk_cpio(data, len, &at, err);
		else if (len - at >= 4 && get_le32(data + at) == 0xfd2fb528)
			rc = walk_zstd(data, len, &at, err);
		else if (data[at] == 0 && any) { /* padding between archives */
			at++;
			continue;
		} else
			return 0; /* gzip, xz, lz4, ...: the kernel will see */
		if (rc <= 0)
			return rc;
		any = true;
	}
	return 0;
}
