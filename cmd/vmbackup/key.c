/* vmbackup key: the passphrases that open a repository. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/outfile.h"

static struct {
	const char *file, *new_key;
	unsigned scrypt;
} o;

static const struct opt options[] = {
	{.name = "new-password-file",
	 .type = OPT_STRING,
	 .value = &o.file,
	 .arg = "FILE",
	 .help = "the new passphrase (default: asked for)",
	 .complete = COMPLETE_FILE},
	{.name = "new-key",
	 .type = OPT_STRING,
	 .value = &o.new_key,
	 .arg = "FILE",
	 .help = "make a random key and write it to FILE, which is readable by you alone",
	 .complete = COMPLETE_FILE},
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
	"vmbackup -r /backup/vms key list",
	"vmbackup -r /backup/vms key add --new-password-file /root/second.pass",
	"vmbackup -r /backup/vms key change",
	"vmbackup -r /backup/vms key remove 4f2a91c0",
	NULL,
};

static int get_new(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)ctx;
	(void)confirm;
	return cli_password_new(o.file, "new passphrase of the repository", ret, err);
}

static int get_generated(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)confirm;
	*ret = strdup(ctx);
	return *ret ? 0 : err_nomem(err);
}

static void release(void *ctx, char *passphrase)
{
	(void)ctx;
	cli_password_free(passphrase);
}

/* The file is whole before the key opens anything, and goes again when it does not. */
static int add_generated(const char *url, bool replace, char id[REPO_KEY_ID + 1], struct err *err)
{
	char key[KEY_GENERATED_LEN + 2];
	const struct repo_key_source fresh = {.get = get_generated, .release = release, .ctx = key};
	int rc;

	if (repo_key_generate(key, err))
		return -1;
	key[KEY_GENERATED_LEN] = '\n';
	rc = outfile_write(o.new_key, key, KEY_GENERATED_LEN + 1, OUTFILE_PRIVATE, err);
	if (rc == 0) {
		key[KEY_GENERATED_LEN] = '\0';
		id[0] = '\0';
		rc = repo_key_add(url, &vmbackup_key, &fresh, o.scrypt, replace, id, err);
		if (rc && !id[0])
			(void)unlink(o.new_key);
	}
	explicit_bzero(key, sizeof(key));
	return rc;
}

static json_t *key_json(const struct repo_key_info *k)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "id", k->id, "current", (int)k->current,
			 "generated", (int)k->generated, "damaged", (int)k->damaged);
}

static int print_table(const struct repo_key_info *keys, size_t n, struct err *err)
{
	static const char *const headers[] = {"ID", "KIND", "", NULL};
	struct table *t = table_new(headers, "lll");

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		char id[9];
		const char *const cells[] = {
			id,
			keys[i].damaged	    ? "damaged"
			: keys[i].generated ? "generated"
					    : "passphrase",
			keys[i].current ? "in use" : "",
		};

		(void)snprintf(id, sizeof(id), "%.8s", keys[i].id);
		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int list(struct cli *cli, const char *url, struct err *err)
{
	CLEANUP_FREE struct repo_key_info *keys = NULL;
	json_t *out;
	size_t n;

	if (repo_keys(url, &vmbackup_key, &keys, &n, err) < 0)
		return -1;
	if (!cli->json)
		return print_table(keys, n, err);
	out = json_array();
	for (size_t i = 0; out && i < n; i++)
		json_array_append_new(out, key_json(&keys[i]));
	return cli_print_json(cli, out, err);
}

static int add(struct cli *cli, const char *url, bool replace, struct err *err)
{
	static const struct repo_key_source fresh = {.get = get_new, .release = release};
	char id[REPO_KEY_ID + 1];
	int rc;

	if (o.file && o.new_key)
		return err_set(err, ERR_USAGE,
			       "--new-password-file and --new-key exclude each other");
	rc = o.new_key ? add_generated(url, replace, id, err)
		       : repo_key_add(url, &vmbackup_key, &fresh, o.scrypt, replace, id, err);
	if (rc < 0 || !cli->json)
		return rc;
	return cli_print_json(cli, json_pack("[{s:s}]", "id", id), err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	static const char *const words[] = {"list", "add", "remove", "change"};
	const char *url = NULL, *near;
	size_t i = 0;

	if (vmbackup_url(&url, err) < 0)
		return -1;
	while (i < sizeof(words) / sizeof(words[0]) && strcmp(words[i], argv[0]) != 0)
		i++;
	if (i == sizeof(words) / sizeof(words[0])) {
		near = cli_suggest(argv[0], words, i);
		err_set(err, ERR_USAGE, "'%s' is none of list, add, remove and change", argv[0]);
		return near ? err_hint(err, "do you mean %s?", near) : -1;
	}
	if ((argc == 2) != (i == 2))
		return err_set(err, ERR_USAGE,
			       i == 2 ? "key remove needs the id of a key"
				      : "key %s takes no further argument",
			       argv[0]);
	if (i != 1 && i != 3 && (o.file || o.new_key))
		return err_set(err, ERR_USAGE, "key %s makes no new key", argv[0]);
	if (i == 0)
		return list(cli, url, err);
	if (i != 2)
		return add(cli, url, i == 3, err);
	if (repo_key_remove(url, &vmbackup_key, argv[1], err) < 0)
		return -1;
	return cli->json ? cli_print_json(cli, json_array(), err) : 0;
}

const struct verb verb_key = {
	.name = "key",
	.usage = "[OPTIONS] list|add|remove ID|change",
	.summary = "the passphrases that open an encrypted repository",
	.details = "Each key opens the whole repository; \"add\" adds one, \"change\" replaces the "
		   "one "
		   "in use by a new one, \"remove\" removes another one. No data is rewritten: who "
		   "knows a passphrase that was removed, and has a copy of the folder keys from "
		   "before, can still open the repository. The key in use cannot be removed, so "
		   "there is always one that works.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 usage, 4 no such key, 5 FILE of --new-key exists, 12 wrong passphrase",
	.min_args = 1,
	.max_args = 2,
	.json = true,
	.complete_args = COMPLETE_NONE,
	.run = run,
};
