/* A hostile partition table: read, and where there is a good GPT its figures hold. */
#include <stdint.h>
#include <stdlib.h>

#include "libcommon/image/disk/partition.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct partition_table *t, uint64_t size)
{
	const struct partition *last = partition_last(t);
	uint64_t least = partition_least_size(t);

	if (last && last->off + last->len > partition_room(t, least))
		abort();
	(void)partition_room(t, size);
	if (t->scheme == PARTITIONS_GPT) {
		(void)gpt_is_at_end(t, size);
		if (t->first_usable * t->sector_size > least)
			abort();
	}
	for (size_t i = 0; i < t->n; i++)
		if (!t->parts[i].number || t->parts[i].off > INT64_MAX ||
		    t->parts[i].len > INT64_MAX)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct partition_table t;
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return 0;
	if (partition_table_read(img, &t, NULL) == 0) {
		look(&t, size);
		partition_table_release(&t);
	}
	image_close(img);
	return 0;
}
