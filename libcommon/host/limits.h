/* What a machine may use of its host: processors, which of them, its disks' and interfaces' rates. What is set is read
 * back from the machine's XML (cputune, iotune, bandwidth). */
#ifndef VMKIT_HOST_LIMITS_H
#define VMKIT_HOST_LIMITS_H

#include "libcommon/host/host.h"

/** struct cpu_limits - of the whole machine; -1: stays as it is */
struct cpu_limits {
	int64_t percent; /* of one processor's time; 0: no limit */
	int64_t shares;	 /* weight against other machines; libvirt's usual one is 1024 */
};

/** struct disk_limits - bytes and requests a second; 0: no limit. A kind that is not set stays as it is */
struct disk_limits {
	const char *target; /* "vda" */
	bool bytes, iops;
	uint64_t total_bytes, read_bytes, write_bytes; /* total, or the other two */
	uint64_t total_iops, read_iops, write_iops;
};

/** struct net_limits - bytes a second as the guest sees them, in whole KiB; 0: no limit, -1: stays as it is */
struct net_limits {
	const char *mac;
	int64_t in, out;
};

enum { PIN_ALL = -1, PIN_EMULATOR = -2, PIN_CPUS_MAX = 4096 };

/** struct pin - which of the host's processors a virtual one may run on */
struct pin {
	int vcpu;			/* or one of the two above */
	bool any;			/* all that the host has */
	uint8_t cpus[PIN_CPUS_MAX / 8]; /* bit N: processor N */
};

/** pin_parse() - "VCPU=CPUS": "0=2-3", "all=0,4-7", "emulator=any"; ERR_USAGE */
int pin_parse(const char *text, struct pin *ret, struct err *err);
/** pin_cpus_text() - "2-3,7"; owned; NULL without memory */
char *pin_cpus_text(const struct pin *p);
/** disk_limits_parse() - "vda:iops=500,read-bytes=50M", "vda:none"; @text is cut up and borrowed by @ret; ERR_USAGE */
int disk_limits_parse(char *text, struct disk_limits *ret, struct err *err);
/** net_limits_parse() - "52:54:00:01:02:03=in:10M,out:1M", "...=none"; likewise */
int net_limits_parse(char *text, struct net_limits *ret, struct err *err);

/** domain_limit_cpu(), ... - @where: one of the two; ERR_UNSUPPORTED, ERR_NOT_FOUND (no such disk), ERR_USAGE */
int domain_limit_cpu(struct domain *d, const struct cpu_limits *l, unsigned where, struct err *err);
/** domain_limit_memory() - of the host's that all of the machine may take, @bytes 0: no limit */
int domain_limit_memory(struct domain *d, uint64_t bytes, unsigned where, struct err *err);
int domain_limit_disk(struct domain *d, const struct disk_limits *l, unsigned where,
		      struct err *err);
int domain_limit_net(struct domain *d, const struct net_limits *l, unsigned where, struct err *err);
int domain_pin(struct domain *d, const struct pin *p, unsigned where, struct err *err);

struct xmldoc;
/** domain_limits_json() - all limits that a machine's XML names, as "limits" in docs/schema/vmctl-set.json; owned; NULL
 *  without memory */
json_t *domain_limits_json(const struct xmldoc *x);

#endif
