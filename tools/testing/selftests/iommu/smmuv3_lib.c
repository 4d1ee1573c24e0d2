// SPDX-License-Identifier: GPL-2.0-only
/* iommufd, VFIO and the edu device for smmuv3_lib.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "smmuv3_lib.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define VFIO_PCI	"/sys/bus/pci/drivers/vfio-pci"

static int xioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? errno : 0;
}

void must(int rc, const char *what)
{
	if (rc)
		die("%s: %s", what, strerror(rc));
}

/* ---- VM ---- */

static void *anonymous(size_t size, int flags)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | flags, -1, 0);

	if (mem == MAP_FAILED)
		die("guest memory: %s", strerror(errno));
	return mem;
}

void *dimm_alloc(unsigned int pages)
{
	return anonymous(pages * GUEST_PAGE, MAP_SHARED);
}

void *huge_page_alloc(void)
{
	/* Two of them hold one that is aligned. */
	unsigned long mem = (unsigned long)anonymous(2 * HUGE_PAGE, MAP_PRIVATE);
	void *page = (void *)((mem + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));

	madvise(page, HUGE_PAGE, MADV_HUGEPAGE);
	return page;
}

void vm_map(struct vm *vm, __u64 gpa, void *mem, __u64 len)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = vm->ioas,
		.user_va = (uintptr_t)mem,
		.length = len,
		.iova = gpa,
	};

	must(xioctl(vm->iommufd, IOMMU_IOAS_MAP, &map), "IOAS_MAP");
}

int __vm_unmap(struct vm *vm, __u64 gpa, __u64 len)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = vm->ioas,
		.iova = gpa,
		.length = len,
	};

	return xioctl(vm->iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

void vm_unmap(struct vm *vm, __u64 gpa, __u64 len)
{
	must(__vm_unmap(vm, gpa, len), "IOAS_UNMAP");
}

void vm_init(struct vm *vm)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	memset(vm, 0, sizeof(*vm));
	vm->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (vm->iommufd < 0)
		die("/dev/iommu: %s", strerror(errno));
	must(xioctl(vm->iommufd, IOMMU_IOAS_ALLOC, &alloc), "IOAS_ALLOC");
	vm->ioas = alloc.out_ioas_id;

	vm->ram = anonymous(GUEST_RAM_SIZE, MAP_SHARED);
	vm_map(vm, GUEST_RAM, vm->ram, GUEST_RAM_SIZE);
	vm->free = GUEST_RAM;
}

void vm_free(struct vm *vm)
{
	close(vm->iommufd);
	munmap(vm->ram, GUEST_RAM_SIZE);
}

__u64 vm_alloc(struct vm *vm, unsigned int pages)
{
	__u64 gpa = vm->free;

	vm->free += pages * GUEST_PAGE;
	if (vm->free > GUEST_RAM + GUEST_RAM_SIZE)
		die("guest out of memory");
	return gpa;
}

void *vm_ptr(struct vm *vm, __u64 gpa)
{
	if (gpa < GUEST_RAM || gpa >= GUEST_RAM + GUEST_RAM_SIZE)
		die("no guest memory at %#llx", gpa);
	return vm->ram + (gpa - GUEST_RAM);
}

/* ---- iommufd's objects ---- */

int __iommu_destroy(struct vm *vm, __u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	return xioctl(vm->iommufd, IOMMU_DESTROY, &cmd);
}

void iommu_destroy(struct vm *vm, __u32 id)
{
	must(__iommu_destroy(vm, id), "DESTROY");
}

int __hwpt_alloc(struct vm *vm, __u32 dev_id, __u32 pt_id, __u32 flags,
		 __u32 data_type, const void *data, __u32 data_len,
		 __u32 *hwpt_id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = dev_id,
		.pt_id = pt_id,
		.data_type = data_type,
		.data_len = data_len,
		.data_uptr = (uintptr_t)data,
	};
	int rc = xioctl(vm->iommufd, IOMMU_HWPT_ALLOC, &cmd);

	if (!rc)
		*hwpt_id = cmd.out_hwpt_id;
	return rc;
}

__u32 parent_alloc(struct vm *vm, __u32 dev_id, __u32 ioas)
{
	__u32 hwpt_id;

	must(__hwpt_alloc(vm, dev_id, ioas, IOMMU_HWPT_ALLOC_NEST_PARENT,
			  IOMMU_HWPT_DATA_NONE, NULL, 0, &hwpt_id),
	     "HWPT_ALLOC of a nest parent");
	return hwpt_id;
}

__u32 s2_alloc(struct vm *vm, __u32 dev_id)
{
	vm->s2 = parent_alloc(vm, dev_id, vm->ioas);
	return vm->s2;
}

int __nested_alloc(struct vm *vm, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 vste, __u32 *hwpt_id)
{
	return __hwpt_alloc(vm, dev_id, viommu_id, 0,
			    IOMMU_HWPT_DATA_ARM_SMMUV3, &vste, sizeof(vste),
			    hwpt_id);
}

__u32 nested_alloc(struct vm *vm, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 vste)
{
	__u32 hwpt_id;

	must(__nested_alloc(vm, dev_id, viommu_id, vste, &hwpt_id),
	     "HWPT_ALLOC of a nested domain");
	return hwpt_id;
}

int __viommu_alloc(struct vm *vm, __u32 dev_id, __u32 hwpt_id, __u32 type,
		   __u32 *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = type,
		.dev_id = dev_id,
		.hwpt_id = hwpt_id,
	};
	int rc = xioctl(vm->iommufd, IOMMU_VIOMMU_ALLOC, &cmd);

	if (!rc)
		*viommu_id = cmd.out_viommu_id;
	return rc;
}

__u32 viommu_alloc_on(struct vm *vm, __u32 dev_id, __u32 parent)
{
	__u32 viommu_id;

	must(__viommu_alloc(vm, dev_id, parent, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
			    &viommu_id), "VIOMMU_ALLOC");
	return viommu_id;
}

__u32 viommu_alloc(struct vm *vm, __u32 dev_id)
{
	return viommu_alloc_on(vm, dev_id, vm->s2);
}

int __vdevice_alloc(struct vm *vm, __u32 viommu_id, __u32 dev_id, __u64 vsid,
		    __u32 *vdevice_id)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.dev_id = dev_id,
		.virt_id = vsid,
	};
	int rc = xioctl(vm->iommufd, IOMMU_VDEVICE_ALLOC, &cmd);

	if (!rc)
		*vdevice_id = cmd.out_vdevice_id;
	return rc;
}

__u32 vdevice_alloc(struct vm *vm, __u32 viommu_id, __u32 dev_id, __u64 vsid)
{
	__u32 vdevice_id;

	must(__vdevice_alloc(vm, viommu_id, dev_id, vsid, &vdevice_id),
	     "VDEVICE_ALLOC");
	return vdevice_id;
}

int __viommu_invalidate(struct vm *vm, __u32 viommu_id,
			const struct iommu_viommu_arm_smmuv3_invalidate *cmds,
			__u32 *num)
{
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = viommu_id,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.data_uptr = (uintptr_t)cmds,
		.entry_len = sizeof(*cmds),
		.entry_num = *num,
	};
	int rc = xioctl(vm->iommufd, IOMMU_HWPT_INVALIDATE, &cmd);

	*num = cmd.entry_num;
	return rc;
}

int __viommu_cmd(struct vm *vm, __u32 viommu_id,
		 struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	__u32 num = 1;
	int rc = __viommu_invalidate(vm, viommu_id, &cmd, &num);

	if (num != !rc)
		die("HWPT_INVALIDATE of one command says %d and counts %u",
		    rc, num);
	return rc;
}

void viommu_cmd(struct vm *vm, __u32 viommu_id,
		struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	must(__viommu_cmd(vm, viommu_id, cmd), "HWPT_INVALIDATE");
}

int __hw_info(struct vm *vm, __u32 dev_id, __u32 flags, __u32 *type,
	      void *data, __u32 *data_len, __u64 *caps)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = dev_id,
		.data_len = *data_len,
		.data_uptr = (uintptr_t)data,
		.out_data_type = *type,
	};
	int rc = xioctl(vm->iommufd, IOMMU_GET_HW_INFO, &cmd);

	if (rc)
		return rc;
	*type = cmd.out_data_type;
	*data_len = cmd.data_len;
	*caps = cmd.out_capabilities;
	return 0;
}

/* ---- DMA device ---- */

/* QEMU's docs/specs/edu.rst */
#define EDU_ID		0x11e81234	/* as config space has it */
#define EDU_IRQ_RAISE	0x60
#define EDU_IRQ_ACK	0x64
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_DMA_RUN	_BITUL(0)
#define EDU_DMA_TO_RAM	_BITUL(1)
#define EDU_MEM		0x40000
#define EDU_MEM_SIZE	4096
#define EDU_BAR_SIZE	0x100000

int write_line(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY);
	int rc = 0;

	if (fd < 0)
		return errno;
	if (write(fd, line, strlen(line)) < 0)
		rc = errno;
	close(fd);
	return rc;
}

/* The last component of what a link in a device's directory points to. */
static int link_name(const char *bdf, const char *name, char *buf, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", bdf, name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return errno;
	target[n] = 0;
	snprintf(buf, size, "%s", strrchr(target, '/') + 1);
	return 0;
}

__u32 pci_read(const char *bdf, unsigned int off, unsigned int len)
{
	char path[PATH_MAX];
	__le32 val = 0;
	int fd;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/config", bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return ~0U;
	if (pread(fd, &val, len, off) != (ssize_t)len)
		val = ~0U;
	close(fd);
	return le32toh(val);
}

bool pci_bridge_of(const char *bdf, char *bridge, size_t size)
{
	char path[PATH_MAX], *parent;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/..", bdf);
	parent = realpath(path, NULL);
	if (!parent)
		die("%s: %s", path, strerror(errno));
	snprintf(bridge, size, "%s", strrchr(parent, '/') + 1);
	free(parent);
	/* A root bus is "pci0000:00" */
	return strncmp(bridge, "pci", 3);
}

/* Behind a bridge from PCI Express to PCI, which makes requests of its own. */
static bool pci_aliased(const char *bdf)
{
	char bridge[NAME_MAX];
	unsigned int pos;

	if (!pci_bridge_of(bdf, bridge, sizeof(bridge)))
		return false;

	pos = pci_read(bridge, PCI_CAPABILITY_LIST, 1);
	while (pos >= 0x40 && pos < 0x100) {
		if (pci_read(bridge, pos, 1) == PCI_CAP_ID_EXP)
			return (pci_read(bridge, pos + PCI_EXP_FLAGS, 2) &
				PCI_EXP_FLAGS_TYPE) >> 4 ==
				PCI_EXP_TYPE_PCI_BRIDGE;
		pos = pci_read(bridge, pos + PCI_CAP_LIST_NEXT, 1);
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct edu_slot *)a)->bdf,
		      ((const struct edu_slot *)b)->bdf);
}

static void slot_describe(struct edu_slot *slot, __u32 id)
{
	char path[PATH_MAX], group[16];
	struct dirent *entry;
	DIR *dir;

	if (link_name(slot->bdf, "iommu_group", group, sizeof(group)))
		die("%s: no IOMMU group", slot->bdf);
	slot->group = atoi(group);
	slot->members = 0;
	slot->edus = 0;
	slot->alias = pci_aliased(slot->bdf);

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/iommu_group/devices",
		 slot->bdf);
	dir = opendir(path);
	if (!dir)
		die("%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		slot->members++;
		if (pci_read(entry->d_name, PCI_VENDOR_ID, 4) == id)
			slot->edus++;
	}
	closedir(dir);
}

bool vfio_bind(const char *bdf)
{
	char path[PATH_MAX], driver[NAME_MAX];

	if (!link_name(bdf, "driver", driver, sizeof(driver))) {
		if (!strcmp(driver, "vfio-pci"))
			return true;
		snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver/unbind",
			 bdf);
		write_line(path, bdf);
	}
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver_override", bdf);
	write_line(path, "vfio-pci");
	write_line("/sys/bus/pci/drivers_probe", bdf);
	return !link_name(bdf, "driver", driver, sizeof(driver)) &&
	       !strcmp(driver, "vfio-pci");
}

void vfio_unbind(const char *bdf)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver/unbind", bdf);
	write_line(path, bdf);
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver_override", bdf);
	write_line(path, "\n");
}

int slot_find(__u32 id, const char *none, struct edu_slot *slots, int max,
	      const char **why)
{
	char iommu[NAME_MAX];
	int i, n = 0, all = 0;
	struct dirent *entry;
	DIR *dir;

	*why = "no /dev/iommu (CONFIG_IOMMUFD)";
	if (access("/dev/iommu", R_OK | W_OK))
		return 0;
	*why = "no vfio-pci (CONFIG_VFIO_PCI)";
	if (access(VFIO_PCI, F_OK))
		return 0;
	*why = none;
	dir = opendir(PCI_DEVICES);
	if (!dir)
		return 0;
	while (all < max && (entry = readdir(dir))) {
		if (strlen(entry->d_name) < sizeof(slots->bdf) &&
		    pci_read(entry->d_name, PCI_VENDOR_ID, 4) == id)
			memcpy(slots[all++].bdf, entry->d_name,
			       strlen(entry->d_name) + 1);
	}
	closedir(dir);
	qsort(slots, all, sizeof(*slots), by_name);

	/* A device may get its IOMMU, and its group, with its driver only. */
	for (i = 0; i < all; i++) {
		if (!vfio_bind(slots[i].bdf)) {
			*why = "a device that vfio-pci does not take";
			continue;
		}
		if (link_name(slots[i].bdf, "iommu", iommu, sizeof(iommu)) ||
		    strncmp(iommu, "smmu3.", 6))
			continue;
		slots[n] = slots[i];
		slots[n++].smmu = strtoull(iommu + 6, NULL, 0);
	}
	for (i = 0; i < n; i++)
		slot_describe(&slots[i], id);
	return n;
}

int edu_find(struct edu_slot *slots, int max, const char **why)
{
	return slot_find(EDU_ID, "no edu device (PCI 1234:11e8) behind an SMMUv3",
			 slots, max, why);
}

int vfio_cdev_open(const char *bdf)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int fd = -ENOENT;
	DIR *dir;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/vfio-dev", bdf);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
			 entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
		break;
	}
	if (dir)
		closedir(dir);
	return fd;
}

static struct vfio_region_info vfio_region(struct edu *edu, __u32 index)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	must(xioctl(edu->fd, VFIO_DEVICE_GET_REGION_INFO, &info),
	     "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

void edu_set_master(struct edu *edu)
{
	__u64 pos = edu->config + PCI_COMMAND;
	__le16 cmd;

	if (pread(edu->fd, &cmd, sizeof(cmd), pos) != sizeof(cmd))
		die("%s: cannot read PCI_COMMAND", edu->slot->bdf);
	cmd |= htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	if (pwrite(edu->fd, &cmd, sizeof(cmd), pos) != sizeof(cmd))
		die("%s: cannot write PCI_COMMAND", edu->slot->bdf);
}

int __edu_open(struct edu *edu, struct vm *vm, const struct edu_slot *slot)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = vm->iommufd,
	};
	struct vfio_region_info bar;
	int rc;

	memset(edu, 0, sizeof(*edu));
	edu->slot = slot;
	edu->vm = vm;
	edu->fd = vfio_cdev_open(slot->bdf);
	if (edu->fd < 0)
		return -edu->fd;
	rc = xioctl(edu->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (rc) {
		close(edu->fd);
		return rc;
	}
	edu->dev_id = bind.out_devid;

	edu->config = vfio_region(edu, VFIO_PCI_CONFIG_REGION_INDEX).offset;
	edu_set_master(edu);
	bar = vfio_region(edu, VFIO_PCI_BAR0_REGION_INDEX + slot->bar);
	edu->regs_size = bar.size;
	edu->regs = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 edu->fd, bar.offset);
	if (edu->regs == MAP_FAILED)
		die("%s: BAR%u: %s", slot->bdf, slot->bar, strerror(errno));
	return 0;
}

void edu_open(struct edu *edu, struct vm *vm, const struct edu_slot *slot)
{
	int rc = __edu_open(edu, vm, slot);

	if (rc)
		die("%s: cannot open and bind: %s", slot->bdf, strerror(rc));
}

void edu_close(struct edu *edu)
{
	munmap(edu->regs, edu->regs_size);
	close(edu->fd);
	edu->fd = -1;
}

void edu_open_host(struct edu *edu, const struct edu_slot *slot)
{
	char path[PATH_MAX];
	struct stat stat;
	int fd;

	memset(edu, 0, sizeof(*edu));
	edu->slot = slot;
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/config", slot->bdf);
	edu->fd = open(path, O_RDWR | O_CLOEXEC);
	if (edu->fd < 0)
		die("%s: %s", path, strerror(errno));
	edu_set_master(edu);

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/resource0", slot->bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	if (fstat(fd, &stat))
		die("%s: %s", path, strerror(errno));
	edu->regs_size = stat.st_size;
	edu->regs = mmap(NULL, edu->regs_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, fd, 0);
	if (edu->regs == MAP_FAILED)
		die("%s: BAR0: %s", slot->bdf, strerror(errno));
	close(fd);
}

int __edu_attach(struct edu *edu, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = pt_id,
	};

	return xioctl(edu->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

void edu_attach(struct edu *edu, __u32 pt_id)
{
	must(__edu_attach(edu, pt_id), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
}

void edu_detach(struct edu *edu)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
	};

	must(xioctl(edu->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach),
	     "VFIO_DEVICE_DETACH_IOMMUFD_PT");
}

/* One access of 64 bits each, which the compiler neither splits nor drops */
__u64 edu_get(struct edu *edu, unsigned int reg)
{
	return le64toh(__atomic_load_n((__le64 *)(edu->regs + reg),
				       __ATOMIC_RELAXED));
}

void edu_set(struct edu *edu, unsigned int reg, __u64 val)
{
	__atomic_store_n((__le64 *)(edu->regs + reg), htole64(val),
			 __ATOMIC_RELAXED);
}

static void edu_set32(struct edu *edu, unsigned int reg, __u32 val)
{
	__atomic_store_n((__le32 *)(edu->regs + reg), htole32(val),
			 __ATOMIC_RELAXED);
}

/* The device must see what was written to memory before it is started. */
void edu_wmb(void)
{
#ifdef __aarch64__
	asm volatile("dsb st" : : : "memory");
#else
	__sync_synchronize();
#endif
}

void edu_rmb(void)
{
#ifdef __aarch64__
	asm volatile("dsb ld" : : : "memory");
#else
	__sync_synchronize();
#endif
}

__u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

void edu_start(struct edu *edu, __u64 iova, unsigned int off, unsigned int len,
	       bool to_memory)
{
	__u64 mem = EDU_MEM + off;

	edu_set(edu, EDU_DMA_SRC, to_memory ? mem : iova);
	edu_set(edu, EDU_DMA_DST, to_memory ? iova : mem);
	edu_set(edu, EDU_DMA_COUNT, len);
	edu_wmb();
	edu_set(edu, EDU_DMA_CMD,
		EDU_DMA_RUN | (to_memory ? EDU_DMA_TO_RAM : 0));
}

bool edu_busy(struct edu *edu)
{
	if (edu_get(edu, EDU_DMA_CMD) & EDU_DMA_RUN)
		return true;
	edu_rmb();
	return false;
}

void edu_wait(struct edu *edu)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	__u64 give_up = now_ms() + 60000;

	while (edu_busy(edu)) {
		if (now_ms() > give_up)
			die("%s: its DMA does not end", edu->slot->bdf);
		nanosleep(&ms, NULL);
	}
}

void edu_read(struct edu *edu, __u64 iova, unsigned int off, unsigned int len)
{
	edu_start(edu, iova, off, len, false);
	edu_wait(edu);
}

void edu_write(struct edu *edu, __u64 iova, unsigned int off, unsigned int len)
{
	edu_start(edu, iova, off, len, true);
	edu_wait(edu);
}

/* ---- MSI ---- */

/* The first vector's eventfd, or none at all */
static int edu_set_irq(struct edu *edu, const int *eventfd)
{
	union {
		struct vfio_irq_set set;
		char bytes[sizeof(struct vfio_irq_set) + sizeof(int)];
	} irq = {
		.set = {
			.argsz = sizeof(struct vfio_irq_set),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 VFIO_IRQ_SET_DATA_NONE,
			.index = edu->slot->msix ? VFIO_PCI_MSIX_IRQ_INDEX :
						   VFIO_PCI_MSI_IRQ_INDEX,
		},
	};

	if (eventfd) {
		irq.set.argsz = sizeof(irq);
		irq.set.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				VFIO_IRQ_SET_DATA_EVENTFD;
		irq.set.count = 1;
		memcpy(irq.set.data, eventfd, sizeof(int));
	}
	return xioctl(edu->fd, VFIO_DEVICE_SET_IRQS, &irq);
}

int __edu_irq_enable(struct edu *edu)
{
	int rc;

	edu->irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (edu->irq < 0)
		return errno;
	rc = edu_set_irq(edu, &edu->irq);
	if (rc)
		close(edu->irq);
	return rc;
}

void edu_irq_enable(struct edu *edu)
{
	must(__edu_irq_enable(edu), "VFIO_DEVICE_SET_IRQS");
}

void edu_irq_disable(struct edu *edu)
{
	must(edu_set_irq(edu, NULL), "VFIO_DEVICE_SET_IRQS");
	close(edu->irq);
}

unsigned int edu_interrupts_within(struct edu *edu, int ms)
{
	struct pollfd pfd = { .fd = edu->irq, .events = POLLIN };
	eventfd_t n = 0;

	edu_set32(edu, EDU_IRQ_RAISE, 1);
	if (poll(&pfd, 1, ms) == 1 && eventfd_read(edu->irq, &n))
		die("%s: its eventfd: %s", edu->slot->bdf, strerror(errno));
	edu_set32(edu, EDU_IRQ_ACK, 1);
	return n;
}

unsigned int edu_interrupts(struct edu *edu)
{
	return edu_interrupts_within(edu, 20000);
}

/* ---- Tokens ---- */

#define EDU_TOKENS	(EDU_MEM_SIZE / sizeof(__u32))

/* Neither a descriptor nor a CD has a word like this. */
static __u32 edu_token(const struct edu *edu, unsigned int n)
{
	return 0xe0000000 | edu->load << 10 | n;
}

void edu_load_tokens(struct edu *edu)
{
	static unsigned int loads;
	__u64 gpa = vm_alloc(edu->vm, 1);
	__u32 *page = vm_ptr(edu->vm, gpa);
	__u64 check = vm_alloc(edu->vm, 1);
	unsigned int n;

	edu->load = loads++;
	for (n = 0; n < EDU_TOKENS; n++)
		page[n] = edu_token(edu, n);
	edu_read(edu, gpa, 0, EDU_MEM_SIZE);
	memset(page, 0, GUEST_PAGE);
	edu->tokens = 0;
	if (edu_lands(edu, check) != check)
		die("%s: no DMA at %#llx (QEMU: -device edu,dma_mask=0xffffffffffff)",
		    edu->slot->bdf, gpa);
}

/* Returns the token that was sent. */
static __u32 edu_send_token(struct edu *edu, __u64 iova)
{
	unsigned int n = edu->tokens++;

	if (n >= EDU_TOKENS)
		die("%s: out of tokens", edu->slot->bdf);
	edu_write(edu, iova, n * sizeof(__u32), sizeof(__u32));
	return edu_token(edu, n);
}

static bool page_has(const void *page, __u64 iova, __u32 token)
{
	return __atomic_load_n((__u32 *)(page + (iova & (GUEST_PAGE - 1))),
			       __ATOMIC_RELAXED) == token;
}

__u64 edu_lands(struct edu *edu, __u64 iova)
{
	__u32 token = edu_send_token(edu, iova);
	__u64 off;

	for (off = 0; off < GUEST_RAM_SIZE; off += GUEST_PAGE)
		if (page_has(edu->vm->ram + off, iova, token))
			return GUEST_RAM + off;
	return NOWHERE;
}

bool edu_reaches(struct edu *edu, __u64 iova, const void *page)
{
	return page_has(page, iova, edu_send_token(edu, iova));
}
