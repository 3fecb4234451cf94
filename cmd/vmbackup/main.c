/* vmbackup: backups of virtual disks in a deduplicating repository. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/image/format.h"
#include "libcommon/image/protocol/nbd.h"
#include "libcommon/package/package.h"
#include "libcommon/repo/s3_opts.h"

static const char *repository;
static unsigned expected; /* number of a snapshot; 0: none */
static struct repo_s3_opts s3 = {.retries = S3_RETRIES, .cache_size = S3_CACHE_SIZE};

static const struct opt options[] = {
	{.letter = 'r',
	 .name = "repository",
	 .type = OPT_STRING,
	 .value = &repository,
	 .arg = "REPO",
	 .help = "the repository: a folder, or s3://BUCKET/PREFIX",
	 .complete = COMPLETE_DIR,
	 .env = "VMKIT_REPOSITORY"},
	{.name = "expect-at-least",
	 .type = OPT_UINT,
	 .value = &expected,
	 .arg = "N",
	 .help = "refuse a repository without a snapshot of number N (\"seq\" of list --json) or "
		 "higher: it was rolled back",
	 .min = 1},
	{.name = "s3-endpoint",
	 .type = OPT_STRING,
	 .value = &s3.endpoint,
	 .arg = "URL",
	 .help = "the server of s3: repositories, https://HOST[:PORT] (default: AWS)",
	 .env = "AWS_ENDPOINT_URL"},
	{.name = "s3-region",
	 .type = OPT_STRING,
	 .value = &s3.region,
	 .arg = "NAME",
	 .help = "the region of its buckets (default us-east-1)",
	 .env = "AWS_REGION"},
	{.name = "s3-ca",
	 .type = OPT_STRING,
	 .value = &s3.ca_file,
	 .arg = "FILE",
	 .help = "certificates to trust instead of the system's",
	 .complete = COMPLETE_FILE,
	 .env = "AWS_CA_BUNDLE"},
	{.name = "s3-retries",
	 .type = OPT_UINT,
	 .value = &s3.retries,
	 .arg = "N",
	 .help = "tries again of one request that the server or the network failed (default 10)",
	 .max = 1000},
	{.name = "s3-rate-limit",
	 .type = OPT_SIZE,
	 .value = &s3.rate_limit,
	 .arg = "SIZE",
	 .help = "bytes a second at most, of all transfers together, both ways"},
	{.name = "s3-object-lock",
	 .type = OPT_STRING,
	 .value = &s3.object_lock,
	 .arg = "MODE:DAYS",
	 .help = "what is stored cannot be removed for so many days: governance:DAYS or "
		 "compliance:DAYS; the bucket must allow it"},
	{.name = "s3-cache-size",
	 .type = OPT_SIZE,
	 .value = &s3.cache_size,
	 .arg = "SIZE",
	 .help = "how much of a repository's index, manifests and pages is kept here (default 4G)"},
	{.name = "debug-s3-stall",
	 .type = OPT_DURATION,
	 .value = &s3.stall_ms,
	 .arg = "TIME",
	 .help = "how long a transfer may stand still",
	 .hidden = true},
	{.name = "debug-s3-grace",
	 .type = OPT_DURATION,
	 .value = &s3.grace_ms,
	 .arg = "TIME",
	 .help = "after how long a session that is not renewed is dead",
	 .hidden = true},
	OPT_END,
};

static int get_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)ctx;
	return cli_password(NULL, "passphrase of the repository", confirm, ret, err);
}

static void release_key(void *ctx, char *passphrase)
{
	(void)ctx;
	cli_password_free(passphrase);
}

const struct repo_key_source vmbackup_key = {.get = get_key, .release = release_key};

static int named(const char **ret, struct err *err)
{
	if (!repository || !*repository) {
		err_set(err, ERR_USAGE, "no repository is named");
		return err_hint(err, "say -r REPO or set VMKIT_REPOSITORY");
	}
	*ret = repository;
	return 0;
}

int vmbackup_url(const char **ret, struct err *err)
{
	return named(ret, err) < 0 ? -1 : repo_s3_check(*ret, err);
}

int vmbackup_expect(struct repo *repo, struct err *err)
{
	return expected ? repo_expect(repo, expected, err) : 0;
}

int vmbackup_open_beside(struct repo **ret, const char *other, struct err *err)
{
	const char *url = NULL;

	/* --s3-object-lock is for what is written to. */
	if (named(&url, err) < 0 || repo_s3_check(other ? other : url, err) < 0)
		return -1;
	if (repo_open(ret, url, &vmbackup_key, err) < 0)
		return err_object(err, url);
	if (vmbackup_expect(*ret, err) == 0)
		return 0;
	repo_close(*ret);
	*ret = NULL;
	return err_object(err, url);
}

int vmbackup_open(struct repo **ret, struct err *err)
{
	return vmbackup_open_beside(ret, NULL, err);
}

int vmbackup_each_given(int (*each)(void *ctx, const char *word, struct err *), void *ctx,
			struct err *err)
{
	return cli_each_given(options, each, ctx, err);
}

/* Snapshots and machines for the shell's completion; only where no passphrase has to be typed. */
static void complete_snapshots(const char *prefix, FILE *out)
{
	struct repo *repo;
	struct snapshot *list;
	size_t n;

	if (vmbackup_open(&repo, NULL) < 0)
		return;
	if (repo_list(repo, NULL, &list, &n, NULL, NULL) == 0) {
		for (size_t i = n; i-- > 0;) {
			char word[128], id[9];

			(void)snprintf(word, sizeof(word), "%s@%s", list[i].vm,
				       snapshot_short_id(&list[i].id, id));
			if (strncmp(word, prefix, strlen(prefix)) == 0)
				(void)fprintf(out, "%s\n", word);
		}
		snapshots_free(list, n);
	}
	repo_close(repo);
}

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	if (kind == COMPLETE_SNAPSHOT)
		complete_snapshots(prefix, out);
	for (const struct image_format *const *f = image_formats; kind == COMPLETE_FORMAT && *f;
	     f++)
		if (strncmp((*f)->name, prefix, strlen(prefix)) == 0)
			(void)fprintf(out, "%s\n", (*f)->name);
}

static void versions(FILE *out)
{
	(void)fprintf(out, "zstd %s\n%s\njansson %s\n", ZSTD_versionString(),
		      OpenSSL_version(OPENSSL_VERSION), JANSSON_VERSION);
}

static const struct verb *const verbs[] = {
	&verb_init,   &verb_backup, &verb_list,	 &verb_show,   &verb_restore,
	&verb_verify, &verb_diff,   &verb_copy,	 &verb_repair, &verb_forget,
	&verb_ls,     &verb_get,    &verb_prune, &verb_key,    &verb_stats,
	&verb_unlock, &verb_serve,  &verb_mount, &verb_run,    NULL,
};

static void man(FILE *out)
{
	(void)fputs(
		".SH OBJECT STORES\n"
		"A repository \\fBs3://\\fIBUCKET\\fB/\\fIPREFIX\\fR is kept on an S3 API: the "
		"same "
		"objects as in a folder. The bucket must\n"
		"be there. The keys come from \\fBAWS_ACCESS_KEY_ID\\fR, "
		"\\fBAWS_SECRET_ACCESS_KEY\\fR and "
		"\\fBAWS_SESSION_TOKEN\\fR, or from the\n"
		"profile \\fBAWS_PROFILE\\fR (default: default) of the file "
		"\\fBAWS_SHARED_CREDENTIALS_FILE\\fR (default ~/.aws/credentials),\n"
		"never from the command line. Plain http is spoken only where the endpoint says "
		"http://.\n"
		".PP\n"
		"The server must refuse to replace an object that is there (If\\-None\\-Match: *); "
		"\\fBinit\\fR tries it out, and so does the\n"
		"first upload to a bucket that keeps versions, where Ceph 16 does not. Packs are "
		"written to the folder of the cache first\n"
		"(\\fBVMKIT_CACHE_DIR\\fR, else \\fBXDG_CACHE_HOME\\fR/vmkit, else "
		"~/.cache/vmkit), at "
		"most five at a time of 64 MiB, and three\n"
		"are uploaded at once; what a killed run left there the next run on this machine "
		"uses. Index, manifests and pages that were read\n"
		"stay there too, up to \\fB\\-\\-s3\\-cache\\-size\\fR; the cache may be removed "
		"whenever "
		"nothing runs.\n"
		".PP\n"
		"A failed request is tried again after a random time of up to 0.1 s, then 0.2 s, "
		"and so on to 20 s.\n"
		".PP\n"
		"Who uses the repository holds a lease in it, which is renewed every 75 seconds "
		"and "
		"given "
		"back at the end. \\fBprune\\fR removes\n"
		"what nobody who holds one can need. The lease of a process that was killed no "
		"longer counts after half an hour, by the\n"
		"server's clock; for who has the same cache folder on the same machine since it "
		"was "
		"started, at once, or some 20 minutes after the\n"
		"last request of it that was never answered and that others must not miss. A\n"
		"backup that could not renew its lease for 5 minutes when it was to become a "
		"snapshot, or for 15 at any time, does not become one\n"
		"(status 7), and the next one finds what it\n"
		"stored. Keys that may only read (s3:GetObject, s3:ListBucket) have no lease.\n"
		".PP\n"
		"\\fB\\-\\-s3\\-object\\-lock\\fR locks packs, manifests, keys and the config from "
		"the time they are stored; what newer snapshots\n"
		"share with older ones is not locked anew. \\fBforget\\fR and \\fBprune\\fR keep "
		"what is "
		"locked, say so, and remove it when they run\n"
		"after the lock has ended: versions, not only names.\n",
		out);
}

static const struct program program = {
	.name = "vmbackup",
	.summary = "compressed, deduplicated, encrypted, incremental backups of virtual disks",
	.verbs = verbs,
	.options = options,
	.complete = complete,
	.versions = versions,
	.man = man,
};

int main(int argc, char **argv)
{
	repo_register(&vmbackup_key);
	repo_set_s3_opts(&s3);
	nbd_register();
	package_register();
	return cli_main(&program, argc, argv);
}
