/* A machine that was saved an hour ago, or twice restored: the date is another one, and so are its random numbers. */
#ifndef VMKIT_CMD_VMRUN_GUEST_AGAIN_H
#define VMKIT_CMD_VMRUN_GUEST_AGAIN_H

/** again_clock() - "SECONDS NANOSECONDS" since 1970 */
void again_clock(const char *text);

/** again_stir() - 64 hexadecimal digits that nobody else has */
void again_stir(const char *hex);

#endif
