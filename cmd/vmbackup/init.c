/* vmbackup init: a new repository. */
#include "cmd/vmbackup/vmbackup.h"

static struct {
	bool no_encryption;
	unsigned level;
	unsigned scrypt;
} o;

static const struct opt options[] = {
	{.name = "no-encryption",
	 .type = OPT_FLAG,
	 .value = &o.no_encryption,
	 .help = "no passphrase: whoever can read the repository can read the disks"},
	{.name = "level",
	 .type = OPT_UINT,
	 .value = &o.level,
	 .arg = "N",
	 .help = "zstd level of backups that do not say another (default 3)",
	 .min = 1,
	 .max = 22},
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
	"vmbackup -r /backup/scratch init --no-encryption",
	NULL,
};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct repo_init_opts opts = {
		.encrypt = !o.no_encryption,
		.compression_level = o.level,
		.scrypt_log2n = o.scrypt,
	};
	const char *url = NULL;

	(void)cli;
	(void)argc;
	(void)argv;
	if (vmbackup_url(&url, err) < 0)
		return -1;
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
		   "passphrase nobody can restore anything, so keep a copy of it elsewhere.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 5 there is something already, 12 no passphrase",
	.run = run,
};
