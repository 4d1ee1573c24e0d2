// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQ: events of a vIOMMU for user space to read
 *
 * The memory of a queue is allocated with the queue and charged to the caller,
 * so a report allocates nothing. Two locks separate reports from readers. The
 * vIOMMU's spinlock protects the state of the ring, and is never held while
 * user memory is touched. A mutex makes readers take turns, and a report does
 * not take it. User space can block a reader in the middle of its copy, for
 * example by userfaultfd. Such a reader keeps its slots, and other readers wait
 * for it. Reports go on.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/iommufd.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <trace/events/iommufd.h>
#include <uapi/linux/iommufd.h>

#include "iommufd_private.h"
#include "veventq.h"

/* Far above what a guest's event queue holds. A queue has 20 MiB at most. */
#define IOMMUFD_VEVENTQ_DEPTH_MAX	BIT(19)

static int iommufd_veventq_lock_read(struct iommufd_veventq *veventq,
				     struct file *filep)
{
	if (filep->f_flags & O_NONBLOCK)
		return mutex_trylock(&veventq->read_mutex) ? 0 : -EAGAIN;
	return mutex_lock_interruptible(&veventq->read_mutex) ? -ERESTARTSYS : 0;
}

/* Copy events that follow each other in memory. Return bytes or an error. */
static ssize_t iommufd_veventq_read_records(struct iommufd_veventq *veventq,
					    char __user *buf, size_t count,
					    const void *records, u32 num)
{
	u32 size = veventq->ring.size;
	size_t left;
	u32 copied;

	if (count < size)
		return -EINVAL;
	num = min_t(size_t, num, count / size);

	left = copy_to_user(buf, records, (size_t)num * size);
	copied = num - DIV_ROUND_UP(left, size);
	/* A copy that faults can stop long before the byte that faulted */
	if (!copied && num > 1)
		copied = !copy_to_user(buf, records, size);
	if (!copied)
		return -EFAULT;

	spin_lock(&veventq->viommu->veventq_lock);
	iommufd_event_ring_pop(&veventq->ring, copied);
	spin_unlock(&veventq->viommu->veventq_lock);
	return (size_t)copied * size;
}

static ssize_t iommufd_veventq_read_lost(struct iommufd_veventq *veventq,
					 char __user *buf, size_t count,
					 const struct iommufd_vevent_header *lost)
{
	if (count < sizeof(*lost))
		return -EINVAL;
	if (copy_to_user(buf, lost, sizeof(*lost)))
		return -EFAULT;

	spin_lock(&veventq->viommu->veventq_lock);
	iommufd_event_ring_pop_lost(&veventq->ring, lost->sequence);
	spin_unlock(&veventq->viommu->veventq_lock);
	return sizeof(*lost);
}

static ssize_t iommufd_veventq_fops_read(struct file *filep, char __user *buf,
					 size_t count, loff_t *ppos)
{
	struct iommufd_veventq *veventq = filep->private_data;
	spinlock_t *lock = &veventq->viommu->veventq_lock;
	struct iommufd_vevent_header lost;
	size_t done = 0;
	ssize_t rc;

	if (*ppos)
		return -ESPIPE;
	if (count < sizeof(lost))
		return -EINVAL;

	rc = iommufd_veventq_lock_read(veventq, filep);
	if (rc)
		return rc;

	do {
		void *records;
		bool is_lost;
		u32 num;

		spin_lock(lock);
		num = iommufd_event_ring_peek(&veventq->ring, &records);
		is_lost = !num && iommufd_event_ring_peek_lost(&veventq->ring,
							       &lost);
		spin_unlock(lock);

		if (num)
			rc = iommufd_veventq_read_records(veventq, buf + done,
							  count - done, records,
							  num);
		else if (is_lost)
			rc = iommufd_veventq_read_lost(veventq, buf + done,
						       count - done, &lost);
		else
			rc = 0;
		if (rc > 0)
			done += rc;
		/*
		 * A steady stream of events must not keep a reader from a
		 * signal.
		 */
	} while (rc > 0 && done != count && !signal_pending(current));

	mutex_unlock(&veventq->read_mutex);
	return done ? done : rc;
}

static __poll_t iommufd_veventq_fops_poll(struct file *filep,
					  struct poll_table_struct *wait)
{
	struct iommufd_veventq *veventq = filep->private_data;
	__poll_t pollflags = 0;

	poll_wait(filep, &veventq->wait, wait);
	spin_lock(&veventq->viommu->veventq_lock);
	if (!iommufd_event_ring_empty(&veventq->ring))
		pollflags = EPOLLIN | EPOLLRDNORM;
	spin_unlock(&veventq->viommu->veventq_lock);
	return pollflags;
}

static int iommufd_veventq_fops_release(struct inode *inode, struct file *filep)
{
	struct iommufd_veventq *veventq = filep->private_data;
	/* The queue may be freed once the users reference is dropped */
	struct iommufd_ctx *ictx = veventq->viommu->ictx;

	refcount_dec(&veventq->obj.users);
	iommufd_ctx_put(ictx);
	return 0;
}

static const struct file_operations iommufd_veventq_fops = {
	.owner = THIS_MODULE,
	.read = iommufd_veventq_fops_read,
	.poll = iommufd_veventq_fops_poll,
	.release = iommufd_veventq_fops_release,
};

static int iommufd_veventq_link(struct iommufd_veventq *veventq)
{
	struct iommufd_viommu *viommu = veventq->viommu;
	int rc = 0;

	spin_lock(&viommu->veventq_lock);
	if (iommufd_viommu_find_veventq(viommu, veventq->type))
		rc = -EEXIST;
	else
		list_add_tail(&veventq->node, &viommu->veventqs);
	spin_unlock(&viommu->veventq_lock);
	return rc;
}

void iommufd_veventq_destroy(struct iommufd_object *obj)
{
	struct iommufd_veventq *veventq =
		container_of(obj, struct iommufd_veventq, obj);
	struct iommufd_viommu *viommu = veventq->viommu;

	trace_iommufd_veventq_destroy(viommu, obj->id, veventq->type);
	spin_lock(&viommu->veventq_lock);
	list_del(&veventq->node);
	spin_unlock(&viommu->veventq_lock);

	kvfree(veventq->ring.slots);
	mutex_destroy(&veventq->read_mutex);
	refcount_dec(&viommu->obj.users);
}

/*
 * Create a queue. Until it is finalized, iommufd_object_abort_and_destroy()
 * undoes this. The queue occupies its type on the vIOMMU at once, but takes no
 * event yet.
 */
static struct iommufd_veventq *
iommufd_veventq_create(struct iommufd_viommu *viommu,
		       const struct iommu_veventq_alloc *cmd)
{
	struct iommufd_ctx *ictx = viommu->ictx;
	struct iommufd_veventq *veventq;
	size_t size = 0;
	int rc;

	if (viommu->ops->veventq_size)
		size = viommu->ops->veventq_size(viommu, cmd->type);
	if (!size)
		return ERR_PTR(-EOPNOTSUPP);

	veventq = iommufd_object_alloc(ictx, veventq, IOMMUFD_OBJ_VEVENTQ);
	if (IS_ERR(veventq))
		return veventq;

	veventq->viommu = viommu;
	veventq->type = cmd->type;
	mutex_init(&veventq->read_mutex);
	init_waitqueue_head(&veventq->wait);
	veventq->ring.depth = cmd->veventq_depth;
	veventq->ring.size = sizeof(struct iommufd_vevent_header) + size;

	rc = iommufd_veventq_link(veventq);
	if (rc) {
		mutex_destroy(&veventq->read_mutex);
		iommufd_object_abort(ictx, &veventq->obj);
		return ERR_PTR(rc);
	}
	/* Pairs with iommufd_veventq_destroy() */
	refcount_inc(&viommu->obj.users);
	trace_iommufd_veventq_alloc(viommu, veventq->obj.id, veventq->type);

	veventq->ring.slots = kvcalloc(veventq->ring.depth, veventq->ring.size,
				       GFP_KERNEL_ACCOUNT);
	if (!veventq->ring.slots) {
		iommufd_object_abort_and_destroy(ictx, &veventq->obj);
		return ERR_PTR(-ENOMEM);
	}
	return veventq;
}

/*
 * Let the queue take events. Nothing may fail afterwards, as events would be
 * lost.
 */
static void iommufd_veventq_start(struct iommufd_veventq *veventq)
{
	spin_lock(&veventq->viommu->veventq_lock);
	veventq->live = true;
	spin_unlock(&veventq->viommu->veventq_lock);
}

int iommufd_veventq_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_veventq_alloc *cmd = ucmd->cmd;
	struct iommufd_veventq *veventq;
	struct iommufd_viommu *viommu;
	struct file *filep;
	int fdno;
	int rc;

	if (cmd->flags || cmd->__reserved ||
	    cmd->type == IOMMU_VEVENTQ_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->veventq_depth ||
	    cmd->veventq_depth > IOMMUFD_VEVENTQ_DEPTH_MAX)
		return -EINVAL;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	veventq = iommufd_veventq_create(viommu, cmd);
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	if (IS_ERR(veventq))
		return PTR_ERR(veventq);

	filep = anon_inode_getfile("[iommufd-veventq]", &iommufd_veventq_fops,
				   veventq, O_RDWR);
	if (IS_ERR(filep)) {
		rc = PTR_ERR(filep);
		goto err_abort;
	}

	/* Pairs with iommufd_veventq_fops_release() */
	refcount_inc(&veventq->obj.users);
	iommufd_ctx_get(ucmd->ictx);
	veventq->filep = filep;

	fdno = get_unused_fd_flags(O_CLOEXEC);
	if (fdno < 0) {
		rc = fdno;
		goto err_abort;
	}

	cmd->out_veventq_id = veventq->obj.id;
	cmd->out_veventq_fd = fdno;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto err_put_fd;

	iommufd_veventq_start(veventq);
	iommufd_object_finalize(ucmd->ictx, &veventq->obj);
	fd_install(fdno, filep);
	return 0;

err_put_fd:
	put_unused_fd(fdno);
err_abort:
	iommufd_object_abort_and_destroy(ucmd->ictx, &veventq->obj);
	return rc;
}
