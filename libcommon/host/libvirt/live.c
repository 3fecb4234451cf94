/* Backup jobs and checkpoints of libvirt domains: see live.h. */
#include "libcommon/host/live.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"
#include "libcommon/host/xmldoc.h"

static int said(struct domain *d, struct err *err)
{
	libvirt_error(libvirt_of(d->host)->lv, err);
	return err_object(err, d->name);
}

/* Text that grows; a lack of memory is noted, and found at the end. */
struct text {
	char *s; /* owned */
	size_t len;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	char *piece, *more;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&piece, fmt, ap);
	va_end(ap);
	more = n < 0 ? NULL : realloc(t->s, t->len + (size_t)n + 1);
	if (more) {
		memcpy(more + t->len, piece, (size_t)n + 1);
		t->s = more;
		t->len += (size_t)n;
	} else {
		t->failed = true;
	}
	if (n >= 0)
		free(piece);
}

/* One attribute, with a blank in front. */
static void attribute(struct text *t, const char *name, const char *value)
{
	CLEANUP_FREE char *safe = xml_escape(value); /* which knows both quotes */

	t->failed |= !safe;
	add(t, " %s='%s'", name, safe ? safe : "");
}

static void backup_disk(struct text *t, const struct live_disk *d)
{
	add(t, "<disk");
	attribute(t, "name", d->target);
	if (!d->scratch) {
		add(t, " backup='no'/>");
		return;
	}
	add(t, " backup='yes' type='file'");
	attribute(t, "exportname", d->target);
	if (d->since) {
		add(t, " backupmode='incremental' exportbitmap='vmkit-changes'");
		attribute(t, "incremental", d->since);
	} else {
		add(t, " backupmode='full'");
	}
	add(t, "><scratch");
	attribute(t, "file", d->scratch);
	add(t, "/></disk>");
}

static void backup_xml(struct text *t, const struct live_job *job)
{
	add(t, "<domainbackup mode='pull'><server transport='unix'");
	attribute(t, "socket", job->socket);
	add(t, "/><disks>");
	for (size_t i = 0; i < job->n_disks; i++)
		backup_disk(t, &job->disks[i]);
	add(t, "</disks></domainbackup>");
}

static void checkpoint_xml(struct text *t, const struct live_job *job)
{
	CLEANUP_FREE char *name = xml_escape(job->checkpoint);

	t->failed |= !name;
	add(t,
	    "<domaincheckpoint><name>%s</name><description>vmbackup: the next backup reads what "
	    "changed since</description><disks>",
	    name ? name : "");
	for (size_t i = 0; i < job->n_disks; i++) {
		bool take = job->disks[i].checkpoint && job->disks[i].scratch;

		add(t, "<disk");
		attribute(t, "name", job->disks[i].target);
		add(t, " checkpoint='%s'/>", take ? "bitmap" : "no");
	}
	add(t, "</disks></domaincheckpoint>");
}

/* *@ret is owned. */
static int make_xml(void (*write)(struct text *t, const struct live_job *job),
		    const struct live_job *job, char **ret, struct err *err)
{
	struct text t = {0};

	write(&t, job);
	if (t.failed) {
		free(t.s);
		return err_nomem(err);
	}
	*ret = t.s;
	return 0;
}

int domain_backup_begin(struct domain *d, const struct live_job *job, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	CLEANUP_FREE char *backup = NULL, *checkpoint = NULL;

	if (libvirt_only(d->host, "live backups", err) < 0)
		return -1;
	if (make_xml(backup_xml, job, &backup, err) < 0 ||
	    (job->checkpoint && make_xml(checkpoint_xml, job, &checkpoint, err) < 0))
		return -1;
	if (domain_idle(d, err) < 0)
		return -1;
	if (lv->DomainBackupBegin(libvirt_domain(d), backup, checkpoint, 0) == 0)
		return 0;
	said(d, err);
	/* A checkpoint is asked for by name here alone. */
	if (err && err->code == ERR_NOT_FOUND && strstr(err->message, "checkpoint"))
		err->code = ERR_BASE_GONE;
	return -1;
}

int domain_backup_socket(struct domain *d, char **ret, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	struct err why = ERR_INIT;
	struct xmldoc *x;

	*ret = NULL;
	if (libvirt_only(d->host, "live backups", err) < 0)
		return -1;
	xml = libvirt_of(d->host)->lv->DomainBackupGetXMLDesc(libvirt_domain(d), 0);
	if (!xml) {
		said(d, &why);
		if (why.code == ERR_NOT_FOUND)
			return 0;
		if (err)
			*err = why;
		return -1;
	}
	if (xmldoc_parse(&x, xml, "backup", err) < 0)
		return -1;
	*ret = xmldoc_get(x, "/domainbackup/server/@socket");
	xmldoc_free(x);
	if (!*ret)
		*ret = strdup("");
	return *ret ? 0 : err_nomem(err);
}

int domain_backup_end(struct domain *d, struct err *err)
{
	CLEANUP_FREE char *socket = NULL;

	if (domain_backup_socket(d, &socket, err) < 0)
		return -1;
	return socket && libvirt_of(d->host)->lv->DomainAbortJob(libvirt_domain(d)) < 0
		       ? said(d, err)
		       : 0;
}

int domain_checkpoints(struct domain *d, char ***ret, size_t *ret_n, struct err *err)
{
	const struct libvirt *lv;
	virDomainCheckpointPtr *list = NULL;
	int count, rc = 0;
	char **names;

	if (libvirt_only(d->host, "checkpoints", err) < 0)
		return -1;
	lv = libvirt_of(d->host)->lv;
	count = lv->DomainListAllCheckpoints(libvirt_domain(d), &list, 0);
	if (count < 0)
		return said(d, err);
	names = calloc((size_t)count + 1, sizeof(*names));
	if (!names)
		rc = err_nomem(err);
	for (int i = 0; i < count; i++) {
		const char *name = lv->DomainCheckpointGetName(list[i]);

		if (rc == 0 && !(names[i] = strdup(name ? name : "")))
			rc = err_nomem(err);
		(void)lv->DomainCheckpointFree(list[i]);
	}
	free(list);
	if (rc < 0) {
		for (int i = 0; names && i < count; i++)
			free(names[i]);
		free(names);
		return -1;
	}
	*ret = names;
	*ret_n = (size_t)count;
	return 0;
}

int domain_checkpoint_delete(struct domain *d, const char *name, struct err *err)
{
	const struct libvirt *lv;
	virDomainCheckpointPtr c;
	struct err why = ERR_INIT;
	int rc;

	if (libvirt_only(d->host, "checkpoints", err) < 0)
		return -1;
	lv = libvirt_of(d->host)->lv;
	c = lv->DomainCheckpointLookupByName(libvirt_domain(d), name, 0);
	if (!c) {
		said(d, &why);
		if (why.code == ERR_NOT_FOUND)
			return 0;
		if (err)
			*err = why;
		return -1;
	}
	rc = lv->DomainCheckpointDelete(c, 0);
	if (rc < 0) {
		/* After a crash of QEMU a bitmap may be missing: then nothing can ever use it. */
		lv->ResetLastError();
		rc = lv->DomainCheckpointDelete(c, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY);
	}
	if (rc < 0)
		said(d, err);
	(void)lv->DomainCheckpointFree(c);
	return rc < 0 ? -1 : 0;
}
