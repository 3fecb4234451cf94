/* Connections to libvirt daemons. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/host/libvirt/lib.h"

/* A daemon that is silent for INTERVAL_S * (COUNT + 1) seconds is gone: every call then fails instead of waiting. */
enum { INTERVAL_S = 3, COUNT = 2 };

/* Nothing is ever asked on the terminal: what needs a password fails with a sentence. */
static int no_credentials(virConnectCredentialPtr cred, unsigned n, void *data)
{
	(void)cred;
	(void)n;
	(void)data;
	return -1;
}

static int connect_open(struct host *h, const char *uri, unsigned flags, struct err *err)
{
	virConnectAuth auth = {.cb = no_credentials};
	struct libvirt_host *l = calloc(1, sizeof(*l));
	char *said;

	if (!l)
		return err_nomem(err);
	if (libvirt_load(&l->lv, err) < 0) {
		free(l);
		return -1;
	}
	l->conn = l->lv->ConnectOpenAuth(uri, &auth, flags & HOST_READ_ONLY ? VIR_CONNECT_RO : 0);
	if (!l->conn) {
		libvirt_error(l->lv, err);
		free(l);
		return -1;
	}
	/* Drivers without a daemon have no use for it, and old daemons no ear. */
	if (l->lv->ConnectSetKeepAlive(l->conn, INTERVAL_S, COUNT) < 0)
		l->lv->ResetLastError();
	said = l->lv->ConnectGetURI(l->conn);
	h->uri = said ? said : strdup(uri ? uri : "libvirt");
	if (!h->uri) {
		(void)l->lv->ConnectClose(l->conn);
		free(l);
		return err_nomem(err);
	}
	h->priv = l;
	return 0;
}

static void connect_close(struct host *h)
{
	struct libvirt_host *l = libvirt_of(h);

	(void)l->lv->ConnectClose(l->conn);
	free(l);
	h->priv = NULL;
}

int libvirt_capabilities(struct host *h, char **ret, struct err *err)
{
	struct libvirt_host *l = libvirt_of(h);

	*ret = l->lv->ConnectGetCapabilities(l->conn);
	return *ret ? 0 : libvirt_error(l->lv, err);
}

const struct host_driver host_libvirt = {
	.name = "libvirt",
	.open = connect_open,
	.close = connect_close,
	.list = libvirt_list,
	.find = libvirt_find,
	.release = libvirt_release,
	.info = libvirt_info,
	.state = libvirt_state,
	.act = libvirt_act,
	.set_autostart = libvirt_set_autostart,
	.idle = libvirt_idle,
	.save_to = libvirt_save_to,
	.restore = libvirt_restore,
	.xml = libvirt_xml,
	.define = libvirt_define,
	.capabilities = libvirt_capabilities,
	.set_cpus = libvirt_set_cpus,
	.set_memory = libvirt_set_memory,
	.limit_cpu = libvirt_limit_cpu,
	.limit_memory = libvirt_limit_memory,
	.limit_disk = libvirt_limit_disk,
	.limit_net = libvirt_limit_net,
	.pin = libvirt_pin,
	.attach = libvirt_attach,
	.detach = libvirt_detach,
	.agent = libvirt_agent,
	.stats = libvirt_stats,
	.node = libvirt_node,
	.events_start = libvirt_events_start,
	.events_stop = libvirt_events_stop,
	.alive = libvirt_alive,
	.console_open = libvirt_console_open,
	.console_read = libvirt_console_read,
	.console_write = libvirt_console_write,
	.console_close = libvirt_console_close,
};
