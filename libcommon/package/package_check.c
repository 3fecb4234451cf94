/* Is a package what it says? Order, names, sizes, digests, the signature, and with deep the disks. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/signature.h"
#include "libcommon/base/stop.h"
#include "libcommon/package/manifest.h"
#include "libcommon/package/package_private.h"

struct checking {
	struct package *p;
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	uint64_t faults;
	char *manifest_name; /* NULL: none */
	struct manifest manifest;
};

static void fault(struct checking *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct checking *c, const char *fmt, ...)
{
	char text[1200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->faults++;
	if (c->report)
		c->report(c->ctx, text);
}

/* What could not be read because it is damaged or not there is a fault; other failures end the check. */
static int fault_or_fail(struct checking *c, const char *what, const struct err *e, struct err *err)
{
	switch (e->code) {
	case ERR_CORRUPT:
	case ERR_NOT_FOUND:
	case ERR_DENIED:
	case ERR_UNSUPPORTED:
	case ERR_USAGE:
		fault(c, "%s: %s", what, e->message);
		return 0;
	default:
		if (err)
			*err = *e;
		return -1;
	}
}

static int digest_of(struct bfile *f, const char *algorithm, char *ret_hex, struct err *err)
{
	enum { CHUNK = 1 << 20 };
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK);
	uint64_t size = bfile_size(f);
	struct digest *d;
	int rc = 0;

	if (!buf)
		return err_nomem(err);
	if (digest_new(&d, algorithm, err) < 0)
		return -1;
	for (uint64_t at = 0; at < size && rc == 0; at += CHUNK) {
		size_t n = (size_t)min_u64(CHUNK, size - at);

		if (stop_check(err) < 0 || bfile_pread(f, buf, n, at, err) < 0 ||
		    digest_update(d, buf, n, err) < 0)
			rc = -1;
	}
	if (rc == 0)
		rc = digest_final(d, ret_hex, err);
	digest_free(d);
	return rc;
}

/* DSP0243: the descriptor first, then manifest and certificate before all other files or behind them. */
static void check_order(struct checking *c)
{
	const struct package *p = c->p;
	size_t at = c->manifest_name ? package_member(p, c->manifest_name) : SIZE_MAX;

	if (!p->ova)
		return;
	if (strcmp(p->members[0].name, p->ovf_name) != 0)
		fault(c, "the first member is %s, not the descriptor %s", p->members[0].name,
		      p->ovf_name);
	for (size_t i = 0; i < p->n_members; i++) {
		const char *name = p->members[i].name;
		size_t n = strlen(name);

		if (n > 4 && strcmp(name + n - 4, ".ovf") == 0 && strcmp(name, p->ovf_name) != 0)
			fault(c, "%s is a second descriptor", name);
	}
	if (at != SIZE_MAX && at != 1 && at + 2 < p->n_members)
		fault(c, "the manifest %s is member %zu of %zu: it must be the second or the last",
		      c->manifest_name, at + 1, p->n_members);
}

static int check_file(struct checking *c, const struct ovf_file *f, struct err *err)
{
	struct err e = ERR_INIT;
	struct bfile *stored;

	if (package_file(c->p, f, &stored, NULL, &e) < 0)
		return fault_or_fail(c, f->href, &e, err);
	if (f->has_size && f->size != bfile_size(stored))
		fault(c, "%s has %" PRIu64 " bytes, the descriptor says %" PRIu64, f->href,
		      bfile_size(stored), f->size);
	bfile_close(stored);
	return 0;
}

static int check_line(struct checking *c, const struct manifest_line *l, struct err *err)
{
	CLEANUP_FREE char *decoded = NULL;
	char hex[DIGEST_HEX_MAX];
	struct err e = ERR_INIT;
	struct bfile *f;
	int rc = ovf_decode_href(l->name, &decoded, &e);

	if (rc == 0) {
		rc = package_bytes(c->p, l->name, &f, &e);
		if (rc < 0 && e.code == ERR_NOT_FOUND && strcmp(decoded, l->name) != 0)
			rc = package_bytes(c->p, decoded, &f, &e);
	}
	if (rc == 0) {
		rc = digest_of(f, l->algorithm, hex, &e);
		bfile_close(f);
	}
	if (rc < 0)
		return fault_or_fail(c, l->name, &e, err);
	if (strcmp(hex, l->hex) != 0)
		fault(c, "%s: the %s is %s, the manifest says %s", l->name, l->algorithm, hex,
		      l->hex);
	return 0;
}

/* Every file must be listed, the manifest itself and its certificate never. */
static void check_listed(struct checking *c)
{
	const struct ovf *o = &c->p->ovf;

	if (!manifest_find(&c->manifest, c->p->ovf_name))
		fault(c, "%s is not in the manifest", c->p->ovf_name);
	if (manifest_find(&c->manifest, c->manifest_name))
		fault(c, "the manifest lists itself");
	for (size_t i = 0; i < o->n_files; i++) {
		CLEANUP_FREE char *chunk = NULL;
		const char *name = o->files[i].href;

		if (o->files[i].chunk_size && asprintf(&chunk, "%s.000000000", name) > 0)
			name = chunk;
		if (!manifest_find(&c->manifest, name))
			fault(c, "%s is not in the manifest", name);
	}
}

static int check_manifest(struct checking *c, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct err e = ERR_INIT;
	size_t len;

	if (!c->manifest_name)
		return 0;
	if (package_text(c->p, c->manifest_name, MANIFEST_BYTES_MAX, &text, &len, &e) < 0 ||
	    manifest_parse(&c->manifest, text, len, &e) < 0)
		return fault_or_fail(c, c->manifest_name, &e, err);
	if (c->manifest.spaced)
		log_warning("%s: a blank before \"(\": vSphere refuses such manifests",
			    c->manifest_name);
	check_listed(c);
	for (size_t i = 0; i < c->manifest.n; i++)
		if (check_line(c, &c->manifest.lines[i], err) < 0)
			return -1;
	return 0;
}

/* The first line of a .cert is the signature of the manifest, a PEM certificate follows. */
static int check_signature(struct checking *c, const char *name, struct manifest *cert,
			   struct err *err)
{
	CLEANUP_FREE char *text = NULL, *signed_text = NULL, *subject = NULL;
	CLEANUP_FREE uint8_t *signature = NULL;
	size_t len, signed_len, n;

	if (package_text(c->p, name, MANIFEST_BYTES_MAX, &text, &len, err) < 0 ||
	    manifest_parse_cert(cert, text, len, err) < 0 ||
	    package_text(c->p, c->manifest_name, MANIFEST_BYTES_MAX, &signed_text, &signed_len,
			 err) < 0)
		return -1;
	if (strcmp(cert->lines[0].name, c->manifest_name) != 0)
		return err_set(err, ERR_CORRUPT, "it signs %s, not %s", cert->lines[0].name,
			       c->manifest_name);
	n = strlen(cert->lines[0].hex) / 2;
	signature = malloc(n + 1);
	if (!signature)
		return err_nomem(err);
	if (hex_decode(cert->lines[0].hex, signature, n) < 0)
		return err_set(err, ERR_CORRUPT, "the signature is not hexadecimal");
	if (signature_verify(text + cert->pem_at, len - cert->pem_at, cert->lines[0].algorithm,
			     signature, n, signed_text, signed_len, &subject, err) < 0)
		return -1;
	log_info("%s: signed by %s (who issued that is not looked at)", name, subject);
	return 0;
}

static int check_cert(struct checking *c, struct err *err)
{
	CLEANUP_FREE char *name = NULL;
	struct manifest cert = {0};
	struct err e = ERR_INIT;
	int rc = 0;

	if (package_beside(c->p, ".cert", &name, err) < 0)
		return -1;
	if (!name)
		return 0;
	if (!c->manifest_name)
		fault(c, "%s signs a manifest that is not there", name);
	else if (check_signature(c, name, &cert, &e) < 0)
		rc = fault_or_fail(c, name, &e, err);
	manifest_release(&cert);
	return rc;
}

struct disk_report {
	struct checking *c;
	const char *id;
};

static void disk_fault(void *ctx, const char *sentence)
{
	const struct disk_report *r = ctx;

	fault(r->c, "disk %s: %s", r->id, sentence);
}

static int check_disk(struct checking *c, size_t i, bool deep, struct err *err)
{
	const struct ovf_disk *d = &c->p->ovf.disks[i];
	const struct image_open_opts opts = {.flags = IMAGE_CHECK | IMAGE_NO_LOCK |
						      (deep ? 0 : IMAGE_INFO)};
	struct disk_report r = {c, d->id};
	struct image_check_result result;
	struct err e = ERR_INIT;
	struct image *img;
	char what[96];

	/* Without deep a compressed disk is not unpacked; one that is missing was told before. */
	if (d->parent || d->file == OVF_NO_FILE || (!deep && c->p->ovf.files[d->file].gzip))
		return 0;
	(void)snprintf(what, sizeof(what), "disk %.60s", d->id);
	if (package_open_disk(c->p, i, &opts, &img, &e) < 0)
		return e.code == ERR_NOT_FOUND ? 0 : fault_or_fail(c, what, &e, err);
	if (d->capacity && image_size(img) != d->capacity)
		fault(c, "%s has %" PRIu64 " bytes, the descriptor says %" PRIu64, what,
		      image_size(img), d->capacity);

	int rc = 0;

	if (deep && image_check(img, CHECK_DEEP, disk_fault, &r, &result, &e) < 0 &&
	    e.code != ERR_UNSUPPORTED)
		rc = fault_or_fail(c, what, &e, err);
	image_close(img);
	return rc;
}

static int check_all(struct checking *c, bool deep, struct err *err)
{
	const struct ovf *o = &c->p->ovf;

	if (package_beside(c->p, ".mf", &c->manifest_name, err) < 0)
		return -1;
	check_order(c);
	for (size_t i = 0; i < o->n_faults; i++)
		fault(c, "%s: %s", c->p->ovf_name, o->faults[i]);
	for (size_t i = 0; i < o->n_files; i++)
		if (check_file(c, &o->files[i], err) < 0)
			return -1;
	if (check_manifest(c, err) < 0 || check_cert(c, err) < 0)
		return -1;
	for (size_t i = 0; i < o->n_disks; i++)
		if (check_disk(c, i, deep, err) < 0)
			return -1;
	return 0;
}

int package_check(struct package *p, bool deep, void (*report)(void *ctx, const char *sentence),
		  void *ctx, uint64_t *ret_faults, struct err *err)
{
	struct checking c = {.p = p, .report = report, .ctx = ctx};
	int rc = check_all(&c, deep, err);

	free(c.manifest_name);
	manifest_release(&c.manifest);
	*ret_faults = c.faults;
	return rc < 0 ? err_object(err, p->name) : 0;
}
