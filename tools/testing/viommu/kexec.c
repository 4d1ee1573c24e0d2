// SPDX-License-Identifier: GPL-2.0-only
/*
 * kexec KERNEL INITRD COMMAND-LINE: shut the devices down, as for a reboot, and start
 * that kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kernel, initrd;

	if (argc != 4) {
		fprintf(stderr, "kexec KERNEL INITRD COMMAND-LINE\n");
		return 2;
	}
	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (kernel < 0 || initrd < 0 ||
	    syscall(__NR_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1,
		    argv[3], 0UL) ||
	    syscall(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		    LINUX_REBOOT_CMD_KEXEC, NULL)) {
		fprintf(stderr, "kexec: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
