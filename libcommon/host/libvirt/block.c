/* Block jobs of libvirt domains: see host/snapshot.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"
#include "libcommon/host/snapshot.h"
#include "libcommon/host/xmldoc.h"

#define DISKS "/domain/devices/disk"

static int said(struct domain *d, struct err *err)
{
	libvirt_error(libvirt_of(d->host)->lv, err);
	return err_object(err, d->name);
}

void domain_chain_free(char **files, size_t n)
{
	for (size_t i = 0; files && i < n; i++)
		free(files[i]);
	free(files);
}

/* What a job writes to is no part of the chain by that */
static int chain_of(const struct xmldoc *x, size_t disk, char ***ret, size_t *ret_n,
		    struct err *err)
{
	char path[128];
	size_t n;

	(void)snprintf(path, sizeof(path), DISKS "[%zu]/descendant::source[not(ancestor::mirror)]",
		       disk + 1);
	n = xmldoc_count(x, path);
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return err_nomem(err);
	*ret_n = 0;
	for (size_t i = 0; i < n; i++) {
		char *file = xmldoc_get_nth(x, path, i, "@file");

		if (file)
			(*ret)[(*ret_n)++] = file;
	}
	return 0;
}

int domain_chain(struct domain *d, bool running, const char *target, char ***ret, size_t *ret_n,
		 struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct xmldoc *x;
	size_t n;
	int rc = 1;

	if (domain_xml(d, running ? 0 : DOMAIN_XML_CONFIG, &text, err) < 0 ||
	    xmldoc_parse(&x, text, "domain", err) < 0)
		return -1;
	n = xmldoc_count(x, DISKS);
	for (size_t i = 0; rc > 0 && i < n; i++) {
		CLEANUP_FREE char *dev = xmldoc_get_nth(x, DISKS, i, "target/@dev");

		if (dev && strcmp(dev, target) == 0)
			rc = chain_of(x, i, ret, ret_n, err);
	}
	xmldoc_free(x);
	if (rc > 0) {
		rc = err_set(err, ERR_NOT_FOUND, "has no disk %s", target);
		err_object(err, d->name);
	}
	return rc;
}

int domain_commit_begin(struct domain *d, const char *target, const char *top, const char *base,
			bool relative, uint64_t rate, struct err *err)
{
	const struct libvirt *lv;
	CLEANUP_FREE char **chain = NULL;
	bool active;
	size_t n;

	if (libvirt_only(d->host, "block jobs", err) < 0)
		return -1;
	lv = libvirt_of(d->host)->lv;
	if (domain_chain(d, true, target, &chain, &n, err) < 0)
		return -1;
	active = n > 0 && strcmp(chain[0], top) == 0;
	for (size_t i = 0; i < n; i++)
		free(chain[i]);
	if (domain_idle(d, err) < 0)
		return -1;
	if (lv->DomainBlockCommit(libvirt_domain(d), target, base, top, rate,
				  VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES |
					  (active ? VIR_DOMAIN_BLOCK_COMMIT_ACTIVE : 0) |
					  (relative ? VIR_DOMAIN_BLOCK_COMMIT_RELATIVE : 0)) < 0)
		return said(d, err);
	return 0;
}

int domain_block_job(struct domain *d, const char *target, struct block_job *ret, struct err *err)
{
	virDomainBlockJobInfo info;
	int runs;

	*ret = (struct block_job){0};
	if (libvirt_only(d->host, "block jobs", err) < 0)
		return -1;
	runs = libvirt_of(d->host)->lv->DomainGetBlockJobInfo(libvirt_domain(d), target, &info, 0);
	if (runs < 0)
		return said(d, err);
	if (runs == 0)
		return 0;
	ret->runs = true;
	ret->commit = info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT ||
		      info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT;
	ret->done = info.cur;
	ret->total = info.end;
	ret->ready = info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT && info.cur == info.end;
	return 0;
}

int domain_block_end(struct domain *d, const char *target, bool pivot, struct err *err)
{
	const struct libvirt *lv;
	const virError *e;

	if (libvirt_only(d->host, "block jobs", err) < 0)
		return -1;
	lv = libvirt_of(d->host)->lv;
	if (lv->DomainBlockJobAbort(libvirt_domain(d), target,
				    pivot ? VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT : 0) == 0)
		return 0;
	e = lv->GetLastError();
	if (e && e->code == VIR_ERR_BLOCK_COPY_ACTIVE) {
		lv->ResetLastError();
		err_set(err, ERR_BUSY, "the block job is not ready");
		return err_object(err, d->name);
	}
	return said(d, err);
}
