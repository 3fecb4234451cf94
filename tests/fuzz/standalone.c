/* Runs a fuzz target over files, for compilers without libFuzzer: fuzz_qcow2 FILE|DIR...
 *
 * With -r N after the files come N mutations of each, made from a fixed seed: a poor man's fuzzer that finds the
 * crude faults and gives the same answer on every machine.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/err.h"
#include "libcommon/base/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long mutations;
static unsigned long runs;

enum { INPUT_MAX = 64 << 20 };

static uint64_t next_random(uint64_t *state)
{
	/* splitmix64: one multiply chain a step, any seed will do */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/** mutate() - one to eight changes: a byte, a run of 0xff, a power of two in big endian, or a shorter end */
static size_t mutate(uint8_t *data, size_t size, uint64_t seed)
{
	static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
	unsigned changes = 1 + (unsigned)(next_random(&seed) % 8);

	for (unsigned i = 0; i < changes && size > 0; i++) {
		uint64_t r = next_random(&seed);
		/* Headers are where the decisions are: half of the changes go there. */
		size_t span = (r & 1) && size > 512 ? 512 : size;
		size_t at = (size_t)((r >> 16) % span);
		size_t len = 1U << ((r >> 4) & 3);

		if (len > size - at)
			len = size - at;
		switch ((r >> 1) & 7) {
		case 0:
			size = at;
			break;
		case 1:
			memset(data + at, 0xff, len);
			break;
		case 2:
			memset(data + at, 0, len);
			data[at + (size_t)(r >> 8 & 7) % len] = (uint8_t)(1U << (r >> 12 & 7));
			break;
		case 3:
			data[at] = edges[(r >> 8) % sizeof(edges)];
			break;
		default:
			data[at] ^= (uint8_t)(1U << (r >> 8 & 7));
		}
	}
	return size;
}

/** run_one() - in a block of exactly its size, so that a sanitizer sees a read past the end */
static int run_one(const void *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy) {
		fprintf(stderr, "out of memory\n");
		return -1;
	}
	memcpy(copy, data, size);
	(void)LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	runs++;
	return 0;
}

static int run_file(const char *path)
{
	struct err err = ERR_INIT;
	CLEANUP_FREE char *data = NULL;
	CLEANUP_FREE uint8_t *changed = NULL;
	size_t size;

	if (io_read_file(path, INPUT_MAX, &data, &size, &err) < 0) {
		fprintf(stderr, "%s: %s\n", path, err.message);
		return -1;
	}
	if (run_one(data, size) < 0)
		return -1;
	changed = malloc(size + 1);
	if (!changed)
		return -1;
	for (unsigned long i = 0; i < mutations; i++) {
		memcpy(changed, data, size);
		if (run_one(changed, mutate(changed, size, i + 1)) < 0)
			return -1;
	}
	return 0;
}

static int run_path(const char *path)
{
	struct dirent **names;
	struct stat st;
	int count, ret = 0;

	if (stat(path, &st) < 0) {
		perror(path);
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	count = scandir(path, &names, NULL, alphasort);
	if (count < 0) {
		perror(path);
		return -1;
	}
	for (int i = 0; i < count; i++) {
		char child[4096];

		if (names[i]->d_name[0] != '.' && ret == 0) {
			int n = snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);

			ret = n > 0 && (size_t)n < sizeof(child) ? run_path(child) : -1;
		}
		free(names[i]);
	}
	free(names);
	return ret;
}

int main(int argc, char **argv)
{
	int first = 1;

	if (argc > 2 && strcmp(argv[1], "-r") == 0) {
		char *end;

		mutations = strtoul(argv[2], &end, 10);
		if (*end != '\0' || end == argv[2])
			first = argc;
		else
			first = 3;
	}
	if (first >= argc) {
		fprintf(stderr, "usage: %s [-r MUTATIONS] FILE|DIR...\n", argv[0]);
		return 2;
	}
	for (int i = first; i < argc; i++) {
		if (run_path(argv[i]) < 0)
			return 1;
	}
	printf("%lu runs\n", runs);
	return 0;
}
