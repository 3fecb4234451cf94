/* What the parts of vmrun-init share. */
#ifndef VMKIT_CMD_VMRUN_GUEST_INIT_H
#define VMKIT_CMD_VMRUN_GUEST_INIT_H

/** network_up() - the loopback interface, and the others' links
 *
 * @addresses: "ADDRESS GATEWAY DNS" for the first of the others, in a network of 24 bits; NULL: it gets none. Changed.
 * What fails is told on the console; the command runs all the same.
 */
void network_up(char *addresses);

/** network_resolver() - after network_up(): the root's /etc/resolv.conf names the resolver; @disk: the root is a disk, which
 *  must not change: the file is covered */
void network_resolver(const char *root, int disk);

#endif
