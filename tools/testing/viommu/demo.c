// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VMM and its guest in one program, telling what they do: the guest's device
 * does DMA through the guest's stage 1, which the SMMU walks over the host's
 * stage 2. Each line says what has been seen; the first that would not be true
 * ends the program with a failure.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smmuv3_lib.h"

#define ASID	1
#define VSID	0x0008			/* what the guest takes its device for */
#define VA_FROM	0x5000000000UL
#define VA_TO	0x7ffffff000UL

static void chapter(const char *title)
{
	printf("\n%s\n", title);
}

#define tell(label, fmt, ...) \
	printf("  %-13s" fmt "\n", label, ##__VA_ARGS__)
#define tell_object(label, id, fmt, ...) \
	tell(label, "#%-3u " fmt, id, ##__VA_ARGS__)

static void expect(bool as_told, const char *otherwise)
{
	if (!as_told)
		die("but no: %s", otherwise);
}

/* The device reads a line at VA_FROM and writes it to VA_TO. */
static void copy_by_dma(struct edu *edu)
{
	edu_read(edu, VA_FROM, 0, 64);
	edu_write(edu, VA_TO, 0, 64);
}

static void explain(struct s1 *s1, __u64 va)
{
	__le64 *table = vm_ptr(s1->vm, s1->ttb);
	int level;

	for (level = 0; level < 4; level++) {
		__u64 pte = le64toh(table[(va >> (39 - 9 * level)) & 511]);

		tell("", "level %d   %016llx", level, pte);
		if (level < 3)
			table = vm_ptr(s1->vm, pte & 0xfffffffff000UL);
	}
}

int main(void)
{
	static const char hello[64] = "from the device, through two stages";
	struct edu_slot slots[8];
	const char *why;
	__u64 from, to, other;
	__u32 viommu, vdevice, nested;
	struct edu edu;
	struct vm vm;
	struct s1 s1;
	int n, i;

	n = edu_find(slots, 8, &why);
	for (i = 0; i < n && slots[i].members != 1; i++)
		;
	if (i == n)
		die("%s", n ? "no edu device in a group of its own" : why);

	printf("A VM's device behind an SMMUv3 that the guest owns a share of\n");

	chapter("The VMM allocates what the VM needs");
	vm_init(&vm);
	edu_open(&edu, &vm, &slots[i]);
	s2_alloc(&vm, edu.dev_id);
	viommu = viommu_alloc(&vm, edu.dev_id);
	vdevice = vdevice_alloc(&vm, viommu, edu.dev_id, VSID);
	tell_object("device", edu.dev_id, "PCI %s, bound to vfio-pci",
		    slots[i].bdf);
	tell_object("IOAS", vm.ioas, "%lu MiB of guest memory at gpa %#lx",
		    GUEST_RAM_SIZE >> 20, GUEST_RAM);
	tell_object("nest parent", vm.s2, "stage 2: gpa to host memory");
	tell_object("vIOMMU", viommu, "the guest's SMMU, on nest parent #%u",
		    vm.s2);
	tell_object("vDEVICE", vdevice,
		    "device #%u is StreamID %#x to the guest", edu.dev_id,
		    VSID);

	chapter("The guest writes its stage 1 into its memory");
	from = vm_alloc(&vm, 1);
	to = vm_alloc(&vm, 1);
	other = vm_alloc(&vm, 1);
	memcpy(vm_ptr(&vm, from), hello, sizeof(hello));
	s1_init(&s1, &vm, ASID);
	s1_map(&s1, VA_FROM, from);
	s1_map(&s1, VA_TO, to);
	tell("CD", "at gpa %#llx: ASID %u, tables at gpa %#llx", s1.cd, ASID,
	     s1.ttb);
	tell("map", "VA %#012lx -> gpa %#llx", VA_FROM, from);
	tell("map", "VA %#012lx -> gpa %#llx", VA_TO, to);
	explain(&s1, VA_TO);

	chapter("It points its STE there, and the VMM hands that on");
	nested = nested_alloc(&vm, edu.dev_id, viommu, vste_s1(&s1));
	edu_attach(&edu, nested);
	tell_object("nested HWPT", nested, "vSTE %016llx %016llx",
		    (__u64)vste_s1(&s1).ste[0],
		    (__u64)vste_s1(&s1).ste[1]);
	tell("attach", "device #%u to #%u: stage 1 over stage 2", edu.dev_id,
	     nested);

	chapter("The device does DMA with guest virtual addresses");
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, to), hello, sizeof(hello)),
	       "the copy did not arrive");
	tell("DMA read", "VA %#012lx -> gpa %#llx", VA_FROM, from);
	tell("DMA write", "VA %#012lx -> gpa %#llx", VA_TO, to);
	tell("memory", "\"%s\"", (char *)vm_ptr(&vm, to));

	chapter("The guest maps another page there, and invalidates nothing");
	memset(vm_ptr(&vm, to), 0, sizeof(hello));
	s1_map(&s1, VA_TO, other);
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, to), hello, sizeof(hello)),
	       "the SMMU had forgotten the old page by itself");
	tell("map", "VA %#012lx -> gpa %#llx", VA_TO, other);
	tell("DMA write", "VA %#012lx -> gpa %#llx: a stale TLB entry", VA_TO,
	     to);

	chapter("The guest's TLBI, passed on by HWPT_INVALIDATE");
	memset(vm_ptr(&vm, to), 0, sizeof(hello));
	viommu_cmd(&vm, viommu, cmd_tlbi_nh_va(ASID, VA_TO));
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, other), hello, sizeof(hello)) &&
	       !*(char *)vm_ptr(&vm, to), "the entry is still there");
	tell("TLBI_NH_VA", "VA %#012lx, ASID %u, by vIOMMU #%u", VA_TO, ASID,
	     viommu);
	tell("DMA write", "VA %#012lx -> gpa %#llx: the entry is gone", VA_TO,
	     other);

	chapter("The guest unmaps the page");
	memset(vm_ptr(&vm, other), 0, sizeof(hello));
	s1_unmap(&s1, VA_TO);
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, other), hello, sizeof(hello)),
	       "the SMMU had forgotten the page by itself");
	tell("unmap", "VA %#012lx", VA_TO);
	tell("DMA write", "VA %#012lx -> gpa %#llx: stale again", VA_TO, other);
	memset(vm_ptr(&vm, other), 0, sizeof(hello));
	viommu_cmd(&vm, viommu, cmd_tlbi_nh_va(ASID, VA_TO));
	copy_by_dma(&edu);
	expect(!*(char *)vm_ptr(&vm, other) && !*(char *)vm_ptr(&vm, to),
	       "the DMA arrived all the same");
	tell("TLBI_NH_VA", "VA %#012lx, ASID %u, by vIOMMU #%u", VA_TO, ASID,
	     viommu);
	tell("DMA write", "VA %#012lx -> terminated, no byte is written",
	     VA_TO);

	chapter("The VM ends, each object before what it stands on");
	expect(__iommu_destroy(&vm, vdevice) == -EBUSY,
	       "the vDEVICE went while its device translates");
	tell("vDEVICE", "#%-3u is busy: its device still translates", vdevice);
	edu_detach(&edu);
	tell("detach", "device #%u", edu.dev_id);
	iommu_destroy(&vm, nested);
	iommu_destroy(&vm, vdevice);
	iommu_destroy(&vm, viommu);
	iommu_destroy(&vm, vm.s2);
	tell("destroy", "#%u #%u #%u #%u", nested, vdevice, viommu, vm.s2);
	edu_close(&edu);
	vm_free(&vm);
	putchar('\n');
	return 0;
}
