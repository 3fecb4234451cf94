/* vmbackup init: a new repository. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/outfile.h"

static struct {
	bool no_encryption;
	const char *new_key;
	unsigned level;
	unsigned scrypt, parity, version;
} o = {.parity = REPO_PARITY_DEFAULT};

static const struct opt options[] = {
	{.name = "no-encryption",
	 .type = OPT_FLAG,
	 .value = &o.no_encryption,
	 .help = "no passphrase: whoever can read the repository can read the disks"},
	{.name = "new-key",
	 .type = OPT_STRING,
	 .value = &o.new_key,
	 .arg = "FILE",
	 .help = "make a random key, write it to FILE (readable by you alone), and ask for no "
		 "passphrase; "
		 "VMKIT_PASSWORD_FILE=FILE then opens the repository, at once",
	 .complete = COMPLETE_FILE},
	{.name = "level",
	 .type = OPT_UINT,
	 .value = &o.level,
	 .arg = "N",
	 .help = "zstd level of backups that do not say another (default 3)",
	 .min = 1,
	 .max = 22},
	{.name = "parity",
	 .type = OPT_UINT,
	 .value = &o.parity,
	 .arg = "PERCENT",
	 .help = "so much of what is stored is parity: that much of a pack may be damaged and is "
		 "healed (default 4; 0: none)",
	 .max = REPO_PARITY_MAX},
	{.name = "format-version",
	 .type = OPT_UINT,
	 .value = &o.version,
	 .arg = "N",
	 .help = "a repository that older programs can read: 2 stores no deltas (default: the "
		 "newest)",
	 .min = 2,
	 .max = 3},
	{.name = "scrypt-log2n",
	 .type = OPT_UINT,
	 .value = &o.scrypt,
	 .arg = "N",
	 .help = "cost of trying a passphrase, as a power of two",
	 .min = 10,
	 .max = 20,
	 .hidden = true},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms init",
	"vmbackup -r /backup/vms init --new-key /root/backup.key",
	"vmbackup -r /backup/scratch init --no-encryption",
	NULL,
};

static int give_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)confirm;
	*ret = strdup(ctx);
	return *ret ? 0 : err_nomem(err);
}

static void take_key(void *ctx, char *key)
{
	(void)ctx;
	explicit_bzero(key, strlen(key));
	free(key);
}

/* The key is on the disk before anything is encrypted with it, and goes again when there is no repository for it. */
static int init_with_new_key(const char *url, const struct repo_init_opts *opts, struct err *err)
{
	char key[KEY_GENERATED_LEN + 2];
	const struct repo_key_source source = {.get = give_key, .release = take_key, .ctx = key};
	int rc;

	if (repo_key_generate(key, err))
		return -1;
	key[KEY_GENERATED_LEN] = '\n';
	rc = outfile_write(o.new_key, key, KEY_GENERATED_LEN + 1, OUTFILE_PRIVATE, err);
	if (rc == 0) {
		key[KEY_GENERATED_LEN] = '\0';
		rc = repo_init(url, opts, &source, err);
		if (rc)
			(void)unlink(o.new_key);
	}
	explicit_bzero(key, sizeof(key));
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct repo_init_opts opts = {
		.encrypt = !o.no_encryption,
		.compression_level = o.level,
		.scrypt_log2n = o.scrypt,
		.parity = o.parity,
		.version = o.version,
	};
	const char *url = NULL;

	(void)cli;
	(void)argc;
	(void)argv;
	if (vmbackup_url(&url, err) < 0)
		return -1;
	if (o.new_key && o.no_encryption)
		return err_set(err, ERR_USAGE, "--new-key and --no-encryption exclude each other");
	if (o.new_key)
		return init_with_new_key(url, &opts, err);
	if (repo_init(url, &opts, &vmbackup_key, err) == 0)
		return 0;
	if (err->code == ERR_DENIED && opts.encrypt && !err->hint[0])
		err_hint(err, "set VMKIT_PASSWORD_FILE or VMKIT_PASSWORD_COMMAND, or say "
			      "--no-encryption");
	return err_object(err, url);
}

const struct verb verb_init = {
	.name = "init",
	.usage = "[OPTIONS]",
	.summary = "make a new repository",
	.details = "The folder is made when it is not there; it must be empty. The repository is "
		   "encrypted: the "
		   "passphrase comes from VMKIT_PASSWORD_FILE, VMKIT_PASSWORD_COMMAND or the "
		   "terminal. Without the "
		   "passphrase nobody can restore anything, so keep a copy of it elsewhere. For "
		   "machines, --new-key makes a key that no one can guess: it needs no stretching, "
		   "which takes a quarter of a second at each start for a passphrase.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 5 there is something already, 12 no passphrase",
	.run = run,
};
