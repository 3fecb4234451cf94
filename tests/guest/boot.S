/* A boot sector for the BIOS: it speaks on the serial line, reads what is behind it by the BIOS, writes to the screen, powers off. */
	.code16
	.globl _start
_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	sti
	mov %dl, drive
	mov $hello, %si
	call say
	/* sectors 1 and 2 of the disk by the BIOS's extensions, to 0x8000 */
	mov $packet, %si
	mov drive, %dl
	mov $0x42, %ah
	int $0x13
	jc failed
	mov $0x8000, %si
	call say
	/* through the BIOS's screen */
	mov $bios, %si
1:	lodsb
	test %al, %al
	jz 2f
	mov $0x0e, %ah
	mov $7, %bx
	int $0x10
	jmp 1b
2:	mov $0x604, %dx		/* power off */
	mov $0x3400, %ax
	out %ax, %dx
3:	hlt
	jmp 3b
failed:
	mov $bad, %si
	call say
	jmp 2b
say:	lodsb
	test %al, %al
	jz 5f
	mov $0x3f8, %dx
	out %al, %dx
	jmp say
5:	ret
drive:	.byte 0
hello:	.asciz "boot sector\n"
bad:	.asciz "no second sector\n"
bios:	.asciz "and the screen\r\n"
	.balign 4
packet:	.byte 16, 0
	.word 2, 0x8000, 0
	.quad 1
	.org 510
	.word 0xaa55
	.asciz "second sector\n"
	.org 2048
	.section .note.GNU-stack, "", @progbits
