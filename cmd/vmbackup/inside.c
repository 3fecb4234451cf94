/* Opening a disk of a snapshot to look inside: see inside.h. */
#include "cmd/vmbackup/inside.h"

#include <stdlib.h>

#include "libcommon/image/image.h"

int inside_open(struct inside *in, const char *spec, struct err *err)
{
	*in = (struct inside){0};
	if (vmbackup_open(&in->repo, err) == 0 &&
	    repo_find_disk(in->repo, spec, &in->snap, &in->disk, err) == 0 &&
	    repo_open_disk(in->repo, in->snap, in->disk, &in->img, err) == 0 &&
	    guest_open(&in->guest, in->img, err) == 0)
		return 0;
	inside_close(in);
	return -1;
}

void inside_close(struct inside *in)
{
	guest_close(in->guest);
	image_close(in->img);
	free(in->disk);
	if (in->snap)
		snapshots_free(in->snap, 1);
	if (in->repo)
		repo_close(in->repo);
	*in = (struct inside){0};
}
