/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of Tegra241 CMDQV start from: a device, a guest with a VINTF, one or
 * two guests whose queues run. They need QEMU with a model of the block and "edu"
 * devices, see smmuv3_lib.h for what those need.
 *
 * QEMU keeps every translation until a command removes it. So a test changes the
 * guest's tables first, sees that the device still goes by what was there before,
 * and only then lets the guest put the command into its queue.
 */
#ifndef SELFTEST_TEGRA241_CMDQV_FIXTURES_H
#define SELFTEST_TEGRA241_CMDQV_FIXTURES_H

#include <stdlib.h>

#include "../kselftest_harness.h"
#include "tegra241_cmdqv_test.h"

/* Fields of the block's PARAM, and of CMDQ_ALLOC */
#define VINTFS(param)	(1U << ((param) >> 8 & 0xf))
#define VCMDQS(param)	(1U << ((param) >> 4 & 0xf))
#define PAIRS(param)	(1U << ((param) >> 12 & 0xf))
#define ALLOC_VINTF(a)	((a) >> 15 & 0x3f)

/* ---- Without a VINTF ---- */

FIXTURE(device)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_SETUP(device)
{
	if (no_block)
		SKIP(return, "%s", no_block);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_device(&self->guest, &self->vm, edu_own_group(0));
}

FIXTURE_TEARDOWN(device)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

/* ---- A VINTF, and no queue in it ---- */

FIXTURE(vintf)
{
	struct host host;
	struct vm vm;
	struct owner o;
};

FIXTURE_SETUP(vintf)
{
	const char *lack = vintf_lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	owner_open(&self->o, &self->vm, edu_own_group(0));
}

FIXTURE_TEARDOWN(vintf)
{
	if (self->vm.ram && self->o.vintf.page)
		vintf_unmap(&self->o.vintf);
	EXPECT_TRUE(down(&self->host, &self->vm, &self->o.guest));
}

/* ---- One guest's queue ---- */

FIXTURE(one_guest)
{
	struct host host;
	struct vm vm;
	struct owner o;
};

FIXTURE_SETUP(one_guest)
{
	const char *lack = vintf_lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	owner_open(&self->o, &self->vm, edu_own_group(0));
	owner_start(&self->o, VSID20);
}

FIXTURE_TEARDOWN(one_guest)
{
	if (!self->vm.ram)
		return;
	EXPECT_TRUE(no_error(&self->o));
	owner_stop(&self->o);
	iommu_destroy(&self->vm, self->vm.s2);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

/* ---- The other way: by the VMM ---- */

/* The SMMU has no entry of this guest any more. */
static void forget(struct guest *guest)
{
	guest_cmd(guest, cmd_tlbi_nh_all());
}

/* ---- StreamIDs ---- */

/* "SID=COUNT" of the model: how many ATC_INVs this device has got */
static unsigned int atc_invs_of(__u32 sid)
{
	char list[4096], *entry, *save, *count;

	if (!model_get("atc-inv-sids", list, sizeof(list)))
		return ~0U;
	for (entry = strtok_r(list, ",", &save); entry;
	     entry = strtok_r(NULL, ",", &save))
		if (strtoul(entry, &count, 16) == sid && *count == '=')
			return atoi(count + 1);
	return 0;
}

/* ---- A TLBI of each kind ---- */

/* Two guests on one nest parent or in VMs of their own: same ASID, vSID and VA */
FIXTURE(two_guests)
{
	struct host host;
	struct vm vm[2];
	struct owner o[2];
};

FIXTURE_VARIANT(two_guests)
{
	int vms;
};

FIXTURE_VARIANT_ADD(two_guests, of_one_vm) { .vms = 1 };
FIXTURE_VARIANT_ADD(two_guests, of_two_vms) { .vms = 2 };

FIXTURE_SETUP(two_guests)
{
	const char *lack = vintf_lacks(edu_own_group(1), LACKS_SECOND);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	for (i = 0; i < variant->vms; i++)
		vm_init(&self->vm[i]);
	for (i = 0; i < 2; i++) {
		owner_open(&self->o[i], &self->vm[i % variant->vms],
			   edu_own_group(i));
		owner_start(&self->o[i], VSID20);
	}
}

FIXTURE_TEARDOWN(two_guests)
{
	int i;

	if (!self->vm[0].ram)
		return;
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(no_error(&self->o[i]));
		owner_stop(&self->o[i]);
	}
	for (i = 0; i < variant->vms; i++) {
		iommu_destroy(&self->vm[i], self->vm[i].s2);
		vm_free(&self->vm[i]);
	}
	EXPECT_TRUE(host_is_fine(&self->host));
}

/* ---- What an owner leaves ---- */

static bool slot_is_clean(struct vintf *v, unsigned int index)
{
	static const enum vcmdq_reg regs[] = {
		VCMDQ_PROD, VCMDQ_CONS, VCMDQ_CONFIG, VCMDQ_STATUS,
		VCMDQ_GERROR, VCMDQ_GERRORN,
	};
	bool clean = true;
	unsigned int i;
	__u32 val;

	for (i = 0; i < sizeof(regs) / sizeof(*regs); i++) {
		val = vintf_get(v, index, regs[i]);
		if (!val)
			continue;
		fprintf(stderr, "# queue %u, register %#x: %#x\n", index,
			regs[i], val);
		clean = false;
	}
	return clean;
}

/* ---- VINTFs and queues run out ---- */

/* The host has everything back: no VINTF is on, no queue and no pair is set. */
static bool block_is_clean(const __le32 *block)
{
	__u32 param = block_get(block, BLOCK_PARAM), val;
	unsigned int v, s, q;
	bool clean = true;

	for (v = 1; v < VINTFS(param); v++) {
		val = block_get(block, BLOCK_VINTF(v)) & BLOCK_EN;
		val |= block_get(block, BLOCK_VINTF_STATUS(v)) & BLOCK_EN;
		for (s = 0; s < PAIRS(param); s++)
			val |= block_get(block, BLOCK_SID_MATCH(v, s)) |
			       block_get(block, BLOCK_SID_REPLACE(v, s));
		if (val)
			fprintf(stderr, "# VINTF %u is on or has a pair\n", v);
		clean &= !val;
	}
	for (q = 0; q < VCMDQS(param); q++) {
		val = block_get(block, BLOCK_ALLOC(q));
		if (!(val & BLOCK_EN) || !ALLOC_VINTF(val))
			continue;
		fprintf(stderr, "# queue %u: CMDQ_ALLOC %#x\n", q, val);
		clean = false;
	}
	return clean;
}

#define EXPECT_CLEAN_BLOCK()                                  \
	do {                                                  \
		const __le32 *__block = block_map();          \
							      \
		if (__block)                                  \
			EXPECT_TRUE(block_is_clean(__block)); \
	} while (0)

#endif
