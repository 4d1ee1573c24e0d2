/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small VMM for tests of nested translation on an SMMUv3.
 *
 *   struct vm    what the VMM owns: an iommufd, the guest's memory, stage 2
 *   struct edu   a PCI device that does DMA where it is told to (QEMU's "edu")
 *   struct s1    what a guest writes into its memory: a CD and stage 1 tables
 *
 * A function succeeds, or ends the program and says why. Where the error is
 * what a test wants to see, the same function with two underscores in front
 * returns 0 or an errno.
 *
 * "gpa" is a guest physical address: what the SMMUv3 specification (IHI0070)
 * calls an IPA, and iommufd an IOVA of the nest parent.
 */
#ifndef SELFTEST_SMMUV3_LIB_H
#define SELFTEST_SMMUV3_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/const.h>
#include <linux/iommufd.h>
#include <linux/types.h>

#define GUEST_PAGE	4096UL
#define HUGE_PAGE	(2UL << 20)
#define GUEST_RAM	0x40000000UL	/* gpa of the first byte */
#define GUEST_RAM_SIZE	0x400000UL

#define NOWHERE		(~0UL)		/* no gpa: the DMA did not arrive */

/* Ends the program with a message. */
#define die(fmt, ...)                                         \
	do {                                                  \
		fflush(stdout);                               \
		fprintf(stderr, "# " fmt "\n", ##__VA_ARGS__); \
		exit(1);                                      \
	} while (0)
/* Ends the program with a message unless @rc, an errno, is 0. */
void must(int rc, const char *what);

__u64 now_ms(void);
int write_line(const char *path, const char *line);

/* ---- VM ---- */

struct vm {
	int iommufd;
	__u32 ioas;
	__u32 s2;		/* the nest parent, or the first of several */
	void *ram;
	__u64 free;		/* next gpa that vm_alloc() gives */
};

/* Opens an iommufd and maps GUEST_RAM_SIZE of memory at GUEST_RAM. */
void vm_init(struct vm *vm);
/* Closes the iommufd, and with it every object in it. */
void vm_free(struct vm *vm);
/* Zeroed pages of guest memory that nobody else has. */
__u64 vm_alloc(struct vm *vm, unsigned int pages);
/* Where the VMM sees this gpa. */
void *vm_ptr(struct vm *vm, __u64 gpa);

/* Memory of the VMM for vm_map(). It stays until the process ends. */
void *dimm_alloc(unsigned int pages);
/* HUGE_PAGE bytes, as one page where the kernel has one */
void *huge_page_alloc(void);
/* Maps VMM memory at this gpa, for guest memory that comes and goes. */
void vm_map(struct vm *vm, __u64 gpa, void *mem, __u64 len);
int __vm_unmap(struct vm *vm, __u64 gpa, __u64 len);
void vm_unmap(struct vm *vm, __u64 gpa, __u64 len);

/* ---- iommufd's objects ---- */

int __iommu_destroy(struct vm *vm, __u32 id);
void iommu_destroy(struct vm *vm, __u32 id);

int __hwpt_alloc(struct vm *vm, __u32 dev_id, __u32 pt_id, __u32 flags,
		 __u32 data_type, const void *data, __u32 data_len,
		 __u32 *hwpt_id);
/* A nest parent, for the SMMU of this device */
__u32 parent_alloc(struct vm *vm, __u32 dev_id, __u32 ioas);
/* The one of the VM's memory: vm->s2. */
__u32 s2_alloc(struct vm *vm, __u32 dev_id);
/* A nested hwpt: what the guest wrote into this device's STE. */
int __nested_alloc(struct vm *vm, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 vste, __u32 *hwpt_id);
__u32 nested_alloc(struct vm *vm, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 vste);

int __viommu_alloc(struct vm *vm, __u32 dev_id, __u32 hwpt_id, __u32 type,
		   __u32 *viommu_id);
/* A vSMMU, of the device's SMMU, on this nest parent. */
__u32 viommu_alloc_on(struct vm *vm, __u32 dev_id, __u32 parent);
/* A vSMMU on vm->s2. */
__u32 viommu_alloc(struct vm *vm, __u32 dev_id);

int __vdevice_alloc(struct vm *vm, __u32 viommu_id, __u32 dev_id, __u64 vsid,
		    __u32 *vdevice_id);
__u32 vdevice_alloc(struct vm *vm, __u32 viommu_id, __u32 dev_id, __u64 vsid);

/*
 * What a VMM does with the commands that it takes from the guest's queue: run
 * @num of them. On return @num is how many the kernel says that it executed.
 */
int __viommu_invalidate(struct vm *vm, __u32 viommu_id,
			const struct iommu_viommu_arm_smmuv3_invalidate *cmds,
			__u32 *num);
/* One command, executed or not. */
int __viommu_cmd(struct vm *vm, __u32 viommu_id,
		 struct iommu_viommu_arm_smmuv3_invalidate cmd);
void viommu_cmd(struct vm *vm, __u32 viommu_id,
		struct iommu_viommu_arm_smmuv3_invalidate cmd);

int __hw_info(struct vm *vm, __u32 dev_id, __u32 flags, __u32 *type,
	      void *data, __u32 *data_len, __u64 *caps);

/* ---- PCI device ---- */

/* Reads config space; all ones where there is none. */
__u32 pci_read(const char *bdf, unsigned int off, unsigned int len);
/* The address of the bridge above, or false for a device on a root bus. */
bool pci_bridge_of(const char *bdf, char *bridge, size_t size);
/* Binds the device to vfio-pci. */
bool vfio_bind(const char *bdf);
/* Takes it from there; it has no driver then. */
void vfio_unbind(const char *bdf);
/* Opens the device's file in /dev/vfio/devices, or returns a negative errno. */
int vfio_cdev_open(const char *bdf);

/* ---- DMA device ---- */

struct edu_slot {
	char bdf[16];
	int group;
	unsigned int members;	/* in its group, bridges included */
	unsigned int edus;	/* in its group */
	bool alias;		/* behind a PCI bridge: two StreamIDs */
	__u64 smmu;		/* where the registers of its SMMU are */
	unsigned int bar;	/* with its own registers */
	bool msix;		/* it has no MSI */
};

/*
 * The edu devices behind an SMMUv3, in the order of their addresses, each
 * bound to vfio-pci. Returns how many there are, or 0 and why not one can be
 * used.
 */
int edu_find(struct edu_slot *slots, int max, const char **why);
/* The same for devices with this ID, as config space has it. @none: no such one */
int slot_find(__u32 id, const char *none, struct edu_slot *slots, int max,
	      const char **why);

struct edu {
	const struct edu_slot *slot;
	struct vm *vm;
	int fd;
	__u32 dev_id;
	void *regs;
	size_t regs_size;
	__u64 config;		/* config space's offset in fd */
	int irq;		/* eventfd of its MSI */
	unsigned int load;	/* which edu_load_tokens() it was */
	unsigned int tokens;	/* how many edu_lands() has spent since */
};

/* Opens the device and binds it to the VM's iommufd. */
int __edu_open(struct edu *edu, struct vm *vm, const struct edu_slot *slot);
void edu_open(struct edu *edu, struct vm *vm, const struct edu_slot *slot);
void edu_close(struct edu *edu);
/*
 * Lets the device decode memory and do DMA. If it was reset behind VFIO's back, VFIO
 * restores its BARs.
 */
void edu_set_master(struct edu *edu);

/* Takes it as it is without a VM: the host's. For DMA only. */
void edu_open_host(struct edu *edu, const struct edu_slot *slot);

/* Attach or replace. */
int __edu_attach(struct edu *edu, __u32 pt_id);
void edu_attach(struct edu *edu, __u32 pt_id);
void edu_detach(struct edu *edu);

/* Registers of 64 bits, and barriers between them and memory */
__u64 edu_get(struct edu *edu, unsigned int reg);
void edu_set(struct edu *edu, unsigned int reg, __u64 val);
void edu_wmb(void);
void edu_rmb(void);

/*
 * The device has 4 KiB of memory. Copy @len bytes from @iova to offset @off
 * there, or the other way round. A DMA that the SMMU terminates is no error
 * here: nobody is told but the SMMU's event queue. A DMA takes 100 ms.
 */
void edu_read(struct edu *edu, __u64 iova, unsigned int off, unsigned int len);
void edu_write(struct edu *edu, __u64 iova, unsigned int off, unsigned int len);

/* In two steps: edu_start() does not wait. */
void edu_start(struct edu *edu, __u64 iova, unsigned int off, unsigned int len,
	       bool to_memory);
bool edu_busy(struct edu *edu);
void edu_wait(struct edu *edu);

/*
 * Fills the device's memory with the tokens that edu_lands() writes. The
 * device has to be attached to stage 2 alone meanwhile.
 */
void edu_load_tokens(struct edu *edu);

/*
 * Has the device write four bytes to @iova that nobody has written before, and
 * looks for them in the guest's memory. Returns the gpa of their page, or
 * NOWHERE.
 */
__u64 edu_lands(struct edu *edu, __u64 iova);
/* The same where the memory in question isn't part of the guest's RAM. */
bool edu_reaches(struct edu *edu, __u64 iova, const void *page);

/* The device's MSI: vfio-pci counts it in an eventfd. */
int __edu_irq_enable(struct edu *edu);
void edu_irq_enable(struct edu *edu);
void edu_irq_disable(struct edu *edu);
/* Has the device send one, waits until it arrives, and returns how many did. */
unsigned int edu_interrupts(struct edu *edu);

/* The same with a limit in ms, for a test that expects none. */
unsigned int edu_interrupts_within(struct edu *edu, int ms);

/* ---- Guest's stage 1 ---- */

struct s1 {
	struct vm *vm;
	__u16 asid;
	__u64 cd;		/* gpa of the context descriptor */
	__u64 ttb;		/* gpa of the top level table */
};

/* A CD and an empty table of 4 KiB granule and 48 bits. */
void s1_init(struct s1 *s1, struct vm *vm, __u16 asid);
/* Writes the CD again, with the ASID and the table that s1 has now. */
void s1_write_cd(struct s1 *s1);
/* All three change memory only: the TLB is the guest's to invalidate. */
void s1_map(struct s1 *s1, __u64 va, __u64 gpa);
void s1_unmap(struct s1 *s1, __u64 va);
/* Flips bits of what s1_map() writes, IHI0070 says which. */
void s1_map_flip(struct s1 *s1, __u64 va, __u64 gpa, __u64 flip);
/* The entry of @va at a level, 3 is the last; makes the tables above it. */
__le64 *s1_entry(struct s1 *s1, __u64 va, int level);

/* VMSAv8-64 descriptors */
#define PTE_VALID		_BITULL(0)
#define PTE_TABLE		_BITULL(1)	/* at level 3: page */
#define PTE_ATTR(index)		((__u64)(index) << 2)
#define PTE_AP_UNPRIV		_BITULL(6)
#define PTE_AP_RDONLY		_BITULL(7)
#define PTE_SH_ISH		(3ULL << 8)
#define PTE_AF			_BITULL(10)
#define PTE_NG			_BITULL(11)
#define PTE_DBM			_BITULL(51)	/* AP_RDONLY says that it is clean */
#define PTE_ADDR		0x0000fffffffff000ULL

/* IHI0070 section 5.4: bits of a CD's first word that a guest can get wrong */
#define CD_0_V			_BITULL(31)
#define CD_0_HD			_BITULL(42)
#define CD_0_HA			_BITULL(43)
#define CD_0_S			_BITULL(44)
#define CD_0_R			_BITULL(45)

/* IHI0070 section 5.2: the first two words of an STE. */
#define VSTE_0_V		_BITULL(0)
#define VSTE_0_CFG		(7ULL << 1)
#define VSTE_0_CFG_ABORT	(0ULL << 1)
#define VSTE_0_CFG_BYPASS	(4ULL << 1)
#define VSTE_0_CFG_S1		(5ULL << 1)
#define VSTE_0_S1FMT		(3ULL << 4)
#define VSTE_0_S1CONTEXTPTR	0x000fffffffffffc0ULL
#define VSTE_0_S1CDMAX		(0x1fULL << 59)
#define VSTE_1_S1DSS		(3ULL << 0)
#define VSTE_1_S1CIR_WBRA	_BITULL(2)
#define VSTE_1_S1CIR		(3ULL << 2)
#define VSTE_1_S1COR_WBRA	_BITULL(4)
#define VSTE_1_S1COR		(3ULL << 4)
#define VSTE_1_S1CSH_ISH	(3ULL << 6)
#define VSTE_1_S1CSH		(3ULL << 6)
#define VSTE_1_S1STALLD		_BITULL(27)
#define VSTE_1_EATS		(3ULL << 28)

struct iommu_hwpt_arm_smmuv3 vste_s1(const struct s1 *s1);
struct iommu_hwpt_arm_smmuv3 vste_bypass(void);
struct iommu_hwpt_arm_smmuv3 vste_abort(void);
struct iommu_hwpt_arm_smmuv3 vste_invalid(void);

/* IHI0070 section 4: the commands that a guest issues. */
#define CMD_CFGI_CD		0x05
#define CMD_CFGI_CD_ALL		0x06
#define CMD_TLBI_NH_ALL		0x10
#define CMD_TLBI_NH_ASID	0x11
#define CMD_TLBI_NH_VA		0x12
#define CMD_TLBI_NH_VAA		0x13
#define CMD_TLBI_NSNH_ALL	0x30
#define CMD_ATC_INV		0x40
#define CMD_SYNC		0x46

#define CMD_1_LEAF		_BITULL(0)
#define CMD_1_TTL(x)		((__u64)(x) << 8)
#define CMD_1_TG(x)		((__u64)(x) << 10)
#define CMD_0_NUM(x)		((__u64)(x) << 12)
#define CMD_0_SCALE(x)		((__u64)(x) << 20)

struct iommu_viommu_arm_smmuv3_invalidate cmd_raw(__u64 dw0, __u64 dw1);
struct iommu_viommu_arm_smmuv3_invalidate cmd_cfgi_cd(__u32 vsid);
struct iommu_viommu_arm_smmuv3_invalidate cmd_cfgi_cd_all(__u32 vsid);
struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_all(void);
struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_asid(__u16 asid);
struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_va(__u16 asid, __u64 va);
struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_vaa(__u64 va);
struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nsnh_all(void);
/* @pages 4 KiB pages from @va on, at most 32; the SMMU must have RIL. */
struct iommu_viommu_arm_smmuv3_invalidate
cmd_tlbi_nh_va_range(__u16 asid, __u64 va, unsigned int pages);

#endif
