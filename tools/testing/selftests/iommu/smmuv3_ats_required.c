// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that must have ATS whenever they do DMA: the host's identity domain keeps it
 * on for them, and turns it off for others. The devices are viommu-dma, see
 * smmuv3_dma_dev.h. One of them has to be known for that need, by a CXL DVSEC that says
 * Cache_Capable, and one not.
 */
#include <limits.h>

#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"

/* Where viommu-dma has them */
#define ATS_CTRL	0x106
#define ATS_CTRL_ENABLE	_BITUL(15)
#define DVSEC_VENDOR	0x114
#define DVSEC_CXL_CAP	0x11a

/* A page of the host's RAM: nothing but reads go there */
#define HOST_RAM	0x48000000UL

static bool needs_ats(const struct edu_slot *slot)
{
	return pci_read(slot->bdf, DVSEC_VENDOR, 2) == 0x1e98 &&
	       pci_read(slot->bdf, DVSEC_CXL_CAP, 2) & 1;
}

static bool ats_is_on(const struct edu_slot *slot)
{
	return pci_read(slot->bdf, ATS_CTRL, 2) & ATS_CTRL_ENABLE;
}

/* The device that needs ATS, or the one that does not */
static const struct edu_slot *find(bool need)
{
	int i;

	for (i = 0; edu_own_group(i); i++)
		if (needs_ats(edu_own_group(i)) == need)
			return edu_own_group(i);
	return NULL;
}

static void group_type(const struct edu_slot *slot, char *buf, size_t size)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/type",
		 slot->bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n < 0 ? 0 : n] = 0;
	buf[strcspn(buf, "\n")] = 0;
}

FIXTURE(required)
{
	struct host host;
	const struct edu_slot *slot;
	struct edu edu;
};

FIXTURE_VARIANT(required)
{
	bool need;
};

FIXTURE_VARIANT_ADD(required, needs_it) { .need = true };
FIXTURE_VARIANT_ADD(required, needs_it_not) { .need = false };

FIXTURE_SETUP(required)
{
	const char *lack = lacks(edu_own_group(1), NULL);
	char type[32];

	if (lack)
		SKIP(return, "%s", lack);
	self->slot = find(variant->need);
	if (!self->slot)
		SKIP(return, "needs a viommu-dma with cxl-cache=on, and one without");
	group_type(self->slot, type, sizeof(type));
	if (strcmp(type, "identity"))
		SKIP(return, "needs iommu.passthrough=1");
	host_watch(&self->host, self->slot);
}

FIXTURE_TEARDOWN(required)
{
	if (self->slot)
		EXPECT_TRUE(host_is_fine(&self->host));
}

TEST_F(required, identity_domain_has_ats)
{
	struct edu *edu = &self->edu;
	__u64 addr = 0, val;

	EXPECT_EQ(variant->need, ats_is_on(self->slot));
	edu_open_host(edu, self->slot);
	EXPECT_EQ(DMA_OK, dma_read(edu, DMA_UNTRANSLATED, HOST_RAM, &val));
	if (variant->need) {
		EXPECT_EQ(DMA_OK, dma_request(edu, DMA_ATC, HOST_RAM, &addr));
		EXPECT_EQ(HOST_RAM, addr);
		EXPECT_EQ(DMA_OK, dma_read(edu, DMA_ATC, HOST_RAM, &val));
	} else {
		EXPECT_EQ(DMA_ATS_OFF, dma_request(edu, DMA_ATC, HOST_RAM, &addr));
	}
	edu_close(edu);
}

/* A VM takes the device and gives it back. The VM's own domain has ATS for both. */
TEST_F(required, it_is_off_only_while_nothing_gets_through)
{
	struct edu *edu = &self->edu;
	struct vm vm;
	__u32 plain;
	int round;

	for (round = 0; round < 3; round++) {
		vm_init(&vm);
		edu_open(edu, &vm, self->slot);
		EXPECT_FALSE(ats_is_on(self->slot)) TH_LOG("blocked");
		must(__hwpt_alloc(&vm, edu->dev_id, vm.ioas, 0,
				  IOMMU_HWPT_DATA_NONE, NULL, 0, &plain),
		     "HWPT_ALLOC");
		edu_attach(edu, plain);
		EXPECT_TRUE(ats_is_on(self->slot)) TH_LOG("stage 1");
		edu_attach(edu, s2_alloc(&vm, edu->dev_id));
		EXPECT_TRUE(ats_is_on(self->slot)) TH_LOG("stage 2");
		edu_detach(edu);
		EXPECT_FALSE(ats_is_on(self->slot)) TH_LOG("blocked again");
		edu_attach(edu, plain);
		dma_close(edu);
		vm_free(&vm);
		EXPECT_EQ(variant->need, ats_is_on(self->slot)) TH_LOG("identity");
	}
}

/* While the guest's vSTE aborts, ATS is off as for any device. */
TEST_F(required, abort_of_a_guest_has_none)
{
	struct edu *edu = &self->edu;
	__u32 viommu, abort;
	struct vm vm;

	vm_init(&vm);
	edu_open(edu, &vm, self->slot);
	vm.s2 = s2_alloc(&vm, edu->dev_id);
	must(__viommu_alloc(&vm, edu->dev_id, vm.s2,
			    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &viommu), "VIOMMU_ALLOC");
	abort = nested_alloc(&vm, edu->dev_id, viommu, vste_abort());
	edu_attach(edu, abort);
	EXPECT_FALSE(ats_is_on(self->slot));
	dma_close(edu);
	vm_free(&vm);
	EXPECT_EQ(variant->need, ats_is_on(self->slot));
}

TEST_HARNESS_MAIN
