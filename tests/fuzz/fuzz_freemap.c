/* Hostile file systems: their free maps, whatever they claim, stay inside the disk, ascending and apart. */
#include <stdint.h>
#include <stdlib.h>

#include "libcommon/image/disk/sparsify.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct sparsify_plan p;
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return 0;
	if (sparsify_plan(img, NULL, 0, &p, NULL) == 0) {
		uint64_t end = 0, bytes = 0;

		for (size_t i = 0; i < p.map.n; i++) {
			const struct free_range *r = &p.map.ranges[i];

			if (!r->len || r->off < end || r->off > size || r->len > size - r->off)
				abort();
			end = r->off + r->len;
			bytes += r->len;
		}
		if (bytes != p.map.bytes)
			abort();
		sparsify_release(&p);
	}
	image_close(img);
	return 0;
}
