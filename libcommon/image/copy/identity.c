/* Which files an image consists of, so that a later process can tell whether they are still the same. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "libcommon/image/copy/resume.h"

/* Clocks of file systems: the kernel's tick (at most 10 ms) where nanoseconds are kept; FAT has 2 s. */
#define TICK_NS	      20000000LL
#define COARSE_NS     2100000000LL
#define NS_PER_SECOND 1000000000LL

/* A change within the same tick as the last one would leave the same time behind: wait until that is over. */
static int settle(const struct timespec *changed, struct err *err)
{
	struct timespec now, pause;
	long long age, want = changed->tv_nsec % 1000000 ? TICK_NS : COARSE_NS;

	clock_gettime(CLOCK_REALTIME, &now);
	age = (long long)(now.tv_sec - changed->tv_sec) * NS_PER_SECOND + now.tv_nsec -
	      changed->tv_nsec;
	if (age >= want)
		return 0;
	if (age < -COARSE_NS)
		return err_set(
			err, ERR_UNSUPPORTED,
			"was changed in the future: whether it will be still the same cannot "
			"be known");
	want -= age;
	pause.tv_sec = want / NS_PER_SECOND;
	pause.tv_nsec = (long)(want % NS_PER_SECOND);
	(void)nanosleep(&pause, NULL); /* a signal ends it, and the copying a moment later */
	return 0;
}

static int add_file(struct digest *d, const struct stat *st, struct err *err)
{
	const uint64_t what[] = {(uint64_t)st->st_dev,		(uint64_t)st->st_ino,
				 (uint64_t)st->st_size,		(uint64_t)st->st_mtim.tv_sec,
				 (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
				 (uint64_t)st->st_ctim.tv_nsec};

	if (!S_ISREG(st->st_mode))
		return err_set(err, ERR_UNSUPPORTED,
			       "is no file: whether it is still the same cannot be known");
	if (settle(&st->st_ctim, err) < 0)
		return -1;
	return digest_update(d, what, sizeof(what), err);
}

static int add_layer(struct digest *d, const struct image *img, struct err *err)
{
	const char *format = img->format->name;

	if (!img->n_files || !img->path)
		return err_set(err, ERR_UNSUPPORTED,
			       "is no file: whether it is still the same cannot be known");
	if (digest_update(d, format, strlen(format) + 1, err) < 0)
		return -1;
	for (size_t i = 0; i < img->n_files; i++)
		if (add_file(d, &img->files[i], err) < 0)
			return -1;
	return 0;
}

int identity_add(struct digest *d, struct image *img, struct err *err)
{
	uint64_t end = UINT64_MAX;

	for (struct image *layer = img; layer; layer = image_backing(layer))
		if (add_layer(d, layer, err) < 0)
			return err_object(err, image_name(layer));
	return digest_update(d, &end, sizeof(end), err);
}
