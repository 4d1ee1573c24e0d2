/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of nested translation on an SMMUv3 have in common: the devices
 * that there are, guests that own one, and the host that must not mind.
 */
#ifndef SELFTEST_SMMUV3_TEST_H
#define SELFTEST_SMMUV3_TEST_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smmuv3_lib.h"

/*
 * Seconds that a test may take. On an emulated machine with KASAN that shares
 * its CPUs, the 30 s of the harness are too few.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

#define ASID	0x1234
#define VSID	0xfffffff8
#define VA	0x5000000000UL
#define VA2	0x7ffffff000UL
#define SOON	60000		/* ms; far more than it takes */
#define DIMM	0x100000000UL	/* gpa of memory that comes and goes */
#define DOORBELL	0x8000000UL	/* first of the window for MSIs */
#define WINDOW		0x100000UL

/* A test of other devices defines this in front of the include. */
#ifndef find_devices
#define find_devices edu_find
#endif

static struct edu_slot slots[16];
static int nslots;
static const char *why;

/* ---- What the host is told ---- */

/* IHI0070 section 6.3: page 0 */
#define SMMU_IIDR	0x18
#define SMMU_AIDR	0x1c
#define SMMU_GERROR	0x60
#define SMMU_GERRORN	0x64
#define SMMU_CMDQ_CONS	0x9c
#define SMMU_CMDQ_ERR	0x7f000000

/* The kernel's log from here on, and where possible the SMMU itself. */
struct host {
	int kmsg;
	__le32 *regs;
	__u32 gerror;
	__u32 cmdq_err;	/* of the last error, which stays there */
};

static __u32 host_reg(const struct host *host, unsigned int reg)
{
	return le32toh(__atomic_load_n(&host->regs[reg / 4],
				       __ATOMIC_RELAXED));
}

static void host_watch(struct host *host, const struct edu_slot *slot)
{
	int fd;

	host->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (host->kmsg >= 0)
		lseek(host->kmsg, 0, SEEK_END);

	host->regs = NULL;
	fd = open("/dev/mem", O_RDONLY | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		return;
	host->regs = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, slot->smmu);
	close(fd);
	if (host->regs == MAP_FAILED) {
		host->regs = NULL;
	} else {
		host->gerror = host_reg(host, SMMU_GERROR);
		host->cmdq_err = host_reg(host, SMMU_CMDQ_CONS) & SMMU_CMDQ_ERR;
	}
}

static bool host_is_fine(struct host *host)
{
	static const char * const bad[] = {
		"CMDQ error", "global error", "CMD_SYNC timeout", "WARNING:",
		"BUG:", "INFO: task",
	};
	char line[8192];
	bool fine = true;
	unsigned int i;
	ssize_t n;

	for (;;) {
		n = read(host->kmsg, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			break;
		line[n] = 0;
		for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
			if (strstr(line, bad[i])) {
				fprintf(stderr, "# %s", strchr(line, ';') + 1);
				fine = false;
			}
		}
	}
	if (host->regs) {
		__u32 gerror = host_reg(host, SMMU_GERROR);
		__u32 gerrorn = host_reg(host, SMMU_GERRORN);
		__u32 cons = host_reg(host, SMMU_CMDQ_CONS);

		if (gerror != host->gerror || gerror != gerrorn ||
		    (cons & SMMU_CMDQ_ERR) != host->cmdq_err) {
			fprintf(stderr,
				"# GERROR %#x, was %#x, GERRORN %#x, CMDQ_CONS %#x\n",
				gerror, host->gerror, gerrorn, cons);
			fine = false;
		}
	}
	return fine;
}

/* ---- Guests ---- */

/* A device with a vSMMU of its own. Several may share the VM's stage 2. */
struct guest {
	struct vm *vm;
	struct edu edu;
	struct s1 s1;
	__u32 s2;		/* the nest parent of its vSMMU */
	__u32 viommu;
	__u32 vdevice;
	__u32 nested;
};

/*
 * The device behind stage 2 only, and tables for stage 1: no vSMMU yet. Stage 2
 * is this nest parent, or if it is 0 one that is made for the device's SMMU.
 */
static void guest_device_on(struct guest *guest, struct vm *vm,
			    const struct edu_slot *slot, __u32 parent)
{
	memset(guest, 0, sizeof(*guest));
	guest->vm = vm;
	edu_open(&guest->edu, vm, slot);
	guest->s2 = parent ?: parent_alloc(vm, guest->edu.dev_id, vm->ioas);
	edu_attach(&guest->edu, guest->s2);
	s1_init(&guest->s1, vm, ASID);
}

static void guest_device(struct guest *guest, struct vm *vm,
			 const struct edu_slot *slot)
{
	guest_device_on(guest, vm, slot, vm->s2);
	vm->s2 = guest->s2;
}

/* Up to the point where the device could be attached to a nested domain. */
static void guest_open(struct guest *guest, struct vm *vm,
		       const struct edu_slot *slot)
{
	guest_device(guest, vm, slot);
	guest->viommu = viommu_alloc(vm, guest->edu.dev_id);
}

/* The same for tests that ask edu_lands() */
static void guest_init(struct guest *guest, struct vm *vm,
		       const struct edu_slot *slot)
{
	guest_open(guest, vm, slot);
	edu_load_tokens(&guest->edu);
}

static __u32 guest_nested(struct guest *guest,
			  struct iommu_hwpt_arm_smmuv3 vste)
{
	return nested_alloc(guest->vm, guest->edu.dev_id, guest->viommu, vste);
}

/* And from there to stage 1. */
static void guest_start(struct guest *guest, __u64 vsid)
{
	guest->vdevice = vdevice_alloc(guest->vm, guest->viommu,
				       guest->edu.dev_id, vsid);
	guest->nested = guest_nested(guest, vste_s1(&guest->s1));
	edu_attach(&guest->edu, guest->nested);
}

static void guest_cmd(struct guest *guest,
		      struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	viommu_cmd(guest->vm, guest->viommu, cmd);
}

/* Gives back everything, each object before what it stands on. */
static void guest_stop(struct guest *guest)
{
	edu_detach(&guest->edu);
	iommu_destroy(guest->vm, guest->nested);
	iommu_destroy(guest->vm, guest->vdevice);
	iommu_destroy(guest->vm, guest->viommu);
	edu_close(&guest->edu);
}

static __u32 smmu_idr(struct guest *guest, int n)
{
	struct iommu_hw_info_arm_smmuv3 info;
	__u32 type = 0, len = sizeof(info);
	__u64 caps;

	if (__hw_info(guest->vm, guest->edu.dev_id, 0, &type, &info, &len,
		      &caps))
		die("GET_HW_INFO fails");
	return info.idr[n];
}

/*
 * Make the device write four bytes to @va. Return true if they arrive at @gpa, the start
 * of a page. The device's buffer must not be all ones.
 */
static bool arrives(struct guest *guest, __u64 va, __u64 gpa)
{
	__u32 *there = vm_ptr(guest->vm, gpa + (va & (GUEST_PAGE - 1)));

	__atomic_store_n(there, ~0U, __ATOMIC_RELAXED);
	edu_write(&guest->edu, va, 0, 4);
	return __atomic_load_n(there, __ATOMIC_RELAXED) != ~0U;
}

/* ---- Stale entries ---- */

/* Where the guest's page table entry points before and after a change. */
struct change {
	__u64 va, before, after;
};

/* The device has used the entry, then the entry was changed. */
static bool stale(struct guest *guest, struct change *c, __u64 va)
{
	c->va = va;
	c->before = vm_alloc(guest->vm, 1);
	c->after = vm_alloc(guest->vm, 1);
	s1_map(&guest->s1, va, c->before);
	if (edu_lands(&guest->edu, va) != c->before)
		return false;
	s1_map(&guest->s1, va, c->after);
	return true;
}

static bool goes_before(struct guest *guest, const struct change *c)
{
	return edu_lands(&guest->edu, c->va) == c->before;
}

static bool goes_after(struct guest *guest, const struct change *c)
{
	return edu_lands(&guest->edu, c->va) == c->after;
}

/* ---- Machines ---- */

static const struct edu_slot *edu_own_group(int n)
{
	int i;

	for (i = 0; i < nslots; i++)
		if (slots[i].members == 1 && !n--)
			return &slots[i];
	return NULL;
}

/* The n-th of those behind one SMMU, the SMMUs in the order of their devices */
static const struct edu_slot *edu_behind(int smmu, int n)
{
	const struct edu_slot *slot;
	__u64 seen[16];
	int i, k, num = 0;

	for (i = 0; (slot = edu_own_group(i)); i++) {
		for (k = 0; k < num && seen[k] != slot->smmu; k++)
			;
		if (k == num)
			seen[num++] = slot->smmu;
		if (k == smmu && !n--)
			return slot;
	}
	return NULL;
}

/* The n-th of two functions in one group, without a bridge in it. */
static const struct edu_slot *edu_shared_group(int n)
{
	int i;

	for (i = 0; i < nslots; i++)
		if (slots[i].edus == 2 && slots[i].members == 2 && !n--)
			return &slots[i];
	return NULL;
}

static const struct edu_slot *behind_port(void)
{
	int i;

	for (i = 0; i < nslots; i++)
		if (slots[i].members > slots[i].edus && !slots[i].alias)
			return &slots[i];
	return NULL;
}

static const struct edu_slot *aliased(void)
{
	int i;

	for (i = 0; i < nslots; i++)
		if (slots[i].alias)
			return &slots[i];
	return NULL;
}

/* Sets "why" where there's nothing to test. */
static void __attribute__((constructor)) look_around(void)
{
	__u32 id;
	struct edu edu;
	struct vm vm;
	int rc;

	nslots = find_devices(slots, 16, &why);
	if (!nslots)
		return;
	why = "no such device in an IOMMU group of its own";
	if (!edu_own_group(0))
		return;
	why = NULL;

	vm_init(&vm);
	edu_open(&edu, &vm, edu_own_group(0));
	rc = __hwpt_alloc(&vm, edu.dev_id, vm.ioas,
			  IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_DATA_NONE,
			  NULL, 0, &vm.s2);
	if (rc == EOPNOTSUPP) {
		why = "no nest parents (CONFIG_ARM_SMMU_V3_IOMMUFD? an SMMU of two stages?)";
	} else if (!rc) {
		rc = __viommu_alloc(&vm, edu.dev_id, vm.s2,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id);
		if (rc == ENOTTY || rc == EOPNOTSUPP)
			why = "no vIOMMU (CONFIG_ARM_SMMU_V3_IOMMUFD? CANWBS or S2FWB?)";
	}
	edu_close(&edu);
	vm_free(&vm);
}

/* Why a test that wants this slot cannot run; NULL if it can. */
static const char *lacks(const struct edu_slot *slot, const char *what)
{
	if (why)
		return why;
	return slot ? NULL : what;
}

#define LACKS_SECOND	"needs two edu devices in groups of their own"
#define LACKS_SMMU	"needs edu devices behind two SMMUs"
#define LACKS_FUNCTIONS	"needs an edu of two functions without ACS"
#define LACKS_PORT	"needs an edu behind a root port without ACS"
#define LACKS_BRIDGE	"needs an edu behind a PCI Express to PCI bridge"

/* The VM and its first device, behind stage 2 only */
static void up(struct host *host, struct vm *vm, struct guest *guest,
	       const struct edu_slot *slot)
{
	host_watch(host, slot);
	vm_init(vm);
	guest_init(guest, vm, slot);
}

/* Whatever has become of them: the host must have got over it. */
static bool down(struct host *host, struct vm *vm, struct guest *guest)
{
	if (!vm->ram)
		return true;
	if (guest->edu.fd >= 0)
		edu_close(&guest->edu);
	vm_free(vm);
	return host_is_fine(host);
}

#endif
