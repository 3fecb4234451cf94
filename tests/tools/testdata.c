// testdata: bytes and disks for tests, a function of the arguments: the same seed, the same bytes
//
//	testdata bytes SEED LENGTH			bytes that do not compress, to standard output
//	testdata image FILE SIZE SEED PIECES		a sparse file with PIECES runs of data: of 512 bytes to 128 KiB, at
//							multiples of 512; random, text that compresses, or written zeros
//
// A program of its own because a shell starts six processes for each piece.

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_MAX (256 * 512)

static uint64_t number(const char *text)
{
	char *end;

	errno = 0;
	uint64_t value = strtoull(text, &end, 0);

	if (errno || *end || !*text || *text == '-')
		errx(2, "not a number: '%s'", text);
	return value;
}

// SplitMix64 (public domain, Steele, Lea and Flood 2014): each call gives the next eight bytes of the seed's stream.
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void random_fill(uint64_t *state, unsigned char *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t value = next(state);

		memcpy(buf + i, &value, len - i < 8 ? len - i : 8);
	}
}

static int bytes(uint64_t seed, uint64_t length)
{
	static unsigned char buf[1 << 16];

	while (length) {
		size_t n = length < sizeof buf ? (size_t)length : sizeof buf;

		random_fill(&seed, buf, n);
		if (fwrite(buf, 1, n, stdout) != n)
			return errno == EPIPE ? 0 : (warn("standard output"), 1);
		length -= n;
	}
	return fflush(stdout) ? (warn("standard output"), 1) : 0;
}

// What decides where the pieces are and how long: 31 bits, as the tests' shell functions count.
static uint64_t step(uint64_t state)
{
	return (state * 1103515245 + 12345) & 0x7fffffff;
}

static int image(const char *path, uint64_t size, uint64_t state, uint64_t pieces)
{
	static unsigned char buf[PIECE_MAX];
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0 || ftruncate(fd, (off_t)size))
		err(1, "%s", path);
	for (uint64_t i = 0; i < pieces && size >= 512; i++) {
		state = step(state);
		uint64_t off = state * 512 % (size / 512 * 512);
		state = step(state);
		uint64_t len = (state >> 8) % 256 * 512 + 512, seed = state;
		char line[64];

		if (len > size - off)
			len = size - off;
		int n = snprintf(line, sizeof line, "piece %" PRIu64 " at %" PRIu64 "\n", i, off);
		switch (state >> 20 & 3) {
		case 0:
			for (size_t k = 0; k < len; k++)
				buf[k] = (unsigned char)line[k % (size_t)n];
			break;
		case 1:
			memset(buf, 0, len);
			break;
		default:
			random_fill(&seed, buf, len);
			break;
		}
		if (pwrite(fd, buf, len, (off_t)off) != (ssize_t)len)
			err(1, "%s", path);
	}
	if (close(fd))
		err(1, "%s", path);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "bytes"))
		return bytes(number(argv[2]), number(argv[3]));
	if (argc == 6 && !strcmp(argv[1], "image"))
		return image(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
	errx(2, "testdata bytes SEED LENGTH | testdata image FILE SIZE SEED PIECES");
}
