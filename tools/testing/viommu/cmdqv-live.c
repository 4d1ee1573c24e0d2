// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM whose queue of Tegra241 CMDQV is at work until the machine ends. Prints a line
 * once the hardware has executed enough for it.
 */
#include <stdio.h>

#include "cmdqv_vm.h"

#define ENOUGH	1000

int main(void)
{
	static struct cmdqv_vm v;
	unsigned int i, done = 0;

	cmdqv_vm_start(&v);
	for (;;) {
		for (i = 0; i < 63; i++)
			vcmdq_put(&v.q, cmd_tlbi_nh_va(ASID, VA + i * GUEST_PAGE));
		vcmdq_put(&v.q, cmd_sync());
		vcmdq_kick(&v.q);
		if (vcmdq_wait(&v.q))
			die("CONS.ERR %u", VCMDQ_ERR(vcmdq_get(&v.q, VCMDQ_CONS)));
		edu_read(&v.edu, VA, 0, 64);
		done += 64;
		if (done < ENOUGH || done >= ENOUGH + 64)
			continue;
		printf("at work\n");
		fflush(stdout);
	}
}
