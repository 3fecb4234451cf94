/* What snapshots ask of a machine: its disks, and to go on in overlays. */
#ifndef VMKIT_HOST_SNAPSHOT_H
#define VMKIT_HOST_SNAPSHOT_H

#include "libcommon/host/disks.h"
#include "libcommon/host/host.h"

/**
 * domain_files() - the disks that it may write to, as they are when it runs, else as they will be; owned: domain_disks_free()
 * ERR_UNSUPPORTED for a disk that is no file: a set without it would not be the machine
 */
int domain_files(struct domain *d, bool running, struct domain_disk **ret, size_t *ret_n,
		 struct err *err);

/**
 * domain_forget_chains() - what its definition says of backing files is dropped: libvirt reads the headers then
 * After a live snapshot it is written there, and does not follow when files of the chain go or get other names; an empty
 * element would hide a backing file from the guest. A machine that is not persistent has no definition: nothing is done.
 */
int domain_forget_chains(struct domain *d, struct err *err);

/**
 * domain_overlay() - the running machine goes on in new qcow2 overlays, at one moment for all disks
 * @disks: all of them; @overlays: paths where nothing is yet, one each; @memory: file for the machine's memory at that moment,
 *	which is written while it runs on; NULL: none
 *
 * Nothing of it is kept by libvirt as a snapshot. All or none; after ERR_CONNECTION only domain_files() knows.
 */
int domain_overlay(struct domain *d, const struct domain_disk *disks, const char *const *overlays,
		   size_t n, const char *memory, struct err *err);

/** host_saved_xml() - the machine's description in @file, which domain_overlay() wrote, with its disks at @paths; owned; for
 *  host_restore_as(), which starts it from there. The file stays */
int host_saved_xml(struct host *h, const char *file, const struct domain_disk *disks,
		   char *const *paths, size_t n, char **ret, struct err *err);
int host_restore_as(struct host *h, const char *file, const char *xml, struct err *err);

/* ---- a machine whose disks cannot be changed under it lets go of them for a moment: with domain_can_hold() */

/** domain_can_hold() - can its driver do this? */
bool domain_can_hold(const struct domain *d);

/** domain_hold() - its memory goes to a file, and it is off; ERR_... when it goes on as before */
int domain_hold(struct domain *d, struct err *err);
/**
 * domain_let_go() - it goes on; also one whose holder was killed on the way to domain_hold() or back
 * @same: its disks have the bytes of that moment, says the caller, in whatever files; else that has to be seen from them:
 *	ERR_DIFFERS, and all stays
 *
 * To be called with stop_defer(): a machine that is held goes on, whoever wants us to stop.
 */
int domain_let_go(struct domain *d, bool same, struct err *err);
/** domain_held() - is domain_let_go() due? False where there is no such thing */
int domain_held(struct domain *d, bool *ret, struct err *err);
/** domain_held_memory() - what it goes on from becomes the file @path as well; ERR_EXISTS */
int domain_held_memory(struct domain *d, const char *path, struct err *err);
/** domain_check_memory() - can it go on from the file of domain_held_memory()? */
int domain_check_memory(struct domain *d, const char *path, struct err *err);
/** domain_restore_memory() - it is off, and goes on from there; the file stays. Its disks have the bytes of that moment, says
 *  the caller */
int domain_restore_memory(struct domain *d, const char *path, struct err *err);

/** host_file_fn - @file is a file of a disk of @domain, both borrowed; -1 ends it */
typedef int host_file_fn(void *ctx, const char *domain, const char *file, struct err *err);

/** host_files() - of all machines but @but_uuid, the chains that their descriptions name among them */
int host_files(struct host *h, const char *but_uuid, host_file_fn *fn, void *ctx, struct err *err);

/** domain_keeps_nvram() - its firmware writes to a file that is no disk */
int domain_keeps_nvram(struct domain *d, bool *ret, struct err *err);

/* ---- shortening the chain of a running machine's disk: begin, ask until it is ready or gone, end; the chain says what
 * became of it */

/** domain_chain() - files of the disk @target, the one that is written to first; owned: domain_chain_free() */
int domain_chain(struct domain *d, bool running, const char *target, char ***ret, size_t *ret_n,
		 struct err *err);
void domain_chain_free(char **files, size_t n);

/** domain_commit_begin() - what @top holds goes into @base, the next below; for the file that is written to, the machine
 *  goes on in @base when domain_block_end() says so; else by itself at the end
 *  @rate: bytes a second at most; 0: as fast as it goes
 *  @relative: headers name their backing files without a folder */
int domain_commit_begin(struct domain *d, const char *target, const char *top, const char *base,
			bool relative, uint64_t rate, struct err *err);

struct block_job {
	bool runs, ready; /* ready: waits for domain_block_end() */
	bool commit;	  /* of this kind */
	uint64_t done, total;
};

int domain_block_job(struct domain *d, const char *target, struct block_job *ret, struct err *err);

/** domain_block_end() - @pivot: go on in the base, ERR_BUSY when it is not ready after all; else the job is given up */
int domain_block_end(struct domain *d, const char *target, bool pivot, struct err *err);

#endif
