/* The caller's terminal while a guest has it: raw, and as it was again however this program ends. */
#ifndef VMKIT_CMD_VMRUN_TERMINAL_H
#define VMKIT_CMD_VMRUN_TERMINAL_H

/** terminal_raw() - if @fd is a terminal and we are in its foreground: raw mode; undone by terminal_restore(), by signals
 *  that kill or stop this process, by abort() and exit(). Once a process */
void terminal_raw(int fd);

/** terminal_restore() - as it was; nothing when it was not changed */
void terminal_restore(void);

#endif
