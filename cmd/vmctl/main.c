/* vmctl: machines of this host and of others. The table of verbs. */
#include <jansson.h>
#include <string.h>

#include "cmd/vmctl/audit.h"
#include "cmd/vmctl/hosts.h"
#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/image/format.h"
#include "libcommon/image/protocol/nbd.h"
#include "libcommon/package/package.h"
#include "libcommon/repo/repo.h"

static const struct opt options[] = {
	{.letter = 'c',
	 .name = "connect",
	 .type = OPT_LIST,
	 .value = &vmctl_hosts_named,
	 .arg = "URI|HOST",
	 .help = "the host: a libvirt URI, builtin (the machines that vmrun runs), or a host or "
		 "group of the configuration; list takes several"},
	{.name = "host-timeout",
	 .type = OPT_DURATION,
	 .value = &vmctl_host_timeout,
	 .arg = "TIME",
	 .help = "a host that does not answer in this time is given up (default: 10s)"},
	/* Lists have no default from outside; this one is where theirs lands. */
	{.name = "default-connect",
	 .type = OPT_STRING,
	 .value = &vmctl_hosts_default,
	 .arg = "URI|HOST",
	 .help = "the host when -c is not given",
	 .hidden = true,
	 .env = "VMKIT_CONNECT"},
	OPT_END,
};

static const struct verb *const verbs[] = {
	&verb_list,   &verb_info,  &verb_start,	    &verb_stop,	   &verb_reboot,  &verb_suspend,
	&verb_resume, &verb_save,  &verb_restore,   &verb_delete,  &verb_console, &verb_exec,
	&verb_edit,   &verb_set,   &verb_autostart, &verb_create,  &verb_clone,	  &verb_attach,
	&verb_detach, &verb_stats, &verb_hosts,	    &verb_migrate, &verb_events,  &verb_export,
	&verb_import, &verb_watch, &verb_audit,	    &verb_net,	   &verb_pool,	  &verb_report,
	NULL,
};

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	if (kind == COMPLETE_MACHINE)
		vmctl_complete_machines(prefix, out);
	for (size_t i = 0; kind == COMPLETE_FORMAT && image_formats[i]; i++)
		if (strncmp(image_formats[i]->name, prefix, strlen(prefix)) == 0)
			(void)fprintf(out, "%s\n", image_formats[i]->name);
}

static void versions(FILE *out)
{
	(void)fprintf(out, "jansson %s\n", jansson_version_str());
	(void)fprintf(out, "%s\n", OpenSSL_version(OPENSSL_VERSION));
}

static void man(FILE *out)
{
	(void)fputs(
		".SH HOSTS\n"
		"Without -c and VMKIT_CONNECT the host is libvirt's own default. Names stand in "
		"the "
		"section [vmctl] of\n"
		".I ~/.config/vmkit.conf\n"
		"or\n"
		".IR /etc/vmkit.conf :\n"
		".PP\n.nf\n"
		"[vmctl]\n"
		"default_connect = web\n"
		"host_web = qemu+ssh://root@web/system\n"
		"host_db = qemu+ssh://root@db/system\n"
		"group_all = web db\n"
		".fi\n"
		".PP\n"
		"The host \\fBbuiltin\\fR is no daemon but this user's machines that vmrun runs, "
		"each described by a file in\n"
		".IR ~/.config/vmkit/machines ,\n"
		"with the same verbs. It has no firmware, guest agent, saved memory or migration, "
		"and "
		"changes nothing of a machine that\nruns: such verbs end with status 9.\n"
		".PP\n"
		"A host that does not answer is given up after --host-timeout; one that falls "
		"silent later within 10 seconds.\n",
		out);
}

static const struct program program = {
	.name = "vmctl",
	.summary = "machines through libvirt or vmrun: see them, start and stop them, use them",
	.verbs = verbs,
	.options = options,
	.complete = complete,
	.versions = versions,
	.man = man,
	.done = audit_done,
};

/* Of backups that --image and --from-backup name */
static int get_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)ctx;
	return cli_password(NULL, "passphrase of the repository", confirm, ret, err);
}

static void release_key(void *ctx, char *text)
{
	(void)ctx;
	cli_password_free(text);
}

static const struct repo_key_source key = {.get = get_key, .release = release_key};

int main(int argc, char **argv)
{
	nbd_register();
	package_register();
	repo_register(&key);
	return cli_main(&program, argc, argv);
}
