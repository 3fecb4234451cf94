/* The smallest kernel with a PVH entry: 32-bit code, found by its note. It prints its command line, then its RAM disk, and powers off. */
	.section .note.pvh, "a", @note
	.long 4, 4, 18
	.ascii "Xen\0"
	.long _start
	.text
	.code32
	.globl _start
_start:	mov $stack, %esp
	cmpl $0x336ec578, (%ebx)
	jne 9f
	mov 24(%ebx), %esi	/* command line */
1:	lodsb
	test %al, %al
	jz 2f
	call put
	jmp 1b
2:	mov $10, %al
	call put
	cmpl $0, 12(%ebx)	/* modules */
	je 9f
	mov 16(%ebx), %edi
	mov (%edi), %esi
	mov 8(%edi), %ecx
3:	jecxz 9f
	lodsb
	call put
	dec %ecx
	jmp 3b
9:	mov $0x604, %dx
	mov $0x3400, %ax
	out %ax, %dx
	hlt
	jmp 9b
put:	push %edx
	mov $0x3f8, %dx
	out %al, %dx
	pop %edx
	ret
	.bss
	.space 256
stack:
	.section .note.GNU-stack, "", @progbits
