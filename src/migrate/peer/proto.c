/* Encoding and decoding of frames, see proto.h. */
#include "migrate/peer/proto.h"

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static const uint8_t magic[4] = {'Z', 'P', 'm', 'p'};

/* ---- writing: the buffer is always large enough, see body_size ---- */

static uint8_t *w8(uint8_t *p, unsigned v)
{
        *p = (uint8_t)v;
        return p + 1;
}

static uint8_t *w16(uint8_t *p, unsigned v)
{
        put_le16(p, (uint16_t)v);
        return p + 2;
}

static uint8_t *w32(uint8_t *p, uint32_t v)
{
        put_le32(p, v);
        return p + 4;
}

static uint8_t *w64(uint8_t *p, uint64_t v)
{
        put_le64(p, v);
        return p + 8;
}

static uint8_t *wuuid(uint8_t *p, const struct uuid *u)
{
        memcpy(p, u->b, 16);
        return p + 16;
}

static uint8_t *wtoken(uint8_t *p, const struct owner_token *t)
{
        memcpy(p, t->b, 16);
        return w64(p + 16, t->incarnation);
}

static uint8_t *wtext(uint8_t *p, const char *text)
{
        size_t len = MIN(strlen(text), (size_t)PEER_TEXT_MAX);

        p = w8(p, (unsigned)len);
        memcpy(p, text, len);
        return p + len;
}

static uint8_t *wmember(uint8_t *p, const struct owner_member *m)
{
        return w8(w64(wuuid(p, &m->uuid), m->epoch_before), m->pool);
}

static uint8_t *whas(uint8_t *p, const struct peer_frame *f)
{
        const struct peer_offer *o = &f->has.offer;

        p = w8(w64(p, f->has.request), f->has.found);
        if (!f->has.found)
                return p;
        p = wtoken(p, &o->token);
        p = w8(w8(w8(p, o->npools), o->nvolumes), o->nholders);
        for (unsigned i = 0; i < o->npools; i++)
                p = wtext(p, o->pools[i]);
        for (unsigned i = 0; i < o->nvolumes; i++) {
                const struct peer_offer_volume *v = &o->volumes[i];
                p = w64(w64(wmember(p, &v->member), v->size_bytes), v->allocated_bytes);
                p = wtext(w8(w64(p, v->reserved_bytes), v->copies), v->name);
        }
        for (unsigned i = 0; i < o->nholders; i++)
                p = wtext(wuuid(p, &o->holders[i].uuid), o->holders[i].address);
        return p;
}

static uint8_t *wdata(uint8_t *p, const struct peer_frame *f)
{
        p = wtoken(p, &f->token);
        p = w16(w8(w8(w64(p, f->data.chunk), f->data.volume), 0), f->data.nsegments);
        for (unsigned i = 0; i < f->data.nsegments; i++) {
                const struct peer_segment *s = &f->data.segments[i];
                p = w32(w32(w64(p, s->block), s->nblocks), s->zero);
        }
        memcpy(p, f->data.payload, f->data.payload_len);
        return p + f->data.payload_len;
}

static uint8_t *wbody(uint8_t *p, const struct peer_frame *f)
{
        switch (f->type) {
        case PEER_HELLO:
                return wtext(w64(wuuid(p, &f->hello.host), f->hello.incarnation), f->hello.address);
        case PEER_WHO_HAS:
                return wuuid(w64(p, f->who_has.request), &f->who_has.domain);
        case PEER_HAS:
                return whas(p, f);
        case PEER_OWNER:
                p = wtoken(w8(p, f->owner.kind), &f->owner.token);
                p = wtext(w8(w64(p, f->owner.seq), f->owner.nvolumes), f->owner.pool);
                for (unsigned i = 0; i < f->owner.nvolumes; i++)
                        p = wmember(p, &f->owner.volumes[i]);
                return p;
        case PEER_OPEN:
                return w64(wtoken(p, &f->token), f->open.session);
        case PEER_ACK:
                return w64(wtoken(p, &f->token), f->ack.chunk);
        case PEER_DATA:
                return wdata(p, f);
        case PEER_PROGRESS:
                p = w64(w64(wtoken(p, &f->token), f->progress.remaining_bytes),
                        f->progress.total_bytes);
                return w8(w32(p, f->progress.passes), f->progress.mapped);
        case PEER_DELTA:
                p = w8(w64(wtoken(p, &f->token), f->delta.seq), f->delta.nvolumes);
                for (unsigned i = 0; i < f->delta.nvolumes; i++) {
                        p = w16(p, f->delta.v[i].len);
                        memcpy(p, f->delta.v[i].state, f->delta.v[i].len);
                        p += f->delta.v[i].len;
                }
                return p;
        case PEER_FAIL:
                return wtext(w32(wtoken(p, &f->token), (uint32_t)f->fail.code), f->fail.text);
        case PEER_PING:
        case PEER_PONG:
        case PEER_NTYPES:
                break;
        }
        return p;
}

/* An upper bound of the body's size. */
static size_t body_size(const struct peer_frame *f)
{
        if (f->type == PEER_DATA)
                return PEER_DATA_FIXED + f->data.nsegments * (size_t)PEER_SEGMENT +
                       f->data.payload_len;
        if (f->type == PEER_DELTA)
                return 64 + OWNER_MAX_VOLUMES * (2 + PEER_STATE_MAX);
        if (f->type == PEER_HAS)
                return 64 + OWNER_MAX_POOLS * OWNER_POOL_NAME +
                       OWNER_MAX_VOLUMES * (50 + VOLUME_NAME_MAX + 1) +
                       OWNER_MAX_HOSTS * (16 + OWNER_ADDRESS);
        return 2048;
}

uint8_t *peer_encode(const struct peer_frame *f, size_t *ret_len)
{
        size_t cap = body_size(f);
        uint8_t *buf = malloc(PEER_HEADER + cap);

        if (!buf)
                return NULL;
        size_t len = (size_t)(wbody(buf + PEER_HEADER, f) - buf) - PEER_HEADER;
        assert(len <= cap && len <= PEER_BODY_MAX);
        memcpy(buf, magic, sizeof(magic));
        put_le16(buf + 4, PEER_VERSION);
        put_le16(buf + 6, (uint16_t)f->type);
        put_le32(buf + 8, (uint32_t)len);
        put_le32(buf + 12, crc32c(0, buf + PEER_HEADER, len));
        put_le32(buf + 16, crc32c(0, buf, 16));
        *ret_len = PEER_HEADER + len;
        return buf;
}

/* ---- reading ---- */

struct reader {
        const uint8_t *p;
        size_t left;
        bool bad;
};

/* n bytes, or a place of zeroes when there are too few: one check of `bad` at the end is enough. */
static const uint8_t *take(struct reader *r, size_t n)
{
        static const uint8_t zeroes[64];

        if (r->bad || r->left < n) {
                r->bad = true;
                assert(n <= sizeof(zeroes));
                return zeroes;
        }
        const uint8_t *p = r->p;
        r->p += n;
        r->left -= n;
        return p;
}

static uint8_t r8(struct reader *r)
{
        return *take(r, 1);
}

static uint16_t r16(struct reader *r)
{
        return get_le16(take(r, 2));
}

static uint32_t r32(struct reader *r)
{
        return get_le32(take(r, 4));
}

static uint64_t r64(struct reader *r)
{
        return get_le64(take(r, 8));
}

static void ruuid(struct reader *r, struct uuid *u)
{
        memcpy(u->b, take(r, 16), 16);
}

static void rtoken(struct reader *r, struct owner_token *t)
{
        memcpy(t->b, take(r, 16), 16);
        t->incarnation = r64(r);
}

/* Printable ASCII; names and addresses without what would need escaping somewhere. */
static void rtext(struct reader *r, char *out, size_t cap, size_t min, bool plain)
{
        size_t len = r8(r);

        out[0] = '\0';
        if (r->bad || len >= cap || len < min || r->left < len) {
                r->bad = true;
                return;
        }
        memcpy(out, r->p, len);
        out[len] = '\0';
        r->p += len;
        r->left -= len;
        for (size_t i = 0; i < len; i++) {
                char c = out[i];
                bool fine = c >= ' ' && c <= '~';
                if (plain && (c == ' ' || c == '"' || c == '\\' || c == '/'))
                        fine = false;
                if (!fine && plain)
                        r->bad = true;
                else if (!fine)
                        out[i] = '?'; /* text for people */
        }
}

static void rmember(struct reader *r, struct owner_member *m)
{
        ruuid(r, &m->uuid);
        m->epoch_before = r64(r);
        m->pool = r8(r);
}

/* Epochs have room above them, whatever a peer says. */
static bool epoch_fits(uint64_t epoch)
{
        return epoch > 0 && epoch < UINT64_MAX / 2;
}

static void rhas(struct reader *r, struct peer_frame *f)
{
        struct peer_offer *o = &f->has.offer;

        f->has.request = r64(r);
        f->has.found = r8(r) == 1;
        if (!f->has.found)
                return;
        rtoken(r, &o->token);
        o->npools = r8(r);
        o->nvolumes = r8(r);
        o->nholders = r8(r);
        if (!o->npools || o->npools > OWNER_MAX_POOLS || !o->nvolumes ||
            o->nvolumes > OWNER_MAX_VOLUMES || o->nholders > OWNER_MAX_HOSTS) {
                r->bad = true;
                return;
        }
        for (unsigned i = 0; i < o->npools; i++)
                rtext(r, o->pools[i], OWNER_POOL_NAME, 1, true);
        for (unsigned i = 0; i < o->nvolumes; i++) {
                struct peer_offer_volume *v = &o->volumes[i];
                rmember(r, &v->member);
                v->size_bytes = r64(r);
                v->allocated_bytes = r64(r);
                v->reserved_bytes = r64(r);
                v->copies = r8(r);
                rtext(r, v->name, sizeof(v->name), 1, true);
                if (v->member.pool >= o->npools || !epoch_fits(v->member.epoch_before) ||
                    uuid_is_nil(&v->member.uuid) || !v->size_bytes ||
                    v->size_bytes > VOLUME_MAX_BYTES || v->size_bytes % VOLUME_SECTOR ||
                    v->reserved_bytes > v->size_bytes || v->reserved_bytes % VOLUME_SECTOR ||
                    v->copies < 1 || v->copies > POOL_MAX_GROUP_WIDTH)
                        r->bad = true;
                for (unsigned k = 0; k < i; k++)
                        if (uuid_equal(&o->volumes[k].member.uuid, &v->member.uuid))
                                r->bad = true;
        }
        for (unsigned i = 0; i < o->nholders; i++) {
                ruuid(r, &o->holders[i].uuid);
                rtext(r, o->holders[i].address, OWNER_ADDRESS, 0, true);
        }
}

static void rowner(struct reader *r, struct peer_frame *f)
{
        struct owner_msg *m = &f->owner;

        m->kind = (enum owner_msg_kind)r8(r);
        rtoken(r, &m->token);
        m->seq = r64(r);
        m->nvolumes = r8(r);
        rtext(r, m->pool, sizeof(m->pool), 0, true);
        if (m->kind <= OWNER_MSG_NONE || m->kind >= OWNER_MSG_DELTA ||
            m->nvolumes > OWNER_MAX_VOLUMES) {
                r->bad = true;
                return;
        }
        for (unsigned i = 0; i < m->nvolumes; i++)
                rmember(r, &m->volumes[i]);
}

static void rdata(struct reader *r, struct peer_frame *f)
{
        uint64_t blocks = 0, with_data = 0;

        rtoken(r, &f->token);
        f->data.chunk = r64(r);
        f->data.volume = r8(r);
        r8(r);
        f->data.nsegments = r16(r);
        if (!f->data.nsegments || f->data.nsegments > PEER_MAX_SEGMENTS ||
            f->data.volume >= OWNER_MAX_VOLUMES) {
                r->bad = true;
                return;
        }
        for (unsigned i = 0; i < f->data.nsegments; i++) {
                struct peer_segment *s = &f->data.segments[i];
                s->block = r64(r);
                s->nblocks = r32(r);
                uint32_t kind = r32(r);
                s->zero = kind == 1;
                if (kind > 1 || !s->nblocks || s->nblocks > PEER_CHUNK_BLOCKS ||
                    s->block >= VOLUME_MAX_BYTES / PEER_BLOCK) {
                        r->bad = true;
                        return;
                }
                blocks += s->nblocks;
                with_data += s->zero ? 0 : s->nblocks;
        }
        f->data.payload = r->p;
        f->data.payload_len = r->left;
        if (blocks > PEER_CHUNK_BLOCKS || r->left != with_data * PEER_BLOCK)
                r->bad = true;
        r->left = 0;
}

static void rdelta(struct reader *r, struct peer_frame *f)
{
        rtoken(r, &f->token);
        f->delta.seq = r64(r);
        f->delta.nvolumes = r8(r);
        if (f->delta.nvolumes > OWNER_MAX_VOLUMES) {
                r->bad = true;
                return;
        }
        for (unsigned i = 0; i < f->delta.nvolumes && !r->bad; i++) {
                f->delta.v[i].len = r16(r);
                f->delta.v[i].state = r->p;
                if (f->delta.v[i].len > PEER_STATE_MAX || r->left < f->delta.v[i].len) {
                        r->bad = true;
                        return;
                }
                r->p += f->delta.v[i].len;
                r->left -= f->delta.v[i].len;
        }
}

int peer_decode_header(const uint8_t header[PEER_HEADER], enum peer_type *ret_type,
                       uint32_t *ret_body_len)
{
        uint16_t type = get_le16(header + 6);
        uint32_t len = get_le32(header + 8);

        if (memcmp(header, magic, sizeof(magic)) != 0 ||
            get_le32(header + 16) != crc32c(0, header, 16))
                return -EPROTO;
        if (get_le16(header + 4) != PEER_VERSION)
                return -EPROTONOSUPPORT;
        if (type < PEER_HELLO || type >= PEER_NTYPES || len > PEER_BODY_MAX)
                return -EPROTO;
        *ret_type = (enum peer_type)type;
        *ret_body_len = len;
        return 0;
}

int peer_decode_body(const uint8_t header[PEER_HEADER], const uint8_t *body, struct peer_frame *f)
{
        uint32_t len;
        int rc = peer_decode_header(header, &f->type, &len);
        struct reader r = {body, len, false};

        if (rc < 0)
                return rc;
        if (crc32c(0, body, len) != get_le32(header + 12))
                return -EPROTO;
        switch (f->type) {
        case PEER_HELLO:
                ruuid(&r, &f->hello.host);
                f->hello.incarnation = r64(&r);
                rtext(&r, f->hello.address, OWNER_ADDRESS, 0, true);
                if (uuid_is_nil(&f->hello.host))
                        r.bad = true;
                break;
        case PEER_WHO_HAS:
                f->who_has.request = r64(&r);
                ruuid(&r, &f->who_has.domain);
                break;
        case PEER_HAS:
                rhas(&r, f);
                break;
        case PEER_OWNER:
                rowner(&r, f);
                break;
        case PEER_OPEN:
                rtoken(&r, &f->token);
                f->open.session = r64(&r);
                break;
        case PEER_ACK:
                rtoken(&r, &f->token);
                f->ack.chunk = r64(&r);
                break;
        case PEER_DATA:
                rdata(&r, f);
                break;
        case PEER_PROGRESS:
                rtoken(&r, &f->token);
                f->progress.remaining_bytes = r64(&r);
                f->progress.total_bytes = r64(&r);
                f->progress.passes = r32(&r);
                f->progress.mapped = r8(&r) == 1;
                break;
        case PEER_DELTA:
                rdelta(&r, f);
                break;
        case PEER_FAIL:
                rtoken(&r, &f->token);
                f->fail.code = (int)(r32(&r) & 0xfff);
                rtext(&r, f->fail.text, sizeof(f->fail.text), 0, false);
                break;
        case PEER_PING:
        case PEER_PONG:
        case PEER_NTYPES:
                break;
        }
        return r.bad || r.left ? -EPROTO : 0;
}
