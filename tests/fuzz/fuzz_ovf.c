/* A hostile descriptor: OVF, and a libvirt domain. What is accepted must be within the bounds that readers rely on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/package/ovf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_names(const struct ovf *o)
{
	for (size_t i = 0; i < o->n_files; i++) {
		const char *name = o->files[i].href;

		if (!name || name[0] == '/' || !name[0] || strcmp(name, "..") == 0 ||
		    strncmp(name, "../", 3) == 0 || strstr(name, "/../"))
			abort();
	}
	for (size_t i = 0; i < o->n_disks; i++)
		if (!o->disks[i].id || o->disks[i].capacity > INT64_MAX ||
		    (o->disks[i].file != OVF_NO_FILE && o->disks[i].file >= o->n_files))
			abort();
	for (size_t i = 0; i < o->n_machines; i++)
		if (o->machines[i].n_nics > MACHINE_NICS_MAX ||
		    o->machines[i].memory > MACHINE_MEMORY_MAX)
			abort();
}

/* A machine that was read can be written, and read again. */
static void write_again(struct machine *m)
{
	const struct ovf_write_disk disk = {"d.vmdk", 1, 512, 1};
	char *text = NULL;
	struct ovf o;
	size_t len;

	for (size_t i = 0; i < m->n_nics; i++)
		if (!m->nics[i].network)
			return;
	if (!m->name || ovf_write(m, &disk, 1, &text, &len, NULL))
		return;
	if (ovf_parse(&o, text, len, NULL) == 0 && (o.n_disks != 1 || o.n_machines != 1))
		abort();
	ovf_release(&o);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine m = {0};
	struct ovf o;

	if (ovf_parse(&o, (const char *)data, size, NULL) == 0) {
		check_names(&o);
		for (size_t i = 0; i < o.n_machines && i < 2; i++)
			write_again(&o.machines[i]);
	}
	ovf_release(&o);
	(void)machine_of_domain(&m, (const char *)data, size, NULL);
	machine_release(&m);
	return 0;
}
