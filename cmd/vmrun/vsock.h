/* --vsock PATH[,cid=N] */
#ifndef VMKIT_CMD_VMRUN_VSOCK_H
#define VMKIT_CMD_VMRUN_VSOCK_H

#include "libcommon/base/err.h"
#include "libcommon/runner/virtio_vsock.h"

/** vsock_option() - *@ret is owned (vsock_close()), @text NULL: there is none; Return: 0 or -1 */
int vsock_option(const char *text, struct vsock **ret, uint32_t *ret_cid, struct err *err);

#endif
