/* libvirt as the files of this folder use it: functions loaded when the first connection is made, errors, handles. */
#ifndef VMKIT_HOST_LIBVIRT_LIB_H
#define VMKIT_HOST_LIBVIRT_LIB_H

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "libcommon/host/private.h"

#define LIBVIRT_FUNCTIONS(F)                                                                       \
	F(ConnectClose)                                                                            \
	F(ConnectDomainEventDeregisterAny)                                                         \
	F(ConnectDomainEventRegisterAny)                                                           \
	F(ConnectGetAllDomainStats)                                                                \
	F(ConnectGetCapabilities)                                                                  \
	F(ConnectGetHostname)                                                                      \
	F(ConnectGetLibVersion)                                                                    \
	F(ConnectGetURI)                                                                           \
	F(ConnectIsAlive)                                                                          \
	F(ConnectListAllDomains)                                                                   \
	F(ConnectOpenAuth)                                                                         \
	F(ConnectSetKeepAlive)                                                                     \
	F(DomainAbortJob)                                                                          \
	F(DomainAttachDeviceFlags)                                                                 \
	F(DomainBackupBegin)                                                                       \
	F(DomainBackupGetXMLDesc)                                                                  \
	F(DomainBlockCommit)                                                                       \
	F(DomainBlockJobAbort)                                                                     \
	F(DomainCheckpointDelete)                                                                  \
	F(DomainCheckpointFree)                                                                    \
	F(DomainCheckpointGetName)                                                                 \
	F(DomainCheckpointLookupByName)                                                            \
	F(DomainCreateWithFlags)                                                                   \
	F(DomainDefineXMLFlags)                                                                    \
	F(DomainDestroyFlags)                                                                      \
	F(DomainDetachDeviceFlags)                                                                 \
	F(DomainFree)                                                                              \
	F(DomainGetAutostart)                                                                      \
	F(DomainGetBlockJobInfo)                                                                   \
	F(DomainGetControlInfo)                                                                    \
	F(DomainGetID)                                                                             \
	F(DomainGetInfo)                                                                           \
	F(DomainGetJobStats)                                                                       \
	F(DomainGetMetadata)                                                                       \
	F(DomainGetName)                                                                           \
	F(DomainGetState)                                                                          \
	F(DomainGetUUIDString)                                                                     \
	F(DomainGetXMLDesc)                                                                        \
	F(DomainHasManagedSaveImage)                                                               \
	F(DomainIsPersistent)                                                                      \
	F(DomainListAllCheckpoints)                                                                \
	F(DomainLookupByName)                                                                      \
	F(DomainLookupByUUIDString)                                                                \
	F(DomainManagedSave)                                                                       \
	F(DomainOpenConsole)                                                                       \
	F(DomainPinEmulator)                                                                       \
	F(DomainPinVcpuFlags)                                                                      \
	F(DomainMigrate3)                                                                          \
	F(DomainMigrateToURI3)                                                                     \
	F(DomainReboot)                                                                            \
	F(DomainReset)                                                                             \
	F(DomainRestoreFlags)                                                                      \
	F(DomainSaveImageGetXMLDesc)                                                               \
	F(DomainResume)                                                                            \
	F(DomainSaveFlags)                                                                         \
	F(DomainSetAutostart)                                                                      \
	F(DomainSetBlockIoTune)                                                                    \
	F(DomainSetInterfaceParameters)                                                            \
	F(DomainSetMemoryFlags)                                                                    \
	F(DomainSetMetadata)                                                                       \
	F(DomainSetMemoryParameters)                                                               \
	F(DomainSetSchedulerParametersFlags)                                                       \
	F(DomainSetVcpusFlags)                                                                     \
	F(DomainShutdownFlags)                                                                     \
	F(DomainStatsRecordListFree)                                                               \
	F(DomainSnapshotCreateXML)                                                                 \
	F(DomainSnapshotFree)                                                                      \
	F(DomainSuspend)                                                                           \
	F(DomainUndefineFlags)                                                                     \
	F(EventRegisterDefaultImpl)                                                                \
	F(EventRunDefaultImpl)                                                                     \
	F(EventAddTimeout)                                                                         \
	F(GetLastError)                                                                            \
	F(Initialize)                                                                              \
	F(NodeGetFreeMemory)                                                                       \
	F(NodeGetInfo)                                                                             \
	F(ResetLastError)                                                                          \
	F(SetErrorFunc)                                                                            \
	F(StreamAbort)                                                                             \
	F(StreamFree)                                                                              \
	F(StreamNew)                                                                               \
	F(StreamRecv)                                                                              \
	F(StreamSend)                                                                              \
	F(ConnectListAllNetworks)                                                                  \
	F(ConnectListAllStoragePools)                                                              \
	F(NetworkCreate)                                                                           \
	F(NetworkDefineXML)                                                                        \
	F(NetworkDestroy)                                                                          \
	F(NetworkFree)                                                                             \
	F(NetworkGetAutostart)                                                                     \
	F(NetworkGetName)                                                                          \
	F(NetworkGetUUIDString)                                                                    \
	F(NetworkGetXMLDesc)                                                                       \
	F(NetworkIsActive)                                                                         \
	F(NetworkIsPersistent)                                                                     \
	F(NetworkLookupByName)                                                                     \
	F(NetworkSetAutostart)                                                                     \
	F(NetworkUndefine)                                                                         \
	F(StoragePoolBuild)                                                                        \
	F(StoragePoolCreate)                                                                       \
	F(StoragePoolDefineXML)                                                                    \
	F(StoragePoolDestroy)                                                                      \
	F(StoragePoolFree)                                                                         \
	F(StoragePoolGetAutostart)                                                                 \
	F(StoragePoolGetInfo)                                                                      \
	F(StoragePoolGetName)                                                                      \
	F(StoragePoolGetUUIDString)                                                                \
	F(StoragePoolGetXMLDesc)                                                                   \
	F(StoragePoolIsActive)                                                                     \
	F(StoragePoolIsPersistent)                                                                 \
	F(StoragePoolListAllVolumes)                                                               \
	F(StoragePoolLookupByName)                                                                 \
	F(StoragePoolRefresh)                                                                      \
	F(StoragePoolSetAutostart)                                                                 \
	F(StoragePoolUndefine)                                                                     \
	F(StorageVolFree)                                                                          \
	F(StorageVolGetInfo)                                                                       \
	F(StorageVolGetName)                                                                       \
	F(StorageVolGetPath)                                                                       \
	F(StorageVolGetXMLDesc)                                                                    \
	F(TypedParamsAddLLong)                                                                     \
	F(TypedParamsAddString)                                                                    \
	F(TypedParamsAddUInt)                                                                      \
	F(TypedParamsAddULLong)                                                                    \
	F(TypedParamsFree)                                                                         \
	F(TypedParamsGetInt)                                                                       \
	F(TypedParamsGetULLong)

struct libvirt {
#define LIBVIRT_MEMBER(name) __typeof__(vir##name) *name;
	LIBVIRT_FUNCTIONS(LIBVIRT_MEMBER)
#undef LIBVIRT_MEMBER
	__typeof__(virDomainQemuAgentCommand) *DomainQemuAgentCommand; /* of libvirt-qemu; NULL */
};

/** libvirt_load() - once a process, with the thread that serves its events; the table is static; ERR_UNSUPPORTED */
int libvirt_load(const struct libvirt **ret, struct err *err);

/** libvirt_error() - what the last call of this thread complained of, as ours; Return: always -1. The one place where
 *  virError becomes struct err */
int libvirt_error(const struct libvirt *lv, struct err *err);

/** struct libvirt_host - host.priv; domain.priv is the virDomainPtr */
struct libvirt_host {
	const struct libvirt *lv;
	virConnectPtr conn;
};

static inline struct libvirt_host *libvirt_of(const struct host *h)
{
	return h->priv;
}

static inline virDomainPtr libvirt_domain(const struct domain *d)
{
	return d->priv;
}

/* domain.c */
int libvirt_list(struct host *h, struct domain_info **ret, size_t *ret_n, struct err *err);
int libvirt_find(struct host *h, const char *name, struct domain *d, struct err *err);
void libvirt_release(struct domain *d);
int libvirt_info(struct domain *d, struct domain_info *ret, struct err *err);
int libvirt_state(struct domain *d, enum domain_state *ret, const char **ret_reason,
		  struct err *err);
/** libvirt_take() - @dom (consumed) becomes @d's */
int libvirt_take(struct host *h, virDomainPtr dom, struct domain *d, struct err *err);
/* autostart.c */
int libvirt_set_autostart(struct domain *d, unsigned order, uint64_t delay_ms, struct err *err);
/** libvirt_autostart_flag() - libvirt's own, and no order */
int libvirt_autostart_flag(struct domain *d, bool on, struct err *err);
/** libvirt_autostart() - what that has written; 0 when nothing, or nothing that is understood */
void libvirt_autostart(const struct libvirt *lv, virDomainPtr dom, unsigned *ret_order,
		       uint64_t *ret_delay_ms);
/* act.c */
int libvirt_act(struct domain *d, enum domain_action what, struct err *err);
int libvirt_idle(struct domain *d, struct err *err);
/* config.c */
int libvirt_save_to(struct domain *d, const char *path, struct err *err);
int libvirt_restore(struct host *h, const char *path, bool paused, struct err *err);
int libvirt_xml(struct domain *d, unsigned flags, char **ret, struct err *err);
int libvirt_define(struct host *h, const char *xml, struct domain *d, struct err *err);
int libvirt_set_cpus(struct domain *d, unsigned n, unsigned where, bool max, struct err *err);
int libvirt_set_memory(struct domain *d, uint64_t bytes, unsigned where, bool max, struct err *err);
int libvirt_attach(struct domain *d, const char *xml, unsigned where, struct err *err);
int libvirt_detach(struct domain *d, const char *xml, unsigned where, struct err *err);
/* limits.c: see limits.h */
int libvirt_limit_cpu(struct domain *d, const struct cpu_limits *l, unsigned where,
		      struct err *err);
int libvirt_limit_memory(struct domain *d, uint64_t bytes, unsigned where, struct err *err);
int libvirt_limit_disk(struct domain *d, const struct disk_limits *l, unsigned where,
		       struct err *err);
int libvirt_limit_net(struct domain *d, const struct net_limits *l, unsigned where,
		      struct err *err);
int libvirt_pin(struct domain *d, const struct pin *p, unsigned where, struct err *err);
/* connect.c, agent.c, stats.c */
int libvirt_capabilities(struct host *h, char **ret, struct err *err);
int libvirt_agent(struct domain *d, const json_t *command, unsigned timeout_s, json_t **ret,
		  struct err *err);
int libvirt_stats(struct host *h, json_t **ret, struct err *err);
int libvirt_node(struct host *h, json_t **ret, struct err *err);
/* events.c */
int libvirt_events_start(struct host *h, host_event_fn fn, void *ctx, void **ret, struct err *err);
void libvirt_events_stop(void *events);
bool libvirt_alive(struct host *h);
/* console.c */
int libvirt_console_open(struct domain *d, const char *name, bool force, void **ret,
			 struct err *err);
ssize_t libvirt_console_read(void *console, void *buf, size_t len, unsigned timeout_ms,
			     struct err *err);
int libvirt_console_write(void *console, const void *buf, size_t len, struct err *err);
void libvirt_console_close(void *console);

/** libvirt_only() - for what no other driver has; @what: "backups"; Return: 0, or -1: ERR_UNSUPPORTED */
int libvirt_only(const struct host *h, const char *what, struct err *err);

#endif
