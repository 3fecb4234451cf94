/* Hostile file systems, read as files: whatever they claim, lists and maps are checked, walks end, names are names. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/guest/guest.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEMS_MOST = 2000, READ_MOST = 64 << 10 };

static void read_file(struct fs *fs, struct fs_node *node)
{
	static uint8_t buf[READ_MOST];
	struct fs_map m;
	uint64_t end = 0, off, len;

	if (fs_map(fs, node, &m, NULL) < 0)
		return;
	for (size_t i = 0; i < m.n; i++) {
		const struct fs_run *r = &m.runs[i];

		if (!r->len || r->off < end || r->place > fs->v.len ||
		    r->len > fs->v.len - r->place)
			abort();
		end = r->off + r->len;
	}
	fs_data(&m, 0, &off, &len);
	if (len && (off >= m.size || len > m.size - off))
		abort();
	(void)fs_read(fs, &m, buf, 0, m.size < READ_MOST ? (size_t)m.size : READ_MOST, NULL);
	fs_map_release(&m);
}

static int visit(void *ctx, const struct guest_item *item, struct err *err)
{
	unsigned *n = ctx;
	char *target;

	if (strchr(item->name, '/') || strcmp(item->name, "..") == 0)
		abort();
	if (fs_fill(item->fs, item->node, NULL) == 0 && item->when == ITEM_LEAF) {
		read_file(item->fs, item->node);
		if (item->node->type == FS_SYMLINK &&
		    fs_readlink(item->fs, item->node, &target, NULL) == 0)
			free(target);
	}
	return ++*n > ITEMS_MOST ? err_set(err, ERR_FAILED, "enough") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct guest_place place;
	struct image *img = NULL;
	struct guest *g;
	struct bfile *file;
	unsigned n = 0;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return 0;
	if (guest_open(&g, img, NULL) == 0) {
		(void)guest_search(g, NULL);
		if (guest_find(g, "/", 0, &place, NULL) == 0) {
			(void)guest_walk(g, &place, true, visit, &n, NULL);
			guest_place_release(&place);
		}
		if (guest_find(g, "/etc/link/../hostname", 0, &place, NULL) == 0)
			guest_place_release(&place);
		guest_close(g);
	}
	image_close(img);
	return 0;
}
