/* Saving a machine that runs: it stands still, its disks are flushed, all of it goes to a file. See state.h. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/control.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/net.h"
#include "libcommon/runner/position.h"
#include "libcommon/runner/share.h"
#include "libcommon/runner/state_machine.h"

enum { WAIT_MS = 3000 };

static const char *mode_name(enum disk_mode mode)
{
	return mode == DISK_WRITE ? "write" : mode == DISK_READ_ONLY ? "read-only" : "ephemeral";
}

static int describe_disk(struct disk *d, json_t *list, struct err *err)
{
	CLEANUP_FREE char *path = realpath(disk_name(d), NULL);
	json_t *files, *o;

	if (disk_mode(d) == DISK_WRITE && image_settle(disk_image(d), err) < 0)
		return -1;
	if (position_get(disk_image(d), &files, err) < 0)
		return -1;
	if (disk_mode(d) == DISK_WRITE)
		position_settle(files);
	o = json_pack("{s:s, s:s, s:s, s:I, s:o}", "image", path ? path : disk_name(d), "format",
		      image_format_name(disk_image(d)), "mode", mode_name(disk_mode(d)), "size",
		      (json_int_t)disk_size(d), "files", files);
	if (!o) {
		json_decref(files);
		err_set(err, ERR_UNSUPPORTED, "a disk whose name is not UTF-8 cannot be saved");
		return err_object(err, disk_name(d));
	}
	return json_array_append_new(list, o) < 0 ? err_nomem(err) : 0;
}

/* What they lead to is for whoever restores the machine to say; the guest keeps their addresses. */
static json_t *describe_nets(const struct machine *m)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < m->opts->n_nets; i++) {
		const struct net *n = m->opts->nets[i];

		(void)json_array_append_new(
			list, json_pack("{s:s, s:o}", "kind", n->kind, "mac",
					json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0],
						     n->mac[1], n->mac[2], n->mac[3], n->mac[4],
						     n->mac[5])));
	}
	return list;
}

/* Where they are, as the host has them now */
static json_t *describe_shares(const struct machine *m)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < m->opts->n_shares; i++) {
		const struct machine_share *s = &m->opts->shares[i];
		char link[32], path[PATH_MAX];
		bool read_only;
		ssize_t n;

		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d",
			       share_folder(s->share, &read_only));
		n = readlink(link, path, sizeof(path));
		(void)json_array_append_new(list, json_pack("{s:s, s:s%, s:b, s:I}", "tag", s->tag,
							    "folder", path, (size_t)(n > 0 ? n : 0),
							    "read_only", read_only, "inode",
							    (json_int_t)share_inode(s->share)));
	}
	return list;
}

/* A reason that will not go away is found before the machine stands still */
static int can_save(struct machine *m, struct err *err)
{
	if (m->streams && !m->opts->prepare)
		return err_set(
			err, ERR_UNSUPPORTED,
			"a machine that runs a command cannot be saved: the command's streams "
			"are those of its vmrun");
	if (m->firmware.uefi)
		return err_set(err, ERR_UNSUPPORTED,
			       "a machine that UEFI firmware started cannot be saved");
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct virtio_dev *d = machine_virtio(m, i);

		if (d && d->type->can_save && d->type->can_save(d, err) < 0)
			return -1;
	}
	return 0;
}

static int put_conf(struct machine *m, struct state_out *o, struct err *err)
{
	json_t *disks = json_array(), *conf;
	char *text = NULL;
	size_t at;

	for (size_t i = 0; i < m->opts->n_disks; i++)
		if (describe_disk(m->opts->disks[i], disks, err) < 0) {
			json_decref(disks);
			return -1;
		}
	conf = json_pack("{s:i, s:b, s:b, s:b, s:o, s:o, s:o}", "cpus", (int)m->vcpus, "streams",
			 m->streams != NULL, "balloon", m->balloon != NULL, "vsock",
			 m->vsock != NULL, "nets", describe_nets(m), "shares", describe_shares(m),
			 "disks", disks);
	if (conf && m->opts->control)
		(void)json_object_set_new(conf, "name",
					  json_string(control_name(m->opts->control)));
	if (conf)
		text = json_dumps(conf, JSON_COMPACT);
	json_decref(conf);
	if (!text)
		return err_nomem(err);
	at = state_begin(o, "CONF", 0);
	state_put(o, text, strlen(text));
	state_end(o, at);
	free(text);
	return 0;
}

static bool ended(void *ctx)
{
	const struct machine *m = ctx;

	return atomic_load(&m->ended);
}

/* Nothing moves any more */
static int write_all(struct machine *m, struct state_writer *w, struct err *err)
{
	struct state_out o = {.data = NULL};
	int rc = put_conf(m, &o, err);

	if (rc == 0)
		rc = state_save_kvm(m, &o, err);
	if (rc == 0)
		rc = state_save_devices(m, &o, err);
	if (rc == 0)
		rc = state_write_memory(w, &m->mem, err);
	for (unsigned i = 0; rc == 0 && i < m->opts->n_disks; i++)
		rc = disk_save_layer(m->opts->disks[i], i, w, &o, err);
	if (rc == 0)
		rc = state_write_end(w, &o, err);
	state_out_free(&o);
	return rc;
}

/* Return: false when one is busy; *@ret_slots: those below it are frozen */
static bool freeze(struct machine *m, unsigned *ret_slots)
{
	const struct timespec until = clock_after(CLOCK_REALTIME, WAIT_MS);

	for (*ret_slots = 0; *ret_slots < PCI_SLOTS; ++*ret_slots) {
		struct virtio_dev *d = machine_virtio(m, *ret_slots);

		if (d && !virtio_freeze(d, &until))
			return false;
	}
	return true;
}

static void thaw(struct machine *m, unsigned slots)
{
	for (unsigned i = 0; i < slots; i++) {
		struct virtio_dev *d = machine_virtio(m, i);

		if (d)
			virtio_thaw(d);
	}
}

int machine_save(struct machine *m, int fd, bool compress, struct err *err)
{
	struct state_writer w = {.fd = fd,
				 .compress = compress,
				 .waits = m->opts->prepare,
				 .give_up = ended,
				 .ctx = m};
	unsigned frozen;
	int rc;

	if (can_save(m, err) < 0)
		return -1;
	machine_pause(m);
	if (!machine_parked(m))
		return err_set(err, ERR_BUSY,
			       "it does not stand still: a reader of its console is waited for");
	if (freeze(m, &frozen))
		rc = write_all(m, &w, err);
	else
		rc = err_set(err, ERR_BUSY, "a request of one of its devices takes too long");
	thaw(m, frozen);
	return rc;
}

void machine_prepared(struct machine *m)
{
	struct err err = ERR_INIT;

	if (machine_save(m, m->opts->prepare_fd, false, &err) == 0)
		machine_ends(m, MACHINE_SAVED, NULL);
	else
		machine_ends(m, MACHINE_FAILED, &err);
}
