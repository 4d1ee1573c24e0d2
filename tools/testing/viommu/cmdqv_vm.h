/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CMDQV_VM_H
#define CMDQV_VM_H

#include "lone_edu.h"
#include "tegra241_cmdqv_lib.h"

#define ASID	1
#define VSID	0x100
#define VA	0x5000000000UL

/* A VM with a device that is behind its stage 1, and with a queue that is started */
struct cmdqv_vm {
	struct vm vm;
	struct edu edu;
	struct s1 s1;
	struct vintf vintf;
	struct vcmdq q;
	__u32 vdevice, nested;
};

static inline void cmdqv_vm_start(struct cmdqv_vm *v)
{
	struct edu_slot slot = lone_edu();

	vm_init(&v->vm);
	edu_open(&v->edu, &v->vm, &slot);
	s2_alloc(&v->vm, v->edu.dev_id);
	vintf_alloc(&v->vintf, &v->vm, v->edu.dev_id);
	v->vdevice = vdevice_alloc(&v->vm, v->vintf.viommu, v->edu.dev_id, VSID);
	s1_init(&v->s1, &v->vm, ASID);
	s1_map(&v->s1, VA, vm_alloc(&v->vm, 1));
	v->nested = nested_alloc(&v->vm, v->edu.dev_id, v->vintf.viommu,
				 vste_s1(&v->s1));
	edu_attach(&v->edu, v->nested);
	vcmdq_alloc(&v->q, &v->vintf, 0, vm_alloc(&v->vm, 1));
	vcmdq_start(&v->q);
}

#endif
