/* The smallest bzImage: one sector of setup with the header of the boot protocol, then code with its 64-bit entry at 0x200. */
	.section .head, "awx"
	.code64
	.globl _start
_start:
	.org 0x1f1
	.byte 1			/* setup sectors */
	.org 0x1f4
	.long code_units	/* of 16 bytes, by the linker script */
	.org 0x1fe
	.word 0xaa55
	.byte 0xeb, 0x66	/* jump over the header */
	.ascii "HdrS"
	.word 0x20f
	.org 0x211
	.byte 1			/* loaded high */
	.org 0x22c
	.long 0x7fffffff
	.org 0x236
	.word 1			/* has a 64-bit entry */
	.long 0x7ff		/* length of the command line */
	.org 0x258
	.quad 0x100000
	.long 0x100000		/* memory from there on */
	.org 0x400
code:
	.org 0x600
	lea stack_top(%rip), %rsp
	mov %rsi, %rdi
	call main
1:	hlt
	jmp 1b

/* What a second processor does, in real mode, copied to 0x3000: count itself at 0x4000 */
	.globl ap_start, ap_end
ap_start:
	.code16
	xor %ax, %ax
	mov %ax, %ds
	lock incb 0x4000
2:	hlt
	jmp 2b
ap_end:
	.code64
	.globl triple_fault
triple_fault:
	lidt no_idt(%rip)
	ud2
no_idt:	.word 0
	.quad 0
	.section .note.GNU-stack, "", @progbits
