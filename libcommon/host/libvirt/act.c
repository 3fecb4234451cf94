/* What is done to libvirt domains, and whether somebody else is doing something to them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/host/libvirt/lib.h"

/* Drivers refuse flags for what they do not have at all: those of QEMU first, then what is left of them. */
static int undefine(const struct libvirt *lv, virDomainPtr dom, bool keep_files)
{
	unsigned flags = (keep_files ? 0 : VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) |
			 VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
			 VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
	const unsigned tries[] = {
		flags | (keep_files ? VIR_DOMAIN_UNDEFINE_KEEP_NVRAM : VIR_DOMAIN_UNDEFINE_NVRAM),
		flags, 0};
	int rc = -1;

	for (size_t i = 0; rc < 0 && i < sizeof(tries) / sizeof(tries[0]); i++) {
		const virError *e = i ? lv->GetLastError() : NULL;

		if (e && e->code != VIR_ERR_INVALID_ARG)
			break;
		lv->ResetLastError();
		rc = lv->DomainUndefineFlags(dom, tries[i]);
	}
	return rc;
}

static int call(const struct libvirt *lv, virDomainPtr dom, enum domain_action what)
{
	switch (what) {
	case DOMAIN_START:
		return lv->DomainCreateWithFlags(dom, 0);
	case DOMAIN_START_PAUSED:
		return lv->DomainCreateWithFlags(dom, VIR_DOMAIN_START_PAUSED);
	case DOMAIN_START_FRESH:
		return lv->DomainCreateWithFlags(dom, VIR_DOMAIN_START_FORCE_BOOT);
	case DOMAIN_SUSPEND:
		return lv->DomainSuspend(dom);
	case DOMAIN_RESUME:
		return lv->DomainResume(dom);
	case DOMAIN_SHUTDOWN_AGENT:
		return lv->DomainShutdownFlags(dom, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT);
	case DOMAIN_SHUTDOWN_ACPI: /* 0: drivers that know one way only refuse flags */
		return lv->DomainShutdownFlags(dom, 0);
	case DOMAIN_REBOOT_AGENT:
		return lv->DomainReboot(dom, VIR_DOMAIN_REBOOT_GUEST_AGENT);
	case DOMAIN_REBOOT_ACPI:
		return lv->DomainReboot(dom, 0);
	case DOMAIN_RESET:
		return lv->DomainReset(dom, 0);
	case DOMAIN_DESTROY:
		return lv->DomainDestroyFlags(dom, 0);
	case DOMAIN_SAVE:
		return lv->DomainManagedSave(dom, 0);
	case DOMAIN_AUTOSTART_ON:
	case DOMAIN_AUTOSTART_OFF:
		return -1; /* autostart.c */
	case DOMAIN_UNDEFINE:
		return undefine(lv, dom, false);
	case DOMAIN_UNDEFINE_HERE:
		return undefine(lv, dom, true);
	case DOMAIN_ACTIONS:
		break;
	}
	return -1;
}

/* Would it wait 30 s behind a job? Destroying is what ends jobs, and starting cannot meet one. */
static bool minds_jobs(enum domain_action what)
{
	return what != DOMAIN_DESTROY && what != DOMAIN_START && what != DOMAIN_START_PAUSED &&
	       what != DOMAIN_START_FRESH;
}

int libvirt_act(struct domain *d, enum domain_action what, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;

	if (what == DOMAIN_AUTOSTART_ON || what == DOMAIN_AUTOSTART_OFF)
		return libvirt_autostart_flag(d, what == DOMAIN_AUTOSTART_ON, err);
	if (minds_jobs(what) && libvirt_idle(d, err) < 0)
		return -1;
	return call(lv, libvirt_domain(d), what) < 0 ? libvirt_error(lv, err) : 0;
}

static const char *operation_name(int op)
{
	switch (op) {
	case VIR_DOMAIN_JOB_OPERATION_START:
		return "start";
	case VIR_DOMAIN_JOB_OPERATION_SAVE:
		return "save";
	case VIR_DOMAIN_JOB_OPERATION_RESTORE:
		return "restore";
	case VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN:
	case VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
		return "migration";
	case VIR_DOMAIN_JOB_OPERATION_SNAPSHOT:
	case VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT:
		return "snapshot";
	case VIR_DOMAIN_JOB_OPERATION_DUMP:
		return "memory dump";
	case VIR_DOMAIN_JOB_OPERATION_BACKUP:
		return "backup";
	default:
		return "job";
	}
}

/*
 * ControlInfo is answered at once whatever runs; asking for the job itself is not. A monitor that works at one command
 * is what any other client's question looks like for some milliseconds: only one that has hung for two seconds is busy.
 */
static int look_at_control(const struct libvirt *lv, virDomainPtr dom, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	virDomainControlInfo control;

	for (int i = 0; i < 100; i++) {
		if (lv->DomainGetControlInfo(dom, &control, 0) < 0) {
			lv->ResetLastError(); /* off, or a driver without it */
			return 0;
		}
		if (control.state == VIR_DOMAIN_CONTROL_ERROR)
			return err_set(err, ERR_CONNECTION, "the hypervisor's monitor is broken");
		if (control.state != VIR_DOMAIN_CONTROL_OCCUPIED)
			return 0;
		if (control.stateTime >= 2000)
			return err_set(err, ERR_BUSY, "the hypervisor has not answered for %.1f s",
				       (double)control.stateTime / 1000);
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* A daemon that was killed while it began a backup takes up a job (libvirt 9.0) that it has no data of, and so never ends:
 * whatever wants a job then waits for it. Other drivers tell nothing of jobs. */
static int lost_job(const struct libvirt *lv, struct err *err)
{
	struct err why = ERR_INIT;

	libvirt_error(lv, &why);
	if (!strstr(why.message, "backup job data missing"))
		return 0;
	err_set(err, ERR_BUSY,
		"its daemon was killed as a backup began, and holds that job for ever");
	return err_hint(err, "the guest goes on; the job is gone when the machine was stopped and "
			     "then its daemon started anew");
}

int libvirt_idle(struct domain *d, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	virTypedParameterPtr params = NULL;
	int type = VIR_DOMAIN_JOB_NONE, n = 0, op = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;

	if (look_at_control(lv, libvirt_domain(d), err) < 0)
		return -1;
	if (lv->DomainGetJobStats(libvirt_domain(d), &type, &params, &n, 0) < 0)
		return lost_job(lv, err);
	(void)lv->TypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &op);
	lv->TypedParamsFree(params, n);
	if (type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED) {
		err_set(err, ERR_BUSY, "a %s is under way", operation_name(op));
		return err_hint(err, "try again when it has ended");
	}
	return 0;
}
