/* libvirt's errors as ours: the one place. */
#include <string.h>

#include "libcommon/host/libvirt/lib.h"

static enum err_code code_of(const virError *e)
{
	switch (e->code) {
	case VIR_ERR_NO_DOMAIN:
	case VIR_ERR_NO_NETWORK:
	case VIR_ERR_NO_STORAGE_POOL:
	case VIR_ERR_NO_STORAGE_VOL:
	case VIR_ERR_NO_DOMAIN_SNAPSHOT:
	case VIR_ERR_NO_DOMAIN_CHECKPOINT:
	case VIR_ERR_NO_DOMAIN_BACKUP:
	case VIR_ERR_DEVICE_MISSING:
		return ERR_NOT_FOUND;
	case VIR_ERR_DOM_EXIST:
	case VIR_ERR_NETWORK_EXIST:
	case VIR_ERR_STORAGE_VOL_EXIST:
		return ERR_EXISTS;
	case VIR_ERR_OPERATION_TIMEOUT: /* "cannot acquire state change lock (held by ...)" */
	case VIR_ERR_RESOURCE_BUSY:
		return ERR_BUSY;
	case VIR_ERR_CHECKPOINT_INCONSISTENT:
		return ERR_BASE_GONE;
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_INVALID_CONN:
	case VIR_ERR_RPC:
	case VIR_ERR_SYSTEM_ERROR: /* of the remote driver: the socket; others are sorted below */
	case VIR_ERR_AGENT_UNRESPONSIVE:
	case VIR_ERR_AGENT_UNSYNCED:
		return ERR_CONNECTION;
	case VIR_ERR_NO_SUPPORT:
	case VIR_ERR_CONFIG_UNSUPPORTED:
	case VIR_ERR_OPERATION_UNSUPPORTED:
	case VIR_ERR_ARGUMENT_UNSUPPORTED:
		return ERR_UNSUPPORTED;
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_OPERATION_DENIED:
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_AUTH_CANCELLED:
	case VIR_ERR_AUTH_UNAVAILABLE:
		return ERR_DENIED;
	case VIR_ERR_XML_ERROR:
	case VIR_ERR_XML_DETAIL:
	case VIR_ERR_XML_INVALID_SCHEMA:
	case VIR_ERR_INVALID_ARG:
		return ERR_USAGE;
	case VIR_ERR_NO_MEMORY:
		return ERR_NO_MEMORY;
	default:
		return ERR_FAILED;
	}
}

static bool says(const virError *e, const char *text)
{
	return e->message && strstr(e->message, text);
}

/* What libvirt says in words alone. */
static enum err_code refine(const virError *e, enum err_code code)
{
	bool remote = e->domain == VIR_FROM_RPC || e->domain == VIR_FROM_REMOTE;

	if (says(e, "No space left on device"))
		return ERR_NO_SPACE;
	if (e->code == VIR_ERR_SYSTEM_ERROR && says(e, "Permission denied"))
		return ERR_DENIED;
	if (e->code == VIR_ERR_SYSTEM_ERROR && !remote)
		return says(e, "No such file or directory") ? ERR_NOT_FOUND : ERR_FAILED;
	if (e->code == VIR_ERR_INTERNAL_ERROR &&
	    (says(e, "client socket is closed") || says(e, "connection closed") ||
	     says(e, "End of file from qemu monitor")))
		return ERR_CONNECTION;
	if (e->code == VIR_ERR_OPERATION_FAILED && says(e, "already exists"))
		return ERR_EXISTS;
	return code;
}

int libvirt_error(const struct libvirt *lv, struct err *err)
{
	const virError *e = lv->GetLastError();

	if (!e || e->code == VIR_ERR_OK)
		return err_set(err, ERR_FAILED, "libvirt failed without saying why");

	const char *text = e->message ? e->message : "libvirt failed without saying why";

	err_set(err, refine(e, code_of(e)), "%.*s", (int)strcspn(text, "\n"), text);
	lv->ResetLastError();
	return -1;
}

int libvirt_only(const struct host *h, const char *what, struct err *err)
{
	if (h->driver == &host_libvirt)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the driver %s has no %s", h->driver->name, what);
	return err_object(err, h->uri);
}
