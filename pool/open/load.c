/* Brings the catalog of a root into RAM, pages and inodes, many reads at a time. The volumes'
 * tables stay where they are until somebody asks for their pages; what they hold of each group the
 * root says. Every address is checked before it is followed. */
#include "pool/internal.h"
#include "pool/open/import.h"

#include <stdlib.h>
#include <string.h>

enum { READS_AT_ONCE = 64 };

struct job {
        struct list node;
        struct block_read read;
        struct import *im;
        struct entry entry;
        struct tree *tree;
        struct page *parent; /* NULL: the root */
        uint16_t slot;
        uint8_t level;
        bool inode;
        uint64_t index;
};

static int job_add(struct import *im, struct job proto)
{
        struct job *j;

        if (!addr_valid(im->pool, proto.entry.addr) || !(proto.entry.addr & ADDR_MAPPED))
                return -EBADMSG;
        j = pool_alloc(im->pool, sizeof(*j));
        if (!j)
                return -ENOMEM;
        *j = proto;
        j->im = im;
        list_add_head(&im->jobs, &j->node); /* depth first: few jobs wait */
        return 0;
}

static int take_inode(struct import *im, const struct job *j)
{
        struct tree tree = {0};
        struct volume v = {.tree = &tree};

        if (j->index >= MAX_VOLUMES)
                return alias_decode(im->pool, j->index - MAX_VOLUMES, j->read.buf);
        int rc = inode_decode(j->read.buf, ZP_BLOCK, &v);
        if (rc < 0)
                return rc;
        if (pool_tree(im->pool, tree.id) || (!v.frozen && volume_by_name(im->pool, v.name)) ||
            (!v.doomed && node_by_uuid(im->pool, &v.uuid)) ||
            !addr_valid(im->pool, tree.root_entry.addr))
                return -EBADMSG;
        return catalog_add(im->pool, &v, (uint32_t)j->index) ? 0 : -ENOMEM;
}

static int take_page(struct import *im, const struct job *j)
{
        struct page *p;
        int rc =
            page_decode(im->pool, j->tree, j->parent, j->slot, j->level, j->index, j->read.buf, &p);

        if (rc == 0) {
                j->tree->npages++;
                im->pool->npages++;
        }
        for (uint16_t i = 0; rc == 0 && i < ENTRIES; i++) {
                struct entry e = {p->addr[i], p->crc[i]};
                uint64_t index = p->index * ENTRIES + i;
                if (!(e.addr & ADDR_MAPPED))
                        continue;
                if (p->level)
                        rc = job_add(im, (struct job){.entry = e,
                                                      .tree = j->tree,
                                                      .parent = p,
                                                      .slot = i,
                                                      .level = (uint8_t)(p->level - 1),
                                                      .index = index});
                else
                        rc = job_add(im, (struct job){.entry = e, .inode = true, .index = index});
                j->tree->live += !p->level;
        }
        return rc;
}

/* Some member had it wrong: it is written anew by the checkpoint that ends the import. */
static void heal_page(struct import *im, const struct job *j)
{
        struct volume *vol;

        im->pool->healed++;
        if (!j->inode) {
                tree_dirty_page_at(im->pool, j->tree, j->level, j->index, j->entry.addr);
                return;
        }
        list_for_each (vol, &im->pool->volumes, node) {
                if (vol->slot == j->index)
                        vol->dirty = true;
        }
}

static void pump(struct import *im);

static void job_done(struct block_read *read, int status)
{
        struct job *j = read->ctx;
        struct import *im = j->im;

        if (status == 0 && im->status == 0)
                status = j->inode ? take_inode(im, j) : take_page(im, j);
        if (status == 0 && im->status == 0 && read->bad)
                heal_page(im, j);
        if (status < 0 && im->status == 0)
                im->status = status;
        pool_block_put(im->pool, read->buf);
        pool_release(j);
        im->reading--;
        pump(im);
}

static void pump(struct import *im)
{
        while (im->status == 0 && im->reading < READS_AT_ONCE && !list_empty(&im->jobs)) {
                struct job *j = list_first(&im->jobs, struct job, node);
                list_del(&j->node);
                j->read.buf = pool_block_get(im->pool);
                if (!j->read.buf) {
                        im->status = -ENOMEM;
                        break;
                }
                j->read.verify = true;
                j->read.done = job_done;
                j->read.ctx = j;
                im->reading++;
                block_read_start(im->pool, &j->read, j->entry);
        }
        if (im->reading)
                return;
        if (im->status == 0)
                im->status = catalog_link(im->pool);
        if (im->status == -EILSEQ)
                im->status = -EBADMSG;
        if (im->status < 0)
                import_fail(im, -im->status, "pool %s: a table page cannot be read: %s",
                            im->pool->name, strerror(-im->status));
        else
                recover_start(im);
}

void load_start(struct import *im)
{
        struct tree *t = &im->pool->catalog;

        im->status = 0;
        if (t->height)
                im->status = job_add(im, (struct job){.entry = t->root_entry,
                                                      .tree = t,
                                                      .level = (uint8_t)(t->height - 1)});
        pump(im);
}
