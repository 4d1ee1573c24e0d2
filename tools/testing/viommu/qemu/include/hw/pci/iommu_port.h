/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a DMA device and an IOMMU say to each other by PCIe: transactions with
 * an address type and a PASID, translation requests, and invalidations of the
 * device's ATC
 *
 * The region that PCIIOMMUOps::get_address_space returns has an IOMMU memory
 * region as its root. That region is the port if its type implements
 * TYPE_IOMMU_PORT. A device without a PASID and without an ATC does not need
 * the port: it uses its bus master address space.
 *
 * All functions are called with the BQL held.
 */

#ifndef HW_PCI_IOMMU_PORT_H
#define HW_PCI_IOMMU_PORT_H

#include "exec/memory.h"
#include "hw/pci/pci_device.h"
#include "qom/object.h"

#define TYPE_IOMMU_PORT "iommu-port"

typedef struct IOMMUPort IOMMUPort;
typedef struct IOMMUPortClass IOMMUPortClass;
typedef struct IOMMUPortClient IOMMUPortClient;

DECLARE_CLASS_CHECKERS(IOMMUPortClass, IOMMU_PORT, TYPE_IOMMU_PORT)
#define IOMMU_PORT(obj) INTERFACE_CHECK(IOMMUPort, (obj), TYPE_IOMMU_PORT)

/* AT field of a request (PCIe 10.2.1) */
typedef enum {
    IOMMU_PORT_AT_UNTRANSLATED,
    IOMMU_PORT_AT_TREQ,
    IOMMU_PORT_AT_TRANSLATED,
} IOMMUPortAT;

typedef enum {
    IOMMU_PORT_OK,
    IOMMU_PORT_ABORT,   /* Untranslated, translated: the transaction fails */
    IOMMU_PORT_RAZWI,   /* Untranslated, translated: reads 0, writes nothing */
    IOMMU_PORT_STALL,   /* Untranslated: the IOMMU will call resume() */
    IOMMU_PORT_UR,      /* Translation request: Unsupported Request */
    IOMMU_PORT_CA,      /* Translation request: Completer Abort */
} IOMMUPortResult;

/**
 * IOMMUPortReq - one transaction, which does not cross a 4 KiB boundary
 *
 * @addr: its address
 * @at: address type
 * @has_pasid: it has a PASID TLP prefix, with @pasid, @exec and @priv
 * @write: it writes; a translation request asks for the permission to write
 * @cookie: returned by resume() and named by cancel()
 */
typedef struct IOMMUPortReq {
    uint64_t addr;
    IOMMUPortAT at;
    bool has_pasid;
    uint32_t pasid;
    bool write;
    bool exec;
    bool priv;
    void *cookie;
} IOMMUPortReq;

/**
 * IOMMUPortRes - where a transaction goes, or the translation completion
 *
 * @as: address space of @addr
 * @addr: address for the transaction's first byte; of a translation completion,
 *        the address that IOMMUPortReq::addr has for a translated request
 * @addr_mask: mask of the naturally aligned block that is mapped alike
 * @perm: permissions that the completion gives; none is an answer too
 * @untranslated: U bit of the completion
 * @global: Global bit of the completion
 * @attr: memory attributes in the encoding of MAIR, 0 is Device-nGnRnE
 * @has_attr: the IOMMU computes @attr
 */
typedef struct IOMMUPortRes {
    AddressSpace *as;
    uint64_t addr;
    uint64_t addr_mask;
    IOMMUAccessFlags perm;
    bool untranslated;
    bool global;
    uint8_t attr;
    bool has_attr;
} IOMMUPortRes;

/**
 * IOMMUPortInv - ATS Invalidate Request (PCIe 10.3.8)
 *
 * @addr: first address
 * @addr_mask: size - 1, a power of two minus 1
 * @global: the request affects all PASIDs. Only with @has_pasid
 */
typedef struct IOMMUPortInv {
    uint64_t addr;
    uint64_t addr_mask;
    bool has_pasid;
    uint32_t pasid;
    bool global;
} IOMMUPortInv;

/**
 * IOMMUPortClient - the device's side
 *
 * @invalidate: an Invalidate Request arrives. Returns true if the device
 *              answers it at once. Otherwise it calls
 *              IOMMUPortClass::inv_done() with @tag later, or never
 * @resume: what has become of a transaction that got IOMMU_PORT_STALL:
 *          IOMMU_PORT_OK to issue it again, IOMMU_PORT_ABORT, IOMMU_PORT_RAZWI
 */
struct IOMMUPortClient {
    bool (*invalidate)(IOMMUPortClient *c, const IOMMUPortInv *inv,
                       uint64_t tag);
    void (*resume)(IOMMUPortClient *c, void *cookie, IOMMUPortResult verdict);
};

/**
 * IOMMUPortClass - the IOMMU's side
 *
 * @connect: @c is the device behind the port, NULL when it is unplugged
 * @request: translate one transaction
 * @inv_done: the device has answered an Invalidate Request
 * @cancel: the device has forgotten the stalled transaction with that cookie
 */
struct IOMMUPortClass {
    InterfaceClass parent_class;

    void (*connect)(IOMMUPort *p, IOMMUPortClient *c);
    IOMMUPortResult (*request)(IOMMUPort *p, const IOMMUPortReq *req,
                               IOMMUPortRes *res);
    void (*inv_done)(IOMMUPort *p, uint64_t tag);
    void (*cancel)(IOMMUPort *p, void *cookie);
};

/* The port of a device, NULL if there is none */
IOMMUPort *iommu_port_of(PCIDevice *dev);

#endif
