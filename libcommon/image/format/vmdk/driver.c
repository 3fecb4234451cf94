/* VMDK as a struct image_format: probing, opening, parents. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/image/format/vmdk/write.h"

static int vmdk_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		      uint64_t size)
{
	(void)tail, (void)tail_len, (void)size;
	switch (vmdk_header_kind(head, head_len)) {
	case VMDK_SPARSE: /* other versions too, to be refused by name rather than read as raw */
		return head_len >= 8 && get_le32(head + 4) >= 1 && get_le32(head + 4) <= 3 ? 100
											   : 30;
	case VMDK_COWD:
		return head_len >= 8 && get_le32(head + 4) == 1 ? 100 : 30;
	case VMDK_SESPARSE:
		return 100;
	default:
		return vmdk_is_descriptor(head, head_len) ? 95 : 0;
	}
}

static int read_descriptor(struct image *img, uint64_t off, uint64_t room, struct err *err)
{
	struct vmdk *v = img->priv;
	uint64_t size = bfile_size(img->file);

	if (!range_inside(off, room, size))
		return err_set(err, ERR_CORRUPT,
			       "the descriptor of %" PRIu64 " bytes at offset %" PRIu64
			       " lies outside of the file",
			       room, off);
	if (room > VMDK_DESC_MAX)
		return err_set(err, ERR_CORRUPT,
			       "the descriptor has %" PRIu64 " bytes (%u at most)", room,
			       VMDK_DESC_MAX);

	CLEANUP_FREE char *text = malloc((size_t)room + 1);

	if (!text)
		return err_nomem(err);
	if (bfile_pread(img->file, text, (size_t)room, off, err) < 0 ||
	    vmdk_descriptor_parse(text, (size_t)room, &v->d, err) < 0)
		return -1;
	v->has_descriptor = true;
	v->desc_off = off;
	v->desc_room = room;
	return 0;
}

/* The image's own file is the only extent */
static int open_single(struct image *img, int kind, struct err *err)
{
	struct vmdk *v = img->priv;
	bool full = !(img->flags & IMAGE_INFO);
	struct vmdk_extent *x = v->extents = calloc(1, sizeof(*v->extents));

	if (!x)
		return err_nomem(err);
	v->n_extents = 1;
	x->kind = (enum vmdk_kind)kind;
	x->file = img->file;
	if ((x->kind == VMDK_SPARSE ? vmdk_sparse_open
	     : x->kind == VMDK_COWD ? vmdk_cowd_open
				    : vmdk_sesparse_open)(x, full, err) < 0)
		return -1;
	x->len = img->size = x->capacity;
	if (!v->d.n_lines)
		return 0;
	x->access = v->d.lines[0].access;
	if (v->d.lines[0].sectors * VMDK_SECTOR != x->len)
		log_warning("%s: the descriptor says %" PRIu64 " sectors, the header %" PRIu64,
			    img->name, v->d.lines[0].sectors, x->len / VMDK_SECTOR);
	return 0;
}

/* A piece of a disk looks like a disk, with zeros where the others or its parent have data. */
static int refuse_piece(const struct image *img, struct err *err)
{
	if (img->flags & (IMAGE_INFO | IMAGE_CHECK | IMAGE_NO_BACKING))
		return 0;
	err_set(err, ERR_UNSUPPORTED, "is one extent of a VMDK, not the whole");
	return err_hint(err, "open the small .vmdk file that lists it");
}

static int open_hosted(struct image *img, const uint8_t *sector, bool *ret_single, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_header h;
	uint64_t off, len;

	*ret_single = true;
	if (vmdk_header_decode(sector, &h, err) < 0)
		return -1;
	if (!h.desc_offset)
		return refuse_piece(img, err);
	if (!u64_mul(h.desc_offset, VMDK_SECTOR, &off) ||
	    !u64_mul(h.desc_sectors, VMDK_SECTOR, &len))
		return err_set(err, ERR_CORRUPT, "the descriptor lies at sector %" PRIu64,
			       h.desc_offset);
	if (read_descriptor(img, off, len, err) < 0)
		return -1;
	*ret_single = h.capacity != 0;
	if (*ret_single && v->d.n_lines > 1)
		return err_set(err, ERR_UNSUPPORTED,
			       "the descriptor lists %zu extents, but the file has data itself",
			       v->d.n_lines);
	return 0;
}

static int open_extents(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	uint8_t sector[VMDK_SECTOR];
	size_t len = (size_t)min_u64(sizeof(sector), bfile_size(img->file));
	bool single = true;
	int kind;

	if (bfile_pread(img->file, sector, len, 0, err) < 0)
		return -1;
	kind = vmdk_header_kind(sector, len);
	if (kind >= 0 && len < sizeof(sector))
		return err_set(err, ERR_CORRUPT, "the file ends at offset %zu, in the header", len);
	if (kind == VMDK_SPARSE) {
		if (open_hosted(img, sector, &single, err) < 0)
			return -1;
	} else if (kind >= 0) {
		if (refuse_piece(img, err) < 0)
			return -1;
	} else {
		single = false;
		if (!vmdk_is_descriptor(sector, len))
			return err_set(err, ERR_CORRUPT, "is neither a VMDK nor a descriptor");
		if (read_descriptor(img, 0, bfile_size(img->file), err) < 0)
			return -1;
	}
	if ((single ? open_single(img, kind, err) : vmdk_extents_open(img, opts, err)) < 0)
		return -1;
	return img->flags & IMAGE_INFO ? 0 : vmdk_extent_caches(img, err);
}

static int set_parent(struct image *img, const struct vmdk_descriptor *d, struct err *err)
{
	if (!((struct vmdk *)img->priv)->has_descriptor || d->parent_cid == VMDK_NO_PARENT)
		return 0;
	if (!d->parent_hint || !*d->parent_hint) {
		if (img->flags & (IMAGE_INFO | IMAGE_CHECK | IMAGE_NO_BACKING))
			return 0;
		return err_set(err, ERR_CORRUPT,
			       "has a parent (content ID %08" PRIx32 ") but does not name it",
			       d->parent_cid);
	}
	img->backing_name = strdup(d->parent_hint);
	img->backing_format = strdup("vmdk");
	return img->backing_name && img->backing_format ? 0 : err_nomem(err);
}

static void vmdk_close(struct image *img)
{
	struct vmdk *v = img->priv;

	if (!v)
		return;
	vmdk_writer_close(img);
	vmdk_extents_close(v);
	vmdk_descriptor_release(&v->d);
	pthread_mutex_destroy(&v->flat_lock);
	free(v);
	img->priv = NULL;
}

static int vmdk_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	struct vmdk *v;

	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "VMDK has no internal snapshots");
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_nomem(err);
	img->priv = v;
	pthread_mutex_init(&v->flat_lock, NULL);
	if (open_extents(img, opts, err) == 0 && set_parent(img, &v->d, err) == 0 &&
	    (!(img->flags & IMAGE_RDWR) || (img->flags & IMAGE_CHECK) ||
	     vmdk_writer_open(img, err) == 0))
		return 0;
	vmdk_close(img);
	return -1;
}

/* The parent's content ID changes with its content: a child of what it was would show a mixture. */
static int vmdk_check_backing(struct image *img, struct err *err)
{
	const struct vmdk *v = img->priv, *below = img->backing->priv;

	if (below->d.cid == v->d.parent_cid)
		return 0;
	err_set(err, ERR_CORRUPT,
		"its parent has content ID %08" PRIx32 ", it was made on %08" PRIx32, below->d.cid,
		v->d.parent_cid);
	return err_hint(err, "the parent was changed after the snapshot was taken, or is another "
			     "disk; if it is right: vmimg rebase -u -F vmdk");
}

static const char *const suffixes[] = {"vmdk", NULL};

const struct image_format image_format_vmdk = {
	.name = "vmdk",
	.description = "VMware and VirtualBox disks: sparse, flat, split, streamOptimized (OVA)",
	.can_name_files = true,
	.suffixes = suffixes,
	.probe = vmdk_probe,
	.open = vmdk_open,
	.close = vmdk_close,
	.map = vmdk_map,
	.read_encoded = vmdk_read_encoded,
	.resize = vmdk_resize,
	.write = vmdk_write,
	.write_zeroes = vmdk_write_zeroes,
	.flush = vmdk_flush,
	.settle = vmdk_settle,
	.check_backing = vmdk_check_backing,
	.adopt = vmdk_adopt,
	.info = vmdk_info,
	.check = vmdk_check,
	.bulk = &vmdk_sparse_bulk_ops,
	.bulk_for = vmdk_bulk_for,
	.create_options = vmdk_options,
};
