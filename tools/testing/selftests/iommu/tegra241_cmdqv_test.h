/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of Tegra241 CMDQV have in common: guests that own a VINTF. */
#ifndef SELFTEST_TEGRA241_CMDQV_TEST_H
#define SELFTEST_TEGRA241_CMDQV_TEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "smmuv3_test.h"
#include "tegra241_cmdqv_lib.h"

#define DEPTH		512
#define NO_SUCH_ID	0x7fffffffU
#define VSID20		0xffff8	/* as wide as a VINTF can match */

/* ---- Machine ---- */

static const char *no_block;	/* why nothing can be had from the block */
static const char *no_vintf;	/* why no VINTF can be had */
static const char *no_pair;	/* why a vDEVICE has no pair of StreamIDs */
static struct iommu_hw_info_tegra241_cmdqv hw;

static int hw_info(struct vm *vm, __u32 dev_id, __u32 type,
		   struct iommu_hw_info_tegra241_cmdqv *info)
{
	__u32 len = sizeof(*info);
	__u64 caps;
	int rc;

	rc = __hw_info(vm, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, info,
		       &len, &caps);
	if (!rc)
		no_pair = caps & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED ?
			  "the device cannot use ATS" : NULL;
	return rc;
}

/* Runs after look_around(), which stands before it in this file. */
static void __attribute__((constructor)) look_for_block(void)
{
	struct vintf vintf;
	struct edu edu;
	struct vm vm;

	no_block = why;
	no_vintf = why;
	if (why)
		return;
	vm_init(&vm);
	edu_open(&edu, &vm, edu_own_group(0));
	s2_alloc(&vm, edu.dev_id);
	if (hw_info(&vm, edu.dev_id, IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, &hw))
		no_block = "no Tegra241 CMDQV for VMs (CONFIG_TEGRA241_CMDQV?)";
	no_vintf = no_block;
	if (!no_block && __vintf_alloc(&vintf, &vm, edu.dev_id) == ENOSPC)
		no_vintf = "no VINTF for VMs";
	edu_close(&edu);
	vm_free(&vm);
}

/* Why a test that wants a VINTF and this slot cannot run; NULL if it can */
static const char *vintf_lacks(const struct edu_slot *slot, const char *what)
{
	return no_vintf ? no_vintf : lacks(slot, what);
}

static unsigned int max_queues(void)
{
	return 1U << hw.log2vcmdqs;
}

/* The StreamID that the SMMU sees: the IORT of the machine adds nothing. */
static __u32 physical_sid(const struct edu_slot *slot)
{
	unsigned int domain, bus, dev, fn;

	if (sscanf(slot->bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		die("%s is no address", slot->bdf);
	return bus << 8 | dev << 3 | fn;
}

/* Where the hardware finds what @p points to; 0 if the kernel does not say. */
static __u64 physical_address(const void *p)
{
	__u64 entry = 0, page = sysconf(_SC_PAGESIZE), va = (__u64)p;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), va / page * 8) != sizeof(entry))
		entry = 0;
	close(fd);
	if (!(entry & 1ULL << 63) || !(entry & ((1ULL << 55) - 1)))
		return 0;
	return (entry & ((1ULL << 55) - 1)) * page + va % page;
}

/* ---- Guests ---- */

/* A guest that owns a device and a VINTF with one queue, number 0 */
struct owner {
	struct guest guest;
	struct vintf vintf;
	struct vcmdq q;
	struct veventq errors;
	__u32 sequence;		/* of the next error */
};

/* The vIOMMU and the mapping */
static void owner_open(struct owner *o, struct vm *vm,
		       const struct edu_slot *slot)
{
	memset(o, 0, sizeof(*o));
	guest_device(&o->guest, vm, slot);
	vintf_alloc(&o->vintf, vm, o->guest.edu.dev_id);
	o->guest.viommu = o->vintf.viommu;
}

/* And the rest: the device translates, the queue runs. */
static void owner_start(struct owner *o, __u32 vsid)
{
	struct vm *vm = o->guest.vm;

	edu_load_tokens(&o->guest.edu);
	guest_start(&o->guest, vsid);
	errorq_alloc(&o->vintf, DEPTH, &o->errors);
	vcmdq_alloc(&o->q, &o->vintf, 0, vm_alloc(vm, 1));
	vcmdq_start(&o->q);
}

/* Gives back everything, each object before what it stands on. */
static void owner_stop(struct owner *o)
{
	vcmdq_free(&o->q);
	veventq_free(o->guest.vm, &o->errors);
	vintf_unmap(&o->vintf);
	guest_stop(&o->guest);
}

/* The next event is the first error of queue @index since the last one. */
static bool error_arrives(struct owner *o, unsigned int index)
{
	struct vcmdq_event event;
	__u64 map[2];

	if (!errorq_read(&o->errors, &event, SOON)) {
		fprintf(stderr, "# no event\n");
		return false;
	}
	map[0] = le64toh(event.record.lvcmdq_err_map[0]);
	map[1] = le64toh(event.record.lvcmdq_err_map[1]);
	if (!event.header.flags && event.header.sequence == o->sequence++ &&
	    map[index / 64] == 1ULL << index % 64 && !map[1 - index / 64])
		return true;
	fprintf(stderr, "# event: flags %#x, sequence %u, map %#llx %#llx\n",
		event.header.flags, event.header.sequence, map[0], map[1]);
	return false;
}

/* An event names queue @index, among others. Those before it do not matter. */
static bool error_named(struct owner *o, unsigned int index)
{
	struct vcmdq_event event;

	while (errorq_read(&o->errors, &event, SOON)) {
		o->sequence = event.header.sequence + 1;
		if (le64toh(event.record.lvcmdq_err_map[index / 64]) >>
		    index % 64 & 1)
			return true;
	}
	return false;
}

/* Read everything that is there. Return how many events. */
static unsigned int errors_drain(struct owner *o)
{
	struct vcmdq_event event;
	unsigned int n = 0;

	while (errorq_read(&o->errors, &event, 0))
		n++;
	return n;
}

/* The same, and whether all of them name this queue and no other */
static bool errors_name_only(struct owner *o, unsigned int index)
{
	struct vcmdq_event event;
	bool only = true;

	while (errorq_read(&o->errors, &event, 0))
		only = only &&
		       le64toh(event.record.lvcmdq_err_map[index / 64]) ==
		       1ULL << index % 64 &&
		       !event.record.lvcmdq_err_map[1 - index / 64];
	return only;
}

static bool no_error(struct owner *o)
{
	struct vcmdq_event event;

	return !errorq_read(&o->errors, &event, 0);
}

/* The queue has stopped at command @at with one of two codes. */
static bool stopped(struct owner *o, __u32 at, int code)
{
	__u32 cons = vcmdq_get(&o->q, VCMDQ_CONS);
	__u32 active = vcmdq_get(&o->q, VCMDQ_GERROR) ^
		       vcmdq_get(&o->q, VCMDQ_GERRORN);

	if ((code == VCMDQ_ERR_ILLEGAL || code == VCMDQ_ERR_FORBIDDEN) &&
	    VCMDQ_RD(cons) == at && active == VCMDQ_GERROR_CMD &&
	    vcmdq_get(&o->q, VCMDQ_STATUS) & VCMDQ_EN)
		return true;
	fprintf(stderr, "# code %d, CONS %#x instead of %#x, active %#x\n",
		code, cons, at, active);
	return false;
}

/*
 * The queue stops at this command, the error arrives in the guest's vEVENTQ, and
 * the queue works again after the guest has acknowledged the error.
 */
static bool refused(struct owner *o,
		    struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	__u32 at = o->q.prod;
	int rc;

	if (!stopped(o, at, vcmdq_cmd(&o->q, cmd)))
		return false;
	if (!error_arrives(o, o->q.index))
		return false;
	vcmdq_skip(&o->q);
	rc = vcmdq_wait(&o->q);
	if (!rc)
		rc = vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID + 1, VA2));
	if (rc)
		fprintf(stderr, "# after the acknowledgment: %d\n", rc);
	return !rc;
}

/* ---- Bad input ---- */

/* A field of an ioctl's structure, what it is set to, and what that gives */
struct bad_field {
	const char *name;
	size_t off;
	size_t len;
	__u64 val;
	int err;
};

#define BAD(type, field, value, error)                      \
	{                                                   \
		.name = #field " = " #value,                \
		.off = offsetof(struct type, field),        \
		.len = 4, .val = (value), .err = (error),   \
	}

/* The same for a field of 64 bits */
#define BAD64(type, field, value, error)                    \
	{                                                   \
		.name = #field " = " #value,                \
		.off = offsetof(struct type, field),        \
		.len = 8, .val = (value), .err = (error),   \
	}

/* The ioctl with @good but for this field: 0 or an errno */
static int bad_ioctl(struct vm *vm, unsigned long request, const void *good,
		     size_t size, const struct bad_field *bad)
{
	__u8 cmd[64];
	__le64 val = htole64(bad->val);

	memcpy(cmd, good, size);
	memcpy(cmd + bad->off, &val, bad->len);
	return ioctl(vm->iommufd, request, cmd) ? errno : 0;
}

/* Every row gives its error. */
static bool bad_fields_fail(struct vm *vm, unsigned long request,
			    const void *good, size_t size,
			    const struct bad_field *bad, unsigned int num)
{
	bool all = true;
	int rc;

	for (; num--; bad++) {
		rc = bad_ioctl(vm, request, good, size, bad);
		if (rc == bad->err)
			continue;
		fprintf(stderr, "# %s: %d, wanted %d\n", bad->name, rc,
			bad->err);
		all = false;
	}
	return all;
}

#define EXPECT_BAD(vm, request, good, table)                             \
	EXPECT_TRUE(bad_fields_fail(vm, request, &(good), sizeof(good),  \
				    table, sizeof(table) / sizeof(struct bad_field)))

#endif
