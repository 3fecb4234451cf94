/* Devices that not every machine has: networks, folders of the host, a balloon, a vsock. */
#include <stdlib.h>

#include "libcommon/runner/confine.h"
#include "libcommon/runner/machine_private.h"
#include "libcommon/runner/share.h"

static int make_net(struct machine *m, unsigned i, struct err *err)
{
	struct virtio_net *n = calloc(1, sizeof(*n));

	if (!n)
		return err_nomem(err);
	m->net[i] = n;
	if (virtio_net_init(n, m->opts->nets[i], &m->mem, err) < 0)
		return -1;
	return machine_add_virtio(m, &n->dev, err);
}

static int make_share(struct machine *m, unsigned i, struct err *err)
{
	const struct machine_share *s = &m->opts->shares[i];
	struct virtio_fs *f = calloc(1, sizeof(*f));

	if (!f)
		return err_nomem(err);
	m->fs[i] = f;
	if (virtio_fs_init(f, s->share, s->tag, &m->mem, err) < 0)
		return -1;
	return machine_add_virtio(m, &f->dev, err);
}

static int make_balloon(struct machine *m, struct err *err)
{
	m->balloon = calloc(1, sizeof(*m->balloon));
	if (!m->balloon)
		return err_nomem(err);
	if (virtio_balloon_init(m->balloon, &m->mem, err) < 0)
		return -1;
	return machine_add_virtio(m, &m->balloon->dev, err);
}

static int make_vsock(struct machine *m, struct err *err)
{
	if (virtio_vsock_new(&m->vsock, m->opts->vsock, m->opts->vsock_cid, &m->mem, err) < 0 ||
	    machine_add_virtio(m, virtio_vsock_dev(m->vsock), err) < 0)
		return -1;
	return virtio_vsock_start(m->vsock, err);
}

void machine_confine_files(const struct machine *m)
{
	struct confine_folder folders[MACHINE_SHARES_MAX];

	for (unsigned i = 0; i < m->opts->n_shares; i++)
		folders[i].fd = share_folder(m->opts->shares[i].share, &folders[i].read_only);
	confine_files(folders, m->opts->n_shares);
}

int machine_make_extras(struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->opts->n_nets; i++)
		if (make_net(m, i, err) < 0)
			return -1;
	for (unsigned i = 0; i < m->opts->n_shares; i++)
		if (make_share(m, i, err) < 0)
			return -1;
	if (m->opts->balloon && make_balloon(m, err) < 0)
		return -1;
	return m->opts->vsock ? make_vsock(m, err) : 0;
}

void machine_free_extras(struct machine *m)
{
	for (unsigned i = 0; i < MACHINE_NETS_MAX; i++)
		machine_free_device(m->net[i] ? &m->net[i]->dev : NULL);
	for (unsigned i = 0; i < MACHINE_SHARES_MAX; i++)
		machine_free_device(m->fs[i] ? &m->fs[i]->dev : NULL);
	machine_free_device(m->balloon ? &m->balloon->dev : NULL);
	virtio_vsock_free(m->vsock);
}
