// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VMM and its guest in one program, telling what they do: the guest's device
 * does DMA through the guest's stage 1, which the SMMU walks over the host's
 * stage 2, and in the end faults there. Each line says what has been seen; the
 * first that would not be true ends the program with a failure.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "smmuv3_lib.h"
#include "smmuv3_vevent.h"

#define ASID	1
#define VSID	0x0008			/* what the guest takes its device for */

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

/* A field of an event record, by the bits that IHI0070 7.3 gives it */
static void tell_field(const __u64 *words, const char *name, int hi, int lo,
		       const char *meaning)
{
	__u64 value = words[lo / 64] >> lo % 64 & (~0ULL >> (63 - hi + lo));
	char bits[16];

	if (hi == lo)
		snprintf(bits, sizeof(bits), "[%d]", lo);
	else
		snprintf(bits, sizeof(bits), "[%d:%d]", hi, lo);
	tell(name, "%-10s %#-13llx %s", bits, value, meaning);
}

static void explain_event(const struct vevent *event)
{
	struct evt evt = vevent_decode(event);
	__u64 w[4];
	int i;

	for (i = 0; i < 4; i++)
		w[i] = le64toh(event->record.evt[i]);
	tell("header", "flags %#x, sequence %u", event->header.flags,
	     event->header.sequence);
	tell("record", "%016llx %016llx", w[0], w[1]);
	tell("", "%016llx %016llx", w[2], w[3]);
	tell_field(w, "Type", 7, 0, evt_name(evt.id));
	tell_field(w, "StreamID", 63, 32, "what the guest calls the device");
	tell_field(w, "RnW", 99, 99, evt.rnw ? "a read" : "a write");
	tell_field(w, "S2", 103, 103, evt.s2 ? "at stage 2" : "at stage 1");
	tell_field(w, "CLASS", 105, 104, evt.class == EVT_CLASS_IN ?
		   "of the device's address" : "of a table or CD");
	tell_field(w, "InputAddr", 191, 128, "where the page was");
}

int main(void)
{
	static const char hello[64] = "from the device, through two stages";
	struct edu_slot slot = lone_edu();
	struct pages page;
	__u32 viommu, vdevice, nested;
	struct vevent event;
	struct veventq q;
	struct klog klog;
	struct edu edu;
	struct evt evt;
	struct vm vm;
	struct s1 s1;

	title("A VM's device behind an SMMUv3 that the guest owns a share of");

	chapter("The VMM allocates what the VM needs");
	vm_init(&vm);
	edu_open(&edu, &vm, &slot);
	s2_alloc(&vm, edu.dev_id);
	viommu = viommu_alloc(&vm, edu.dev_id);
	vdevice = vdevice_alloc(&vm, viommu, edu.dev_id, VSID);
	veventq_alloc(&vm, viommu, 16, &q);
	tell_object("device", edu.dev_id, "PCI %s, bound to vfio-pci",
		    slot.bdf);
	tell_object("IOAS", vm.ioas, "%lu MiB of guest memory at gpa %#lx",
		    GUEST_RAM_SIZE >> 20, GUEST_RAM);
	tell_object("nest parent", vm.s2, "stage 2: gpa to host memory");
	tell_object("vIOMMU", viommu, "the guest's SMMU, on nest parent #%u",
		    vm.s2);
	tell_object("vDEVICE", vdevice,
		    "device #%u is StreamID %#x to the guest", edu.dev_id,
		    VSID);
	tell_object("vEVENTQ", q.id, "the SMMU's events that are the guest's");

	chapter("The guest writes its stage 1 into its memory");
	page = guest_pages(&vm, &s1, ASID, hello);
	tell("CD", "at gpa %#llx: ASID %u, tables at gpa %#llx", s1.cd, ASID,
	     s1.ttb);
	tell("map", "VA %#012lx -> gpa %#llx", VA_FROM, page.from);
	tell("map", "VA %#012lx -> gpa %#llx", VA_TO, page.to);
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
	expect(!memcmp(vm_ptr(&vm, page.to), hello, sizeof(hello)),
	       "the copy did not arrive");
	tell("DMA read", "VA %#012lx -> gpa %#llx", VA_FROM, page.from);
	tell("DMA write", "VA %#012lx -> gpa %#llx", VA_TO, page.to);
	tell("memory", "\"%s\"", (char *)vm_ptr(&vm, page.to));

	chapter("The guest maps another page there, and invalidates nothing");
	memset(vm_ptr(&vm, page.to), 0, sizeof(hello));
	s1_map(&s1, VA_TO, page.other);
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, page.to), hello, sizeof(hello)),
	       "the SMMU had forgotten the old page by itself");
	tell("map", "VA %#012lx -> gpa %#llx", VA_TO, page.other);
	tell("DMA write", "VA %#012lx -> gpa %#llx: a stale TLB entry", VA_TO,
	     page.to);

	chapter("The guest's TLBI, passed on by HWPT_INVALIDATE");
	memset(vm_ptr(&vm, page.to), 0, sizeof(hello));
	viommu_cmd(&vm, viommu, cmd_tlbi_nh_va(ASID, VA_TO));
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, page.other), hello, sizeof(hello)) &&
	       !*(char *)vm_ptr(&vm, page.to), "the entry is still there");
	tell("TLBI_NH_VA", "VA %#012lx, ASID %u, by vIOMMU #%u", VA_TO, ASID,
	     viommu);
	tell("DMA write", "VA %#012lx -> gpa %#llx: the entry is gone", VA_TO,
	     page.other);

	chapter("The guest unmaps the page");
	memset(vm_ptr(&vm, page.other), 0, sizeof(hello));
	s1_unmap(&s1, VA_TO);
	copy_by_dma(&edu);
	expect(!memcmp(vm_ptr(&vm, page.other), hello, sizeof(hello)),
	       "the SMMU had forgotten the page by itself");
	tell("unmap", "VA %#012lx", VA_TO);
	tell("DMA write", "VA %#012lx -> gpa %#llx: stale again", VA_TO, page.other);
	memset(vm_ptr(&vm, page.other), 0, sizeof(hello));
	viommu_cmd(&vm, viommu, cmd_tlbi_nh_va(ASID, VA_TO));
	klog_open(&klog);
	edu_write(&edu, VA_TO, 0, 4);
	expect(!*(char *)vm_ptr(&vm, page.other) && !*(char *)vm_ptr(&vm, page.to),
	       "the DMA arrived all the same");
	tell("TLBI_NH_VA", "VA %#012lx, ASID %u, by vIOMMU #%u", VA_TO, ASID,
	     viommu);
	tell("DMA write", "VA %#012lx -> terminated, no byte is written",
	     VA_TO);

	chapter("The VMM reads from its vEVENTQ what it has to tell the guest");
	expect(vevent_wait(&q, 10000) && vevent_read(&q, &event, 1) == 1,
	       "the vEVENTQ has no event");
	evt = vevent_decode(&event);
	expect(!event.header.flags && !event.header.sequence &&
	       evt.id == EVT_F_TRANSLATION && evt.sid == VSID && !evt.rnw &&
	       !evt.s2 && evt.class == EVT_CLASS_IN && evt.addr == VA_TO,
	       "it is another event");
	explain_event(&event);
	expect(!klog_event(&klog, &evt, 0), "the host has a word on it");
	tell("host's log", "says nothing of it");

	chapter("The VMM takes stage 1 from the device: the host's event");
	edu_attach(&edu, vm.s2);
	tell("attach", "device #%u to #%u: stage 2 alone", edu.dev_id, vm.s2);
	edu_write(&edu, VA_TO, 0, 4);
	tell("DMA write", "gpa %#011lx -> terminated, no memory there", VA_TO);
	expect(klog_event(&klog, &evt, 10000), "the host says nothing");
	expect(evt.id == EVT_F_TRANSLATION && evt.s2 && evt.addr == VA_TO &&
	       !vevent_wait(&q, 0), "the guest was told of it");
	tell("host's log", "%s", klog.line);
	tell("", "%s at stage 2, StreamID %#x, addr %#llx",
	     evt_name(evt.id), evt.sid, evt.addr);
	tell("vEVENTQ", "#%-3u is empty", q.id);
	edu_attach(&edu, nested);

	chapter("The VM ends, each object before what it stands on");
	expect(__iommu_destroy(&vm, vdevice) == EBUSY,
	       "the vDEVICE went while its device translates");
	tell("vDEVICE", "#%-3u is busy: its device still translates", vdevice);
	edu_detach(&edu);
	tell("detach", "device #%u", edu.dev_id);
	iommu_destroy(&vm, nested);
	veventq_free(&vm, &q);
	iommu_destroy(&vm, vdevice);
	iommu_destroy(&vm, viommu);
	iommu_destroy(&vm, vm.s2);
	tell("destroy", "#%u #%u #%u #%u #%u", nested, q.id, vdevice, viommu,
	     vm.s2);
	edu_close(&edu);
	vm_free(&vm);
	putchar('\n');
	return 0;
}
