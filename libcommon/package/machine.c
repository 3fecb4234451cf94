/* The description of a machine: see machine.h. */
#include "libcommon/package/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Names for --os. CIM numbers are those of CIM_OperatingSystem.OsType; VMware's names are of vSphere 6.7. */
static const struct {
	const char *name;
	unsigned id;
	const char *text, *vmware;
} systems[] = {
	{"linux", 101, "Linux 64-bit", "otherLinux64Guest"},
	{"debian", 96, "Debian 64-bit", "debian10_64Guest"},
	{"ubuntu", 94, "Ubuntu 64-bit", "ubuntu64Guest"},
	{"rhel", 80, "Red Hat Enterprise Linux 64-bit", "rhel7_64Guest"},
	{"centos", 107, "CentOS 64-bit", "centos7_64Guest"},
	{"suse", 85, "SUSE Linux Enterprise Server 64-bit", "sles12_64Guest"},
	{"freebsd", 78, "FreeBSD 64-bit", "freebsd11_64Guest"},
	{"windows", 1, "Microsoft Windows Server 2016 or later", "windows9Server64Guest"},
	{"other", 102, "Other 64-bit", "otherGuest64"},
};
enum { N_SYSTEMS = sizeof(systems) / sizeof(systems[0]) };

void machine_release(struct machine *m)
{
	for (size_t i = 0; i < m->n_nics; i++) {
		free(m->nics[i].network);
		free(m->nics[i].model);
		free(m->nics[i].mac);
	}
	for (size_t i = 0; i < m->n_disks; i++) {
		free(m->disks[i].disk);
		free(m->disks[i].name);
	}
	free(m->nics);
	free(m->disks);
	free(m->name);
	free(m->os);
	free(m->hardware);
	*m = (struct machine){0};
}

/* @list with a zeroed element more, *@n counted up; NULL with @err said. */
static void *add(void *list, size_t *n, size_t size, size_t most, const char *what, struct err *err)
{
	if (*n >= most) {
		err_set(err, ERR_UNSUPPORTED, "a machine with more than %zu %s", most, what);
		return NULL;
	}

	char *more = reallocarray(list, *n + 1, size);

	if (!more) {
		err_nomem(err);
		return NULL;
	}
	memset(more + *n * size, 0, size);
	(*n)++;
	return more;
}

struct machine_nic *machine_add_nic(struct machine *m, struct err *err)
{
	void *list = add(m->nics, &m->n_nics, sizeof(*m->nics), MACHINE_NICS_MAX, "networks", err);

	if (!list)
		return NULL;
	m->nics = list;
	return &m->nics[m->n_nics - 1];
}

struct machine_disk *machine_add_disk(struct machine *m, struct err *err)
{
	void *list = add(m->disks, &m->n_disks, sizeof(*m->disks), MACHINE_DISKS_MAX, "disks", err);

	if (!list)
		return NULL;
	m->disks = list;
	return &m->disks[m->n_disks - 1];
}

const char *machine_firmware_name(enum machine_firmware f)
{
	switch (f) {
	case FIRMWARE_BIOS:
		return "bios";
	case FIRMWARE_EFI:
		return "efi";
	case FIRMWARE_EFI_SECURE:
		return "efi-secure";
	case FIRMWARE_UNKNOWN:
		break;
	}
	return NULL;
}

static int set_os(struct machine *m, unsigned id, const char *text, struct err *err)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return err_nomem(err);
	free(m->os);
	m->os = copy;
	m->os_id = id;
	return 0;
}

int machine_set_os(struct machine *m, const char *name, struct err *err)
{
	char *end;
	unsigned long id;

	for (size_t i = 0; i < N_SYSTEMS; i++)
		if (strcmp(systems[i].name, name) == 0)
			return set_os(m, systems[i].id, systems[i].text, err);
	errno = 0;
	id = strtoul(name, &end, 10);
	if (name[0] >= '0' && name[0] <= '9' && !*end && !errno && id > 0 && id < 65536) {
		for (size_t i = 0; i < N_SYSTEMS; i++)
			if (systems[i].id == id)
				return set_os(m, systems[i].id, systems[i].text, err);
		return set_os(m, (unsigned)id, NULL, err);
	}
	err_set(err, ERR_USAGE, "unknown operating system %s", name);
	return err_hint(err, "linux, debian, ubuntu, rhel, centos, suse, freebsd, windows, other, "
			     "or a number of CIM_OperatingSystem.OsType");
}

const char *machine_vmware_os(const struct machine *m)
{
	for (size_t i = 0; i < N_SYSTEMS; i++)
		if (systems[i].id == m->os_id)
			return systems[i].vmware;
	return "otherGuest64";
}
