/* Copying a volume, see clone.h.
 *
 * The source's map is walked in pages of extents; CLONE_DEPTH slots each take the next piece of the
 * page, read it, and write those runs of it that are not zero. Holes and zero blocks stay holes.
 *
 * Both volumes are held meanwhile: no front end can open either, so the copy is of one moment. A
 * crash leaves a partial copy under the new name, without a mark: the client that asked has no
 * answer then. Whatever fails, or when a stop cancels it, the copy is deleted before the refusal.
 */
#include "daemon/clone.h"

#include "base/cleanup.h"
#include "base/eventlog.h"
#include "daemon/dvol.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "daemon/report.h"

#include <errno.h>
#include <string.h>

enum { CLONE_DEPTH = 8, CLONE_CHUNK = 256 << 10, CLONE_EXTENTS = 512 };

struct clone;

struct slot {
        struct clone *clone;
        struct volume_io io;
        struct iovec iov;
        uint8_t *buf;
        uint64_t offset, len; /* of the piece; len 0: idle */
        uint64_t pos; /* in the piece: what is written or was zero */
};

struct clone {
        struct daemon *d;
        struct control_request *req;
        struct dvol *source, *copy;
        char what[160];
        struct volume_extent extents[CLONE_EXTENTS];
        uint32_t nextents, extent; /* of the page, and the present one */
        uint64_t extent_done; /* bytes of the present one given to slots */
        uint64_t next_block; /* where the next page begins; UINT64_MAX: no more */
        uint64_t done_bytes, total_bytes;
        bool mapping;
        unsigned busy; /* slots at work */
        int status; /* first failure */
        struct slot slots[CLONE_DEPTH];
        struct job job;
        struct loop_defer pump;
};

static void clone_free(struct clone *c)
{
        for (int i = 0; i < CLONE_DEPTH; i++)
                free(c->slots[i].buf);
        loop_defer_cancel(&c->pump);
        free(c);
}

/* ---- the end ---- */

static void removed(void *ctx, int status, const struct err *delete_err)
{
        struct clone *c = ctx;
        struct err err;

        err_set_sys(&err, -c->status, "%s failed", c->what);
        if (status < 0)
                err_prefix(&err, "the partial copy could not be deleted (%s)",
                           err_text(delete_err, status));
        control_refuse(c->req, c->status, &err);
        clone_free(c);
}

static void finish(struct clone *c)
{
        list_del(&c->job.node);
        dvol_release(c->source);
        if (c->status < 0) {
                dvol_delete(c->copy, c, removed);
                return;
        }
        dvol_release(c->copy);
        eventlog_emit("volume-cloned", "\"pool\":\"%s\",\"volume\":\"%s\",\"bytes\":%llu",
                      c->copy->pool->spec.name, volume_name(c->copy->vol),
                      (unsigned long long)c->done_bytes);
        control_reply(c->req, report_volume(c->copy));
        clone_free(c);
}

static void flushed(struct volume_io *io, int status)
{
        struct clone *c = ((struct slot *)container_of(io, struct slot, io))->clone;

        if (c->status == 0)
                c->status = status;
        finish(c);
}

/* ---- slots ---- */

static bool is_zero(const uint8_t *p, size_t len)
{
        return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static void slot_done(struct slot *s, int status)
{
        struct clone *c = s->clone;

        c->busy--;
        if (status < 0 && c->status == 0)
                c->status = status;
        c->done_bytes += s->len;
        s->len = 0;
        control_progress(c->req, c->what, MIN(c->done_bytes, c->total_bytes), c->total_bytes);
        loop_defer(c->d->loop, &c->pump);
}

static void slot_submit(struct slot *s, struct volume *vol, enum volume_op op, uint64_t pos,
                        uint64_t len, void (*done)(struct volume_io *, int))
{
        s->iov = (struct iovec){s->buf + pos, len};
        s->io = (struct volume_io){.op = op,
                                   .no_hold = true,
                                   .offset_bytes = s->offset + pos,
                                   .length_bytes = len,
                                   .iov = &s->iov,
                                   .niov = 1,
                                   .done = done};
        volume_submit(vol, &s->io);
}

/* Writes the next run of blocks that are not zero. */
static void slot_write(struct volume_io *io, int status)
{
        struct slot *s = container_of(io, struct slot, io);
        uint64_t end;

        while (s->pos < s->len &&
               is_zero(s->buf + s->pos, MIN((uint64_t)ZP_BLOCK, s->len - s->pos)))
                s->pos += ZP_BLOCK;
        if (status < 0 || s->clone->status < 0 || s->pos >= s->len) {
                slot_done(s, status);
                return;
        }
        for (end = s->pos; end < s->len; end += ZP_BLOCK)
                if (is_zero(s->buf + end, MIN((uint64_t)ZP_BLOCK, s->len - end)))
                        break;
        end = MIN(end, s->len);
        uint64_t pos = s->pos;
        s->pos = end;
        slot_submit(s, s->clone->copy->vol, VOLUME_WRITE, pos, end - pos, slot_write);
}

/* The next piece of the page of extents. Returns false at its end. */
static bool next_piece(struct clone *c, uint64_t *ret_offset, uint64_t *ret_len)
{
        uint64_t size = volume_size_bytes(c->source->vol);

        while (c->extent < c->nextents) {
                const struct volume_extent *e = &c->extents[c->extent];
                uint64_t offset = e->block * ZP_BLOCK + c->extent_done;
                uint64_t end = MIN((e->block + e->nblocks) * ZP_BLOCK, size);
                if (offset < end) {
                        *ret_offset = offset;
                        *ret_len = MIN((uint64_t)CLONE_CHUNK, end - offset);
                        c->extent_done += *ret_len;
                        return true;
                }
                c->extent++;
                c->extent_done = 0;
        }
        return false;
}

static void mapped(void *ctx, int status, uint32_t n, uint64_t next_block)
{
        struct clone *c = ctx;

        c->mapping = false;
        if (status < 0 && c->status == 0)
                c->status = status;
        c->nextents = status < 0 ? 0 : n;
        c->extent = 0;
        c->extent_done = 0;
        c->next_block = status < 0 ? UINT64_MAX : next_block;
        loop_defer(c->d->loop, &c->pump);
}

static void start_slots(struct clone *c)
{
        for (int i = 0; i < CLONE_DEPTH && c->status == 0; i++) {
                struct slot *s = &c->slots[i];
                if (s->len)
                        continue; /* at work */
                if (!next_piece(c, &s->offset, &s->len))
                        return;
                s->pos = 0;
                c->busy++;
                slot_submit(s, c->source->vol, VOLUME_READ, 0, s->len, slot_write);
        }
}

/* Keeps slots and map busy; notices the end. Never called from inside a completion. */
static void pump(struct loop_defer *defer)
{
        struct clone *c = container_of(defer, struct clone, pump);

        start_slots(c);
        if (c->busy || c->mapping)
                return; /* each of them pumps again when done */
        if (c->status == 0 && c->next_block != UINT64_MAX) {
                c->mapping = true;
                volume_map(c->source->vol, c->next_block, c->extents, CLONE_EXTENTS, c, mapped);
        } else if (c->status == 0) {
                c->slots[0].io = (struct volume_io){.op = VOLUME_FLUSH, .done = flushed};
                volume_submit(c->copy->vol, &c->slots[0].io);
        } else {
                finish(c);
        }
}

/* ---- the beginning ---- */

static void cancel(struct job *job)
{
        struct clone *c = container_of(job, struct clone, job);
        if (c->status == 0)
                c->status = -ECANCELED;
}

static void refuse(struct clone *c, int rc, const struct err *err)
{
        list_del(&c->job.node);
        if (c->source)
                dvol_release(c->source);
        control_refuse(c->req, rc, err);
        clone_free(c);
}

static void copy_made(void *ctx, int status, const struct err *err, struct dvol *v)
{
        struct clone *c = ctx;

        if (status < 0) {
                refuse(c, status, err);
                return;
        }
        c->copy = v;
        /* Just made: nobody has it. Should that be wrong the clone fails, and says by whom. */
        int rc = dvol_hold(v, "clone", NULL);
        if (c->status == 0)
                c->status = rc;
        loop_defer(c->d->loop, &c->pump);
}

static int prepare(struct clone *c, struct dpool **ret_pool, struct volume_spec *spec,
                   struct err *err)
{
        const char *pool = NULL, *source = NULL;
        struct volume_info info;
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("name", &spec->name, PARAM_REQUIRED),
            PARAM_STR("source", &source, PARAM_REQUIRED),
            PARAM_U64("size_bytes", &spec->size_bytes, PARAM_OPTIONAL),
            PARAM_UUID("uuid", &spec->uuid, PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(c->req), table, ARRAY_SIZE(table), err);
        struct dpool *p = rc == 0 ? dpool_active(c->d, pool, err) : NULL;
        struct dvol *v = p ? dvol_find(p, source, err) : NULL;

        if (!v)
                return -err->code;
        if (!spec->size_bytes)
                spec->size_bytes = volume_size_bytes(v->vol);
        if (spec->size_bytes < volume_size_bytes(v->vol))
                return err_set(err, EINVAL, "a copy of %s/%s must have at least its %llu bytes",
                               pool, source, (unsigned long long)volume_size_bytes(v->vol));
        rc = volume_create_check(c->d, pool, spec->name, spec->size_bytes, ret_pool, err);
        if (rc == 0)
                rc = migration_check(v, "clone", err);
        if (rc == 0)
                rc = dvol_hold(v, "clone", err);
        if (rc < 0)
                return rc;
        c->source = v;
        volume_get_info(v->vol, &info);
        c->total_bytes = info.allocated_bytes;
        snprintf(c->what, sizeof(c->what), "copying %s/%s", pool, source);
        return 0;
}

void volume_clone_method(struct control_request *req, void *ctx)
{
        struct volume_spec spec = {0};
        struct dpool *p = NULL;
        struct err err = ERR_INIT;
        struct clone *c = calloc(1, sizeof(*c));

        if (!c) {
                control_refuse(req, -ENOMEM, NULL);
                return;
        }
        c->d = ctx;
        c->req = req;
        c->pump.call = pump;
        c->job.cancel = cancel;
        list_add_tail(&c->d->jobs, &c->job.node);
        int rc = prepare(c, &p, &spec, &err);
        for (int i = 0; rc == 0 && i < CLONE_DEPTH; i++) {
                c->slots[i].clone = c;
                if (posix_memalign((void **)&c->slots[i].buf, ZP_BLOCK, CLONE_CHUNK) != 0)
                        rc = -ENOMEM;
        }
        if (rc < 0) {
                refuse(c, rc, &err);
                return;
        }
        if (uuid_is_nil(&spec.uuid)) {
                random_bytes(NULL, &spec.uuid, sizeof(spec.uuid));
                uuid_from_random(&spec.uuid);
        }
        dvol_create(p, &spec, c, copy_made);
}
