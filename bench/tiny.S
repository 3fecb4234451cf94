/* The smallest guest, for any machine monitor that starts an ELF file by PVH: 32-bit code without paging. SAY: it says "." on the
 * serial line; HANG: it stays then. Else it powers off as vmrun's machines do, and where that is nothing it resets. */
	.section .note.pvh, "a", @note
	.long 4, 4, 18
	.ascii "Xen\0"
	.long _start
	.text
	.code32
	.globl _start
_start:
#ifdef SAY
	mov $0x3f8, %dx
	mov $'.', %al
	out %al, %dx
#endif
#ifdef HANG
1:	hlt
	jmp 1b
#endif
	mov $0x604, %dx
	mov $0x3400, %ax
	out %ax, %dx
	lidt none	/* a triple fault */
	ud2
none:	.word 0
	.long 0
	.section .note.GNU-stack, "", @progbits
