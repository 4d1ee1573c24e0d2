// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VMM and its guest in one program, on an SMMU that has Tegra241 CMDQV: the guest
 * invalidates by a queue of its own, which the hardware reads. Each line says what has
 * been seen; the first that would not be true ends the program with a failure.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "tegra241_cmdqv_lib.h"

#define ASID	1
#define VSID	0x0008			/* what the guest takes its device for */

/* What the block made of the last command, if it is a model that tells */
static void tell_executed(void)
{
	unsigned int queue;
	char cmd[64] = "";
	char value[80];

	if (model_get("last-cmd", value, sizeof(value)) &&
	    sscanf(value, "%u %63[^\n]", &queue, cmd) == 2)
		tell("VCMDQ", "%s with this VM's VMID, by queue %u", cmd, queue);
}

static void tell_command(struct vcmdq *q, unsigned int index)
{
	__u64 *cmd = (__u64 *)q->mem + 2 * index;

	tell("memory", "%016lx %016lx at index %u", le64toh(cmd[0]),
	     le64toh(cmd[1]), index);
}

static void tell_registers(struct vcmdq *q)
{
	__u32 cons = vcmdq_get(q, VCMDQ_CONS);

	tell("page 0", "PROD %u, CONS %u, CONS.ERR %u, GERROR %#x, GERRORN %#x",
	     VCMDQ_RD(vcmdq_get(q, VCMDQ_PROD)), VCMDQ_RD(cons),
	     VCMDQ_ERR(cons), vcmdq_get(q, VCMDQ_GERROR),
	     vcmdq_get(q, VCMDQ_GERRORN));
}

int main(void)
{
	static const char hello[64] = "from the device, through two stages";
	__u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	struct iommu_hw_info_tegra241_cmdqv info = {};
	struct edu_slot slot = lone_edu();
	__u32 len = sizeof(info);
	__u32 vdevice, nested;
	struct vcmdq_event event;
	struct vintf vintf;
	struct veventq errors;
	struct pages page;
	__u64 caps;
	struct vcmdq q;
	struct edu edu;
	struct vm vm;
	struct s1 s1;

	title("A guest that invalidates by itself: Tegra241 CMDQV");

	chapter("The VMM asks what the SMMU has");
	vm_init(&vm);
	edu_open(&edu, &vm, &slot);
	expect(!__hw_info(&vm, edu.dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			  &info, &len, &caps), "it has no CMDQV");
	tell("GET_HW_INFO", "version %u, 2^%u queues and 2^%u StreamIDs for a VM",
	     info.version, info.log2vcmdqs, info.log2vsids);

	chapter("It allocates what the VM needs");
	s2_alloc(&vm, edu.dev_id);
	vintf_alloc(&vintf, &vm, edu.dev_id);
	vdevice = vdevice_alloc(&vm, vintf.viommu, edu.dev_id, VSID);
	errorq_alloc(&vintf, 16, &errors);
	tell_object("nest parent", vm.s2, "stage 2: gpa to host memory");
	tell_object("vIOMMU", vintf.viommu, "the guest's SMMU, with a VINTF");
	tell("mmap", "%llu KiB of registers for the guest: page 0 of the VINTF",
	     vintf.length >> 10);
	tell_object("vDEVICE", vdevice, "PCI %s is StreamID %#x to the guest",
		    slot.bdf, VSID);
	tell_object("vEVENTQ", errors.id, "errors of the guest's queues");

	chapter("The guest has a stage 1, and its device does DMA");
	page = guest_pages(&vm, &s1, ASID, hello);
	nested = nested_alloc(&vm, edu.dev_id, vintf.viommu, vste_s1(&s1));
	edu_attach(&edu, nested);
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, page.to), hello, sizeof(hello)),
	       "the copy did not arrive");
	tell_object("nested HWPT", nested, "stage 1 over stage 2");
	tell("DMA write", "VA %#012lx -> gpa %#llx", VA_TO, page.to);

	chapter("The guest writes BASE of a queue; the VMM allocates it");
	vcmdq_alloc(&q, &vintf, 0, vm_alloc(&vm, 1));
	vcmdq_start(&q);
	tell_object("HW queue", q.id, "logical queue 0, 2^%u commands of 16 bytes",
		    q.log2size);
	tell_registers(&q);

	chapter("The guest maps another page there, and invalidates nothing");
	memset(vm_ptr(&vm, page.to), 0, sizeof(hello));
	s1_map(&s1, VA_TO, page.other);
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, page.to), hello, sizeof(hello)),
	       "the SMMU had forgotten the old page by itself");
	tell("DMA write", "VA %#012lx -> gpa %#llx: a stale TLB entry", VA_TO,
	     page.to);

	chapter("It writes a TLBI into its memory, and PROD: no system call, no exit");
	memset(vm_ptr(&vm, page.to), 0, sizeof(hello));
	vcmdq_put(&q, cmd_tlbi_nh_va(ASID, VA_TO));
	vcmdq_kick(&q);
	expect(!vcmdq_wait(&q), "the queue is in error");
	tell_command(&q, 0);
	tell_executed();
	vcmdq_put(&q, cmd_sync());
	vcmdq_kick(&q);
	expect(!vcmdq_wait(&q), "the queue is in error");
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, page.other), hello, sizeof(hello)) &&
	       !*(char *)vm_ptr(&vm, page.to), "the entry is still there");
	tell_command(&q, 1);
	tell_registers(&q);
	tell("DMA write", "VA %#012lx -> gpa %#llx: the entry is gone", VA_TO,
	     page.other);

	chapter("It wants all TLB entries of the machine gone: not by this queue");
	expect(vcmdq_cmd(&q, (struct iommu_viommu_arm_smmuv3_invalidate){
			 .cmd[0] = htole64(CMD_TLBI_NSNH_ALL) }) > 0,
	       "the hardware executed it");
	tell_command(&q, 2);
	tell_registers(&q);
	expect(errorq_read(&errors, &event, 10000), "the VMM is not told");
	tell_object("vEVENTQ", errors.id, "flags %#x, sequence %u, queues %016lx%016lx",
		    event.header.flags, event.header.sequence,
		    le64toh(event.record.lvcmdq_err_map[1]),
		    le64toh(event.record.lvcmdq_err_map[0]));
	expect(le64toh(event.record.lvcmdq_err_map[0]) == 1 &&
	       !event.record.lvcmdq_err_map[1], "it is another queue's error");

	chapter("The guest puts a CMD_SYNC there, acknowledges, and goes on");
	vcmdq_skip(&q);
	expect(!vcmdq_cmd(&q, cmd_tlbi_nh_va(ASID, VA_FROM)),
	       "the queue does not go on");
	tell_registers(&q);

	chapter("The VM ends, each object before what it stands on");
	expect(__iommu_destroy(&vm, vintf.viommu) == EBUSY,
	       "the vIOMMU went while its page is mapped");
	tell("vIOMMU", "#%-3u is busy: page 0 is mapped", vintf.viommu);
	edu_detach(&edu);
	iommu_destroy(&vm, nested);
	vcmdq_free(&q);
	veventq_free(&vm, &errors);
	iommu_destroy(&vm, vdevice);
	vintf_free(&vintf);
	iommu_destroy(&vm, vm.s2);
	tell("destroy", "#%u #%u #%u #%u #%u #%u", nested, q.id, errors.id, vdevice,
	     vintf.viommu, vm.s2);
	edu_close(&edu);
	vm_free(&vm);
	putchar('\n');
	return 0;
}
