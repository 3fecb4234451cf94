/* A hostile kernel that speaks FUSE to the server of shared folders. What it must never reach is a file beside the folder, which
 * is looked at after each input.
 *
 * Input: requests, each of two bytes (how long it is), one (in how many pieces), one (room for the answer, in units of 64
 * bytes), then the request: struct fuse_in_header, its length corrected, and what follows. The share is initialized before.
 */
#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/share.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REQUESTS_MAX = 64, ROOM_MAX = 127 * 64 };

static char dir[128], shared[160], secret[160];
static struct stat before;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	return ftw->level ? remove(path) : 0;
}

static void clean_up(void)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	(void)rmdir(dir);
}

static void put_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "content", 7) != 7 || close(fd) < 0)
		abort();
}

static void make_once(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(dir, sizeof(dir), "%s/fuzz-share.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		abort();
	(void)snprintf(shared, sizeof(shared), "%s/shared", dir);
	(void)snprintf(secret, sizeof(secret), "%s/secret", dir);
	put_file(secret);
	if (stat(secret, &before) < 0 || mkdir(shared, 0700) < 0)
		abort();
	(void)atexit(clean_up);
}

/* As the requests of the seeds know it: a file, a folder with a file in it, a link that leads out */
static void fill(void)
{
	char path[256];

	(void)nftw(shared, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	(void)snprintf(path, sizeof(path), "%s/file", shared);
	put_file(path);
	(void)snprintf(path, sizeof(path), "%s/sub", shared);
	if (mkdir(path, 0700) < 0)
		abort();
	(void)snprintf(path, sizeof(path), "%s/sub/deep", shared);
	put_file(path);
	(void)snprintf(path, sizeof(path), "%s/out", shared);
	if (symlink("../secret", path) < 0)
		abort();
}

static void serve(struct share *s, const uint8_t *data, size_t len, unsigned pieces, size_t room)
{
	uint8_t *copy = malloc(len + 1), *answer = malloc(room + 1);
	struct iovec in[8], out[2] = {{answer, room / 3}, {answer + room / 3, room - room / 3}};
	unsigned n = 0;
	int64_t rc;

	if (!copy || !answer)
		abort();
	memcpy(copy, data, len);
	if (len >= 4)
		put_le32(copy, (uint32_t)len);
	for (size_t at = 0; at < len; n++) {
		size_t part = n + 1 < pieces ? len / pieces + 1 : len - at;

		part = part < len - at ? part : len - at;
		in[n] = (struct iovec){copy + at, part};
		at += part;
	}
	rc = room < 3 ? share_serve(s, in, n, len, NULL, 0, 0)
		      : share_serve(s, in, n, len, out, 2, room);
	if (rc > (int64_t)room)
		abort();
	free(copy);
	free(answer);
}

static void start(struct share *s)
{
	const struct fuse_init_in init = {.major = 7, .minor = 36};
	const struct fuse_in_header h = {.len = sizeof(h) + sizeof(init), .opcode = FUSE_INIT};
	uint8_t raw[sizeof(h) + sizeof(init)];

	memcpy(raw, &h, sizeof(h));
	memcpy(raw + sizeof(h), &init, sizeof(init));
	serve(s, raw, sizeof(raw), 1, 256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct share *s;
	struct stat st;

	if (!*dir)
		make_once();
	fill();
	if (share_open(&s, shared, size && data[0] & 1, SHARE_FDS_MIN, NULL) < 0)
		abort();
	start(s);
	for (unsigned i = 0; i < REQUESTS_MAX && end - data >= 4; i++) {
		size_t len = get_le16(data);
		unsigned pieces = (data[2] & 7) + 1, room = (data[3] & 127) * 64U;

		data += 4;
		len = len < (size_t)(end - data) ? len : (size_t)(end - data);
		serve(s, data, len, pieces, room);
		data += len;
	}
	share_close(s);
	if (stat(secret, &st) < 0 || st.st_size != before.st_size || st.st_nlink != 1 ||
	    st.st_mode != before.st_mode || st.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
		abort();
	return 0;
}
