/* imgio: what qemu-io is to QEMU, over our library: reads and writes by command, for differential tests.
 *
 *	imgio [-f FORMAT] [-r] [-U] [-a DIR] IMAGE [COMMAND]...		without commands: lines of stdin
 *
 *	read OFF LEN [PATTERN]	fails when a byte differs from PATTERN
 *	write OFF LEN PATTERN	zero OFF LEN	unmap OFF LEN	discard OFF LEN
 *	flush			resize SIZE	extents		sum
 *	random SEED COUNT [ALIGN]	COUNT random operations, printed as they are done
 *
 * What random prints is a script for qemu-io and for imgio alike: qemu-io's forms ("write -P 7 OFF LEN",
 * "write -z [-u] OFF LEN", "read -P 7 OFF LEN", "truncate SIZE") are understood as well.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/size.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol/nbd.h"
#include "libcommon/image/secret.h"

enum { CHUNK = 1 << 20, MAX_WORDS = 8 };

static int do_read(struct image *img, uint64_t off, uint64_t len, int pattern, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK);

	if (!buf)
		return err_nomem(err);
	while (len) {
		size_t n = (size_t)min_u64(len, CHUNK);

		if (image_read(img, buf, off, n, err) < 0)
			return -1;
		for (size_t i = 0; pattern >= 0 && i < n; i++)
			if (buf[i] != pattern)
				return err_set(err, ERR_DIFFERS, "byte %" PRIu64 " is %u, not %d",
					       off + i, buf[i], pattern);
		off += n;
		len -= n;
	}
	return 0;
}

static int do_write(struct image *img, uint64_t off, uint64_t len, int pattern, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK);

	if (!buf)
		return err_nomem(err);
	memset(buf, pattern, CHUNK);
	while (len) {
		size_t n = (size_t)min_u64(len, CHUNK);

		if (image_write(img, buf, off, n, err) < 0)
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

static int do_extents(struct image *img, struct err *err)
{
	static const char *const kinds[] = {"data", "zero", "unallocated"};
	uint64_t off = 0, size = image_size(img);

	while (off < size) {
		struct extent e;

		if (image_extent(img, off, size - off, &e, err) < 0)
			return -1;
		printf("%" PRIu64 " %" PRIu64 " %s depth=%u codec=%d", e.off, e.len, kinds[e.kind],
		       e.depth, e.codec);
		if (e.file)
			printf(" host=%" PRIu64, e.host_off);
		putchar('\n');
		off += e.len;
	}
	return 0;
}

static int do_sum(struct image *img, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = NULL;
	char hex[DIGEST_HEX_MAX];
	struct digest *d;
	uint64_t off = 0;
	int r = 0;

	if (digest_new(&d, "sha256", err) < 0)
		return -1;
	buf = malloc(CHUNK);
	if (!buf)
		r = err_nomem(err);
	while (r == 0) {
		ssize_t n;

		if (image_is_stream(img)) {
			n = image_read_stream(img, buf, CHUNK, err);
		} else {
			n = (ssize_t)min_u64(CHUNK, image_size(img) - off);
			if (n && image_read(img, buf, off, (size_t)n, err) < 0)
				n = -1;
		}
		if (n <= 0) {
			r = (int)n;
			break;
		}
		r = digest_update(d, buf, (size_t)n, err);
		off += (uint64_t)n;
	}
	if (r == 0 && digest_final(d, hex, err) == 0)
		printf("%s\n", hex);
	digest_free(d);
	return r;
}

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* Few hot places, so that operations meet each other; lengths from a sector to some clusters. */
static void random_range(uint64_t *state, uint64_t size, uint64_t align, uint64_t *ret_off,
			 uint64_t *ret_len)
{
	uint64_t r = next_random(state), span = size / align, off;
	uint64_t len = 1 + (next_random(state) % (1U << (next_random(state) % 10)));

	if (r & 1)
		off = (r >> 8) % span;
	else
		off = min_u64(((r >> 8) % 8) * (span / 8) + (r >> 16) % 256, span - 1);
	*ret_off = off * align;
	*ret_len = min_u64(len, span - off) * align;
}

static int do_random(struct image *img, uint64_t seed, uint64_t count, uint64_t align,
		     struct err *err)
{
	uint64_t state = seed, size = image_size(img);
	int r = 0;

	if (!align || size < align)
		return err_set(err, ERR_USAGE, "the disk is smaller than the alignment");
	while (count-- && r == 0) {
		unsigned what = (unsigned)(next_random(&state) % 16);
		unsigned pattern = 1 + (unsigned)(next_random(&state) % 255);
		uint64_t off, len;

		random_range(&state, size, align, &off, &len);
		if (what < 11) {
			printf("write -P %u %" PRIu64 " %" PRIu64 "\n", pattern, off, len);
			r = do_write(img, off, len, (int)pattern, err);
		} else if (what < 14) {
			printf("write -z %s%" PRIu64 " %" PRIu64 "\n", what == 11 ? "-u " : "", off,
			       len);
			r = image_write_zeroes(img, off, len, what == 11, err);
		} else if (what == 14) {
			printf("read %" PRIu64 " %" PRIu64 "\n", off, len);
			r = do_read(img, off, len, -1, err);
		} else {
			printf("flush\n");
			r = image_flush(img, err);
		}
	}
	return r;
}

static int number(const char *word, uint64_t *ret, struct err *err)
{
	char *end;

	if (word && strncmp(word, "0x", 2) == 0) {
		*ret = strtoull(word, &end, 16);
		return *end ? err_set(err, ERR_USAGE, "%s is no number", word) : 0;
	}
	return word ? size_parse(word, ret, err) : err_set(err, ERR_USAGE, "a number is missing");
}

struct command {
	const char *words[MAX_WORDS];
	int n;
	bool zero, unmap;
	uint64_t pattern; /* UINT64_MAX: none */
};

/* Options in qemu-io's form are taken out of the words. */
static int parse(char *line, struct command *c, struct err *err)
{
	char *save, *word;

	*c = (struct command){.pattern = UINT64_MAX};
	for (word = strtok_r(line, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save)) {
		if (strcmp(word, "-z") == 0)
			c->zero = true;
		else if (strcmp(word, "-u") == 0)
			c->unmap = true;
		else if (strcmp(word, "-q") == 0)
			continue;
		else if (strcmp(word, "-P") == 0) {
			if (number(strtok_r(NULL, " \t\n", &save), &c->pattern, err) < 0)
				return -1;
		} else if (c->n < MAX_WORDS)
			c->words[c->n++] = word;
	}
	if (c->n == 4 && c->pattern == UINT64_MAX &&
	    (strcmp(c->words[0], "read") == 0 || strcmp(c->words[0], "write") == 0))
		return number(c->words[3], &c->pattern, err);
	return 0;
}

static int run_range(struct image *img, const struct command *c, struct err *err)
{
	const char *verb = c->words[0];
	int pattern = c->pattern == UINT64_MAX ? -1 : (int)(c->pattern & 255);
	uint64_t off, len;

	if (number(c->n > 1 ? c->words[1] : NULL, &off, err) < 0 ||
	    number(c->n > 2 ? c->words[2] : NULL, &len, err) < 0)
		return -1;
	if (strcmp(verb, "read") == 0)
		return do_read(img, off, len, pattern, err);
	if (strcmp(verb, "write") == 0 && !c->zero) /* 0xcd: qemu-io's own default */
		return do_write(img, off, len, pattern < 0 ? 0xcd : pattern, err);
	if (strcmp(verb, "write") == 0 || strcmp(verb, "zero") == 0)
		return image_write_zeroes(img, off, len, c->unmap, err);
	if (strcmp(verb, "unmap") == 0)
		return image_write_zeroes(img, off, len, true, err);
	if (strcmp(verb, "discard") == 0)
		return image_discard(img, off, len, err);
	return err_set(err, ERR_USAGE, "unknown command %s", verb);
}

static int run(struct image *img, char *line, struct err *err)
{
	struct command c;
	uint64_t a, b, align = 512;

	if (parse(line, &c, err) < 0)
		return -1;
	if (c.n == 0 || c.words[0][0] == '#')
		return 0;
	if (strcmp(c.words[0], "flush") == 0) {
		if (image_flush(img, err) < 0)
			return -1;
		(void)fdatasync(-1); /* tells tests/preload/record.c, and nobody else */
		return 0;
	}
	if (strcmp(c.words[0], "extents") == 0)
		return do_extents(img, err);
	if (strcmp(c.words[0], "sum") == 0)
		return do_sum(img, err);
	if (strcmp(c.words[0], "resize") == 0 || strcmp(c.words[0], "truncate") == 0) {
		if (number(c.n > 1 ? c.words[1] : NULL, &a, err) < 0)
			return -1;
		return image_resize(img, a, err);
	}
	if (strcmp(c.words[0], "random") == 0) {
		if (number(c.n > 1 ? c.words[1] : NULL, &a, err) < 0 ||
		    number(c.n > 2 ? c.words[2] : NULL, &b, err) < 0 ||
		    (c.n > 3 && number(c.words[3], &align, err) < 0))
			return -1;
		return do_random(img, a, b, align, err);
	}
	return run_range(img, &c, err);
}

static int run_all(struct image *img, char **commands, struct err *err)
{
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;

	if (*commands) {
		for (; *commands; commands++)
			if (run(img, *commands, err) < 0)
				return -1;
		return 0;
	}
	while (getline(&line, &room, stdin) > 0)
		if (run(img, line, err) < 0)
			return -1;
	return 0;
}

/* IMGIO_PASSWORD: of encrypted images */
static int get_secret(const char *name, bool is_new, char **ret, struct err *err)
{
	const char *text = getenv("IMGIO_PASSWORD");

	(void)name, (void)is_new;
	*ret = text ? strdup(text) : NULL;
	return *ret ? 0 : err_set(err, ERR_DENIED, "IMGIO_PASSWORD is not set");
}

static void release_secret(char *text)
{
	free(text);
}

int main(int argc, char **argv)
{
	static const struct image_secret_source secrets = {get_secret, release_secret};

	const char *allow[16];
	struct image_open_opts opts = {.flags = IMAGE_RDWR, .allow_dirs = allow};
	struct err err = ERR_INIT;
	struct image *img = NULL;
	int c, r;

	/* Who drives us through pipes waits for each answer */
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	nbd_register();
	image_register_secret(&secrets);
	while ((c = getopt(argc, argv, "+f:rUa:")) != -1) {
		if (c == 'f')
			opts.format = optarg;
		else if (c == 'r')
			opts.flags &= ~(unsigned)IMAGE_RDWR;
		else if (c == 'U')
			opts.flags = IMAGE_SHARED;
		else if (c == 'a' && opts.n_allow_dirs < 16)
			allow[opts.n_allow_dirs++] = optarg;
		else
			return 2;
	}
	if (optind >= argc) {
		fprintf(stderr, "usage: imgio [-f FORMAT] [-r] [-U] [-a DIR] IMAGE [COMMAND]...\n");
		return 2;
	}
	r = image_open(&img, argv[optind], &opts, &err);
	if (r == 0)
		r = run_all(img, argv + optind + 1, &err);
	if (r == 0)
		r = image_flush(img, &err);
	image_close(img);
	if (r < 0) {
		fprintf(stderr, "imgio: %s%s%s\n", err.object, err.object[0] ? ": " : "",
			err.message);
		if (err.hint[0])
			fprintf(stderr, "hint: %s\n", err.hint);
		return err_status(err.code);
	}
	return 0;
}
