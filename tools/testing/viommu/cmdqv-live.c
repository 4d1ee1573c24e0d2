// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM whose queue of Tegra241 CMDQV is at work until the machine ends. Prints a line
 * once the hardware has executed enough for it.
 */
#include <stdio.h>

#include "lone_edu.h"
#include "tegra241_cmdqv_lib.h"

#define ASID	1
#define VSID	0x100
#define VA	0x5000000000UL
#define ENOUGH	1000

int main(void)
{
	struct edu_slot slot = lone_edu();
	unsigned int i, done = 0;
	struct vintf vintf;
	struct vcmdq q;
	struct edu edu;
	struct s1 s1;
	struct vm vm;

	vm_init(&vm);
	edu_open(&edu, &vm, &slot);
	s2_alloc(&vm, edu.dev_id);
	vintf_alloc(&vintf, &vm, edu.dev_id);
	vdevice_alloc(&vm, vintf.viommu, edu.dev_id, VSID);
	s1_init(&s1, &vm, ASID);
	s1_map(&s1, VA, vm_alloc(&vm, 1));
	edu_attach(&edu, nested_alloc(&vm, edu.dev_id, vintf.viommu,
				      vste_s1(&s1)));
	vcmdq_alloc(&q, &vintf, 0, vm_alloc(&vm, 1));
	vcmdq_start(&q);
	for (;;) {
		for (i = 0; i < 63; i++)
			vcmdq_put(&q, cmd_tlbi_nh_va(ASID, VA + i * GUEST_PAGE));
		vcmdq_put(&q, cmd_sync());
		vcmdq_kick(&q);
		if (vcmdq_wait(&q))
			die("CONS.ERR %u", VCMDQ_ERR(vcmdq_get(&q, VCMDQ_CONS)));
		edu_read(&edu, VA, 0, 64);
		done += 64;
		if (done < ENOUGH || done >= ENOUGH + 64)
			continue;
		printf("at work\n");
		fflush(stdout);
	}
}
