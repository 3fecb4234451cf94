/* vmsnap: snapshots of disks. The table of verbs, and what they share. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/image/format.h"

int split_name(const char *text, char **ret_disk, const char **ret_name, struct err *err)
{
	const char *at = strrchr(text, '@');

	if (!at || at == text || !at[1] || strchr(at, '/')) {
		err_set(err, ERR_USAGE, "DISK@NAME is wanted, a disk and its snapshot");
		return err_object(err, text);
	}
	CLEANUP_FREE char *disk = strndup(text, (size_t)(at - text));

	*ret_name = at + 1;
	return disk ? one_disk(disk, false, ret_disk, err) : err_nomem(err);
}

const char *utc_time(time_t t, char buf[32])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return "1970-01-01T00:00:00Z";
	return buf;
}

const char *local_time(time_t t, char buf[32])
{
	struct tm tm;

	if (!localtime_r(&t, &tm) || strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return "?";
	return buf;
}

uint64_t own_bytes(const struct snap_entry *e)
{
	struct stat st;

	return e->file && stat(e->file, &st) == 0 ? 512 * (uint64_t)st.st_blocks : 0;
}

json_t *entry_json(const struct snap_entry *e, const char *disk)
{
	char when[32];

	return json_pack("{s:o, s:o, s:s, s:s, s:b, s:o, s:o, s:I, s:I, s:I, s:i, s:b}", "disk",
			 cli_json_string(disk), "name", cli_json_string(e->name), "engine",
			 snap_engine_name(e->engine), "created", utc_time(e->created, when),
			 "automatic", (int)e->automatic, "parent",
			 *e->parent ? cli_json_string(e->parent) : json_null(), "file",
			 e->file ? cli_json_string(e->file) : json_null(), "virtual_size",
			 (json_int_t)e->virtual_size, "actual_size", (json_int_t)own_bytes(e),
			 "vm_state_size", (json_int_t)e->vm_state_size, "depth", (int)e->depth,
			 "current", (int)e->current);
}

static const struct verb *const verbs[] = {
	&verb_create, &verb_list,    &verb_show,   &verb_diff,	&verb_revert,
	&verb_delete, &verb_merge,   &verb_export, &verb_clone, &verb_prune,
	&verb_check,  &verb_recover, NULL,
};

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	for (size_t i = 0; kind == COMPLETE_FORMAT && image_formats[i]; i++)
		if (!strncmp(image_formats[i]->name, prefix, strlen(prefix)))
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
		".SH ENGINES\n"
		".TP\n.B reflink\n"
		"A clone of the whole file that shares its blocks, on XFS and btrfs: the same "
		"time and "
		"no space whatever the size.\n"
		"It lies in the folder DISK.snap beside the disk, with a record NAME.json. Any "
		"format "
		"that is one file.\n"
		".TP\n.B internal\n"
		"qcow2's own snapshots, in the file; qemu-img and QEMU know them. The time "
		"grows with "
		"the tables of the image.\n"
		".TP\n.B external\n"
		"The file of a qcow2 disk becomes STEM.NAME.SUFFIX beside it, and the disk an "
		"overlay of it: a plain backing\n"
		"chain, in no time at any size. Reading passes through the chain, so "
		"that it should be kept short (merge, prune --max-chain).\n"
		"Deleting moves what must be kept, up or down, whichever is less.\n"
		".PP\n"
		"Without --engine a disk gets what its snapshots have; the first is a reflink "
		"where the "
		"file system can, else internal, else external.\n"
		"A disk has snapshots of one engine at a time.\n"
		".SH DOMAINS\n"
		"With -c, or as qemu:///system/web, names are those of libvirt domains on this "
		"host; a domain is the set of the disks that it may write to.\n"
		"One that is off is treated as its files are. A running one gets external "
		"snapshots: it goes on in STEM.live-N.qcow2,\n"
		"which the disk is then; vmsnap finds it by the old name as well. Its guest "
		"agent makes the file systems stand still (--quiesce); a guard\n"
		"process lets them go on whatever happens.\n"
		"To go back it is stopped and started again. What is deleted or merged below a "
		"running "
		"one, it writes down itself (a block commit):\n"
		"each of its files into the next below, and when that is the one that it "
		"writes to, it goes "
		"on in the file below, which the disk is then.\n"
		"With --memory the machine's memory is kept as well, and revert goes on from "
		"that moment.\n"
		"libvirt knows nothing of these snapshots.\n"
		"No file goes that another domain of the host leans on, wherever its disks lie.\n"
		"Machines that vmrun runs for vmctl are taken by -c builtin. One that runs stands "
		"still while "
		"a snapshot of it is made, by any engine:\n"
		"its memory goes to a file, and it goes on from there; its connections that end in "
		"vmrun do "
		"not outlive that.\n"
		"Killed meanwhile it is off, and vmsnap -c builtin recover lets it "
		"go on. "
		"Snapshots of one that runs are not deleted.\n"
		".SH FILES\n"
		".TP\n.I DISK.snap/\n"
		"Reflink snapshots, records of them and of external ones, .NAME.memory (with "
		"--memory: as large as what the machine uses),\n"
		"and .journal.json while a change is under way.\n",
		out);
}

static const struct opt options[] = {
	{'c', "connect", OPT_STRING, &vmsnap_connect, .arg = "URI",
	 .help = "DISK is the name of a libvirt domain there, or with URI builtin of one that "
		 "vmrun runs; one of its disks: DOMAIN:vda"},
	OPT_END};

static const struct program program = {
	.name = "vmsnap",
	.summary =
		"snapshots of disks and libvirt domains: create, list, diff, revert, merge, prune",
	.verbs = verbs,
	.options = options,
	.complete = complete,
	.versions = versions,
	.man = man,
};

int main(int argc, char **argv)
{
	return cli_main(&program, argc, argv);
}
