/* See again.h. */
#include "cmd/vmrun/guest/again.h"

#include <fcntl.h>
#include <linux/random.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

void again_clock(const char *text)
{
	char *rest;
	struct timespec t = {.tv_sec = strtol(text, &rest, 10)};

	t.tv_nsec = strtol(rest, NULL, 10);
	(void)clock_settime(CLOCK_REALTIME, &t);
}

void again_stir(const char *hex)
{
	enum { BYTES = 64 };
	/* struct rand_pool_info ends in an array without a length: two numbers, then the bytes */
	int pool[2 + BYTES / sizeof(int)] = {256};
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);

	pool[1] = (int)strnlen(hex, BYTES);
	(void)memcpy(pool + 2, hex, (size_t)pool[1]);
	if (fd >= 0 && ioctl(fd, RNDADDENTROPY, pool) == 0)
		(void)ioctl(fd, RNDRESEEDCRNG);
	if (fd >= 0)
		(void)close(fd);
}
