/* The property list of a DMG, read as a stream: tags are matched, nothing is built, entities do not exist.
 *
 * Only what is needed is understood: <key>blkx</key> <array> ... <key>Data</key> <data>BASE64</data> ... </array>. The
 * list may be as long as the file says; what is kept of it is one tag and one buffer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/dmg/dmg.h"

enum { BUFFER = 16 << 10, WORD = 32, OUT = 3072 };

struct reader {
	struct bfile *file;
	uint64_t off, end; /* of what is not in the buffer yet */
	uint8_t *buf;
	size_t at, n;
};

/* The next byte, *@ret_c -1 at the end */
static int next_byte(struct reader *r, int *ret_c, struct err *err)
{
	if (r->at == r->n) {
		r->n = (size_t)min_u64(BUFFER, r->end - r->off);
		r->at = 0;
		if (r->n && bfile_pread(r->file, r->buf, r->n, r->off, err) < 0)
			return -1;
		r->off += r->n;
	}
	*ret_c = r->at < r->n ? r->buf[r->at++] : -1;
	if (*ret_c) /* no text has zeros: a hole in the file is not walked through */
		return 0;
	return err_set(err, ERR_CORRUPT, "the property list has a zero byte at offset %" PRIu64,
		       r->off - (r->n - r->at) - 1);
}

static uint64_t position(const struct reader *r)
{
	return r->off - (r->n - r->at);
}

static int cut_off(const struct reader *r, struct err *err)
{
	return err_set(err, ERR_CORRUPT,
		       "the property list ends inside an element, at offset %" PRIu64, position(r));
}

/* Behind "<!--" */
static int skip_comment(struct reader *r, struct err *err)
{
	unsigned dashes = 0;
	int c;

	do {
		if (next_byte(r, &c, err) < 0)
			return -1;
		if (c == '>' && dashes >= 2)
			return 0;
		dashes = c == '-' ? dashes + 1 : 0;
	} while (c >= 0);
	return cut_off(r, err);
}

/* Behind "<": the tag up to ">", its first bytes kept */
static int read_tag(struct reader *r, char word[WORD], struct err *err)
{
	size_t n = 0;
	int c;

	for (;;) {
		if (next_byte(r, &c, err) < 0)
			return -1;
		if (c < 0)
			return cut_off(r, err);
		if (c == '>')
			break;
		if (n < WORD - 1)
			word[n++] = (char)c;
		if (n == 3 && memcmp(word, "!--", 3) == 0) {
			word[n] = '\0';
			return skip_comment(r, err);
		}
	}
	word[n] = '\0';
	return 0;
}

/* Text up to "<", its first bytes kept; Return: 1, 0 at the end of the list, -1 */
static int read_text(struct reader *r, char word[WORD], struct err *err)
{
	size_t n = 0;
	int c;

	for (;;) {
		if (next_byte(r, &c, err) < 0)
			return -1;
		if (c < 0 || c == '<')
			break;
		if (n < WORD - 1)
			word[n++] = (char)c;
	}
	word[n] = '\0';
	return c == '<';
}

static int base64_value(int c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool is_blank(int c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Base64 up to "<", handed on decoded */
static int read_data(struct reader *r, const struct dmg_data *out, struct err *err)
{
	uint8_t piece[OUT];
	size_t n = 0;
	uint32_t bits = 0;
	unsigned have = 0;
	bool padded = false;
	int c;

	if (out->begin(out->ctx, err) < 0)
		return -1;
	for (;;) {
		if (next_byte(r, &c, err) < 0)
			return -1;
		if (c < 0)
			return cut_off(r, err);
		if (c == '<')
			break;
		if (is_blank(c))
			continue;
		if (c == '=') {
			padded = true;
			continue;
		}
		if (base64_value(c) < 0 || padded)
			return err_set(err, ERR_CORRUPT,
				       "the property list has no base64 at offset %" PRIu64,
				       position(r) - 1);
		bits = bits << 6 | (uint32_t)base64_value(c);
		have += 6;
		if (have >= 8) {
			have -= 8;
			piece[n++] = (uint8_t)(bits >> have);
		}
		if (n == OUT) {
			if (out->bytes(out->ctx, piece, n, err) < 0)
				return -1;
			n = 0;
		}
	}
	if (n && out->bytes(out->ctx, piece, n, err) < 0)
		return -1;
	return out->end(out->ctx, err);
}

/* Inside the array of block tables, to its end */
static int read_array(struct reader *r, const struct dmg_data *out, struct err *err)
{
	char tag[WORD], text[WORD] = "", key[WORD] = "";
	unsigned depth = 1;
	int rc;

	while (depth && (rc = read_text(r, text, err)) > 0) {
		if (read_tag(r, tag, err) < 0)
			return -1;
		if (strcmp(tag, "array") == 0)
			depth++;
		else if (strcmp(tag, "/array") == 0)
			depth--;
		else if (strcmp(tag, "/key") == 0)
			memcpy(key, text, WORD);
		else if (strcmp(tag, "data") == 0 && strcmp(key, "Data") == 0) {
			/* It consumes the "<" of "</data" */
			if (read_data(r, out, err) < 0 || read_tag(r, tag, err) < 0)
				return -1;
			key[0] = '\0';
		}
		if (depth > 64)
			return err_set(err, ERR_CORRUPT, "arrays in arrays at offset %" PRIu64,
				       position(r));
	}
	return depth == 0 ? 0 : rc < 0 ? -1 : cut_off(r, err);
}

static int find_tables(struct reader *r, const struct dmg_data *out, struct err *err)
{
	char tag[WORD], text[WORD], key[WORD] = "";
	int rc;

	while ((rc = read_text(r, text, err)) > 0) {
		if (read_tag(r, tag, err) < 0)
			return -1;
		if (strcmp(tag, "/key") == 0)
			memcpy(key, text, WORD);
		else if (strcmp(tag, "array") == 0 && strcmp(key, "blkx") == 0)
			return read_array(r, out, err);
	}
	return rc < 0 ? -1
		      : err_set(err, ERR_CORRUPT,
				"the property list at offset %" PRIu64 " has no block tables",
				r->end);
}

int dmg_plist_read(struct bfile *file, uint64_t off, uint64_t len, const struct dmg_data *out,
		   struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(BUFFER);
	struct reader r = {.file = file, .off = off, .end = off + len, .buf = buf};

	return buf ? find_tables(&r, out, err) : err_nomem(err);
}
