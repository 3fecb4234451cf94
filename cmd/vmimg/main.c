/* vmimg: virtual disk images. The table of verbs; each is a file of its own. */
#include <jansson.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/image/format.h"
#include "libcommon/image/preset.h"
#include "libcommon/image/protocol/nbd.h"
#include "libcommon/image/secret.h"
#include "libcommon/package/package.h"

static const struct verb *const verbs[] = {
	&verb_info,   &verb_convert,  &verb_create, &verb_check,   &verb_compare,
	&verb_map,    &verb_measure,  &verb_digest, &verb_resize,  &verb_commit,
	&verb_rebase, &verb_sparsify, &verb_serve,  &verb_inspect, &verb_ls,
	&verb_cat,    &verb_get,      &verb_put,    NULL,
};

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	if (kind != COMPLETE_FORMAT)
		return;
	for (size_t i = 0; image_formats[i]; i++)
		if (!strncmp(image_formats[i]->name, prefix, strlen(prefix)))
			(void)fprintf(out, "%s\n", image_formats[i]->name);
	if (!strncmp("ova", prefix, strlen(prefix)))
		(void)fprintf(out, "ova\n");
}

static void versions(FILE *out)
{
	(void)fprintf(out, "jansson %s\n", jansson_version_str());
	(void)fprintf(out, "%s\n", OpenSSL_version(OPENSSL_VERSION));
	(void)fprintf(out, "zlib %s\n", zlibVersion());
	(void)fprintf(out, "zstd %s\n", ZSTD_versionString());
}

static void man(FILE *out)
{
	(void)fputs(".SH FORMATS\n"
		    "A format is probed unless it is named; a new image gets that of its name's "
		    "suffix.\n",
		    out);
	for (size_t i = 0; image_formats[i]; i++) {
		const struct image_option *o = image_formats[i]->create_options;

		(void)fprintf(out, ".TP\n.B %s\n%s.", image_formats[i]->name,
			      image_formats[i]->description);
		if (o && o->name)
			(void)fputs(" Options of a new image:", out);
		for (; o && o->name; o++)
			(void)fprintf(out, "\n.br\n\\fB%s\\fR=\\fI%s\\fR: %s", o->name,
				      o->choices ? o->choices : "VALUE", o->help);
		(void)fputc('\n', out);
	}
	(void)fputs(
		".SH ENCRYPTED IMAGES\n"
		"qcow2 images with LUKS inside are read, and written in place, with the "
		"passphrase that\n"
		"\\fBVMKIT_PASSWORD_FILE\\fR or \\fBVMKIT_PASSWORD_COMMAND\\fR gives, or the "
		"terminal. \\fBcreate\\fR, \\fBconvert\\fR and \\fB-o encryption=luks\\fR make new "
		"ones (AES-256-XTS, a LUKS1\n"
		"header). Their master key and salts are random: the same source never gives the "
		"same bytes twice.\n"
		"They are not compressed (\\fB-c\\fR) and have no external data file.\n",
		out);
	(void)fputs(".SH PACKAGES\n"
		    "\\fIFILE\\fB.ova\\fR and \\fIFILE\\fB.ovf\\fR are packages of machines "
		    "with their disks: \\fBinfo\\fR and\n"
		    "\\fBcheck\\fR look at all of it, every other verb at the disk inside, which "
		    "\\fBova:\\fIFILE\\fB#\\fIDISK\\fR\n"
		    "names by its id, file name or number. Nothing is unpacked. "
		    "\\fB\\-f ova\\fR reads one from a pipe.\n",
		    out);
	(void)fputs(".SH TARGETS\n"
		    "What \\fB\\-\\-for\\fR makes; disks grow to the sizes that a target takes.\n"
		    "The backup GPT of a disk that grew is not at its end any more:\n"
		    "\\fBvmimg resize \\fIIMAGE\\fB +0\\fR moves it.\n",
		    out);
	for (const struct image_preset *p = image_presets; p->name; p++)
		(void)fprintf(out, ".TP\n.B %s\n%s.\n", p->name, p->summary);
}

/* Encrypted images: the same passphrase for all of a chain */
static int get_secret(const char *name, bool is_new, char **ret, struct err *err)
{
	char prompt[512];

	(void)snprintf(prompt, sizeof(prompt), "%spassphrase of %s", is_new ? "new " : "", name);
	return cli_password(NULL, prompt, is_new, ret, err);
}

static const struct image_secret_source secrets = {.get = get_secret, .release = cli_password_free};

static const struct program program = {
	.name = "vmimg",
	.summary = "virtual disk images: convert, inspect, check, compare",
	.verbs = verbs,
	.complete = complete,
	.versions = versions,
	.man = man,
};

int main(int argc, char **argv)
{
	package_register();
	nbd_register();
	repo_register(&vmimg_key);
	image_register_secret(&secrets);
	return cli_main(&program, argc, argv);
}
