/* flashdev: the flash chip of vmrun's UEFI machines by lines, as QEMU's test protocol has them.
 *
 *	flashdev FILE BASE	FILE's bytes lie at BASE in the guest, what is written goes there
 *
 * "readb ADDRESS", "readl ADDRESS", "writeb ADDRESS VALUE" on standard input; "OK 0x..." or "OK" for each.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/io.h"
#include "libcommon/runner/flash.h"

static int store(void *ctx, const uint8_t *data, uint64_t off, size_t len, struct err *err)
{
	return io_pwrite(*(const int *)ctx, data, len, off, err);
}

static void serve(struct flash *f, uint64_t base)
{
	char line[100], word[16];
	uint64_t at, v;

	while (fgets(line, sizeof(line), stdin)) {
		int n = sscanf(line, "%15s %" SCNx64 " %" SCNx64, word, &at, &v);

		if (n == 2 && at - base < f->size - 3) {
			unsigned size = strcmp(word, "readl") == 0 ? 4 : 1;

			(void)printf("OK 0x%016" PRIx64 "\n", flash_read(f, at - base, size));
		} else if (n == 3 && at - base < f->size) {
			flash_write(f, at - base, 1, v);
			(void)puts("OK");
		}
	}
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct flash f;
	struct stat st;
	uint8_t *data;
	int fd;

	if (argc != 3)
		return 2;
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	data = fd >= 0 && fstat(fd, &st) == 0 ? malloc((size_t)st.st_size) : NULL;
	if (!data || io_pread(fd, data, (size_t)st.st_size, 0, &err) < 0)
		return 1;
	flash_init(&f, data, (size_t)st.st_size);
	f.store = store;
	f.ctx = &fd;
	serve(&f, strtoull(argv[2], NULL, 0));
	if (flash_sync(&f, &err) < 0)
		return 1;
	free(data);
	return close(fd) < 0;
}
