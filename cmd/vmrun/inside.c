/* The kernel inside of a disk: see inside.h. Nothing is mounted, nothing on the disk runs. */
#include "cmd/vmrun/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/guest/extract.h"
#include "libcommon/guest/guest.h"
#include "libcommon/image/image.h"

enum { CONFIG_MAX = 4 << 20, KERNEL_MAX = 256 << 20, INITRD_MAX = 1 << 30 };

void inside_release(struct inside *in)
{
	if (in->kernel_fd >= 0)
		(void)close(in->kernel_fd);
	if (in->initrd_fd >= 0)
		(void)close(in->initrd_fd);
	free(in->command);
	*in = (struct inside){.kernel_fd = -1, .initrd_fd = -1};
}

/* A small file of volume @i; NULL: it is not there */
static char *load(struct guest *g, int i, const char *path)
{
	struct err why = ERR_INIT;
	struct guest_place p;
	char *text = NULL;
	size_t len;

	if (guest_path(g, i, NULL, path, 0, &p, &why) < 0)
		return NULL;
	if (p.node.type != FS_FILE || fs_load(p.fs, &p.node, CONFIG_MAX, &text, &len, &why) < 0)
		text = NULL;
	guest_place_release(&p);
	return text;
}

/* The newest entry by its name, as boot loaders sort them */
static bool newest_bls(struct guest *g, int i, const char *folder, struct inside_entry *ret)
{
	struct err why = ERR_INIT;
	struct guest_place p;
	struct fs_list list;
	CLEANUP_FREE char *path = NULL, *text = NULL;
	const char *best = NULL;

	if (guest_path(g, i, NULL, folder, 0, &p, &why) < 0)
		return false;
	if (p.node.type != FS_DIR || fs_list(p.fs, &p.node, &list, &why) < 0) {
		guest_place_release(&p);
		return false;
	}
	for (size_t n = 0; n < list.n; n++) {
		const char *name = list.entries[n].name;
		size_t len = strlen(name);

		if (len > 5 && strcmp(name + len - 5, ".conf") == 0 &&
		    (!best || strverscmp(name, best) > 0))
			best = name;
	}
	if (best && asprintf(&path, "%s/%s", folder, best) < 0)
		path = NULL;
	text = path ? load(g, i, path) : NULL;
	fs_list_release(&list);
	guest_place_release(&p);
	return text && inside_bls(text, ret);
}

/* What volume @i holds of a boot loader's configuration; /boot may be a volume of its own */
static bool look(struct guest *g, int i, struct inside_entry *ret)
{
	static const char *const grub[] = {"/boot/grub/grub.cfg", "/grub/grub.cfg",
					   "/boot/grub2/grub.cfg", "/grub2/grub.cfg"};
	static const char *const bls[] = {"/boot/loader/entries", "/loader/entries"};

	for (size_t n = 0; n < sizeof(grub) / sizeof(grub[0]); n++) {
		CLEANUP_FREE char *text = load(g, i, grub[n]);

		if (text && inside_grub(text, ret))
			return true;
	}
	for (size_t n = 0; n < sizeof(bls) / sizeof(bls[0]); n++)
		if (newest_bls(g, i, bls[n], ret))
			return true;
	return false;
}

static int copy(struct guest *g, int i, const char *path, uint64_t most, int fd, struct err *err)
{
	struct guest_place p;
	int rc;

	if (guest_path(g, i, NULL, path, 0, &p, err) < 0)
		return -1;
	rc = fs_fill(p.fs, &p.node, err);
	if (rc == 0 && (p.node.type != FS_FILE || p.node.size > most))
		rc = err_set(err, ERR_UNSUPPORTED, "%.200s on it is no file that could be started",
			     path);
	if (rc == 0)
		rc = guest_copy_out(p.fs, &p.node, fd, err);
	guest_place_release(&p);
	return rc;
}

/* One behind the other, each on a multiple of four, as boot loaders do it */
static int copy_initrds(struct guest *g, int i, char *paths, int fd, struct err *err)
{
	char *rest = NULL;

	for (char *p = strtok_r(paths, " ", &rest); p; p = strtok_r(NULL, " ", &rest)) {
		static const char zeros[4];
		off_t end;

		if (copy(g, i, p, INITRD_MAX, fd, err) < 0)
			return -1;
		end = lseek(fd, 0, SEEK_CUR);
		if (end % 4 && io_write(fd, zeros, (size_t)(4 - end % 4), err) < 0)
			return -1;
	}
	return 0;
}

static int take(struct inside *in, struct guest *g, int i, struct inside_entry *e, struct err *err)
{
	if (io_nameless(&in->kernel_fd, err) < 0 ||
	    copy(g, i, e->kernel, KERNEL_MAX, in->kernel_fd, err) < 0)
		return -1;
	(void)snprintf(in->kernel, sizeof(in->kernel), "/proc/self/fd/%d", in->kernel_fd);
	if (*e->initrds) {
		log_info("its kernel is %s, with %s", e->kernel, e->initrds);
		if (io_nameless(&in->initrd_fd, err) < 0 ||
		    copy_initrds(g, i, e->initrds, in->initrd_fd, err) < 0)
			return -1;
		(void)snprintf(in->initrd, sizeof(in->initrd), "/proc/self/fd/%d", in->initrd_fd);
	}
	in->command = e->options;
	e->options = NULL;
	return 0;
}

int inside_find(struct inside *ret, struct image *img, struct err *err)
{
	struct inside_entry e = {.kernel = NULL};
	struct guest *g;
	int rc, at = -1;

	*ret = (struct inside){.kernel_fd = -1, .initrd_fd = -1};
	if (guest_open(&g, img, err) < 0)
		return err_object(err, image_name(img));
	for (size_t i = 0; i < g->n_volumes && at < 0; i++)
		if (look(g, (int)i, &e))
			at = (int)i;
	if (at < 0) {
		rc = err_set(err, ERR_NOT_FOUND,
			     "no configuration of GRUB or of the Boot Loader Specification names a "
			     "kernel on it");
		err_hint(err, "without --direct its boot loader is started by a BIOS, or by "
			      "--firmware uefi");
	} else {
		rc = take(ret, g, at, &e, err);
	}
	inside_entry_release(&e);
	guest_close(g);
	if (rc < 0)
		err_object(err, image_name(img));
	return rc;
}
