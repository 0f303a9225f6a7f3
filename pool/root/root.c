/* Encoding and decoding of root records, see root.h. What is decoded has consistent counts, members
 * in range of the device list and states that exist; whether devices fit is import's to check. */
#include "pool/root/root.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "pool/log/header.h"

#include <errno.h>
#include <stdlib.h>

static const uint8_t magic_root[4] = {'Z', 'P', 'R', 'T'};
enum { CRC_OFFSET = 124 };

uint32_t root_blocks(uint32_t ndevices, uint32_t ngroups)
{
        uint64_t bytes = ROOT_FIXED + (uint64_t)ndevices * ROOT_DEVICE_BYTES +
                         (uint64_t)ngroups * ROOT_GROUP_BYTES;
        uint64_t blocks = DIV_ROUND_UP(bytes, ZP_BLOCK);
        return blocks > ROOT_MAX_BLOCKS ? UINT32_MAX : (uint32_t)blocks;
}

static uint32_t root_crc(const uint8_t *buf, uint32_t blocks)
{
        static const uint8_t zero[4];
        uint32_t crc = crc32c(0, buf, CRC_OFFSET);
        crc = crc32c(crc, zero, 4);
        return crc32c(crc, buf + CRC_OFFSET + 4, (size_t)blocks * ZP_BLOCK - CRC_OFFSET - 4);
}

static void encode_group(const struct root_group *g, uint8_t *p)
{
        put_u8(p, g->state);
        put_u8(p + 1, g->cls);
        put_u8(p + 2, g->width);
        put_u8(p + 3, g->flags);
        put_le32(p + 4, g->generation);
        put_le32(p + 8, g->live);
        put_le32(p + 12, g->wp);
        put_le32(p + 16, g->cap);
        put_le32(p + 20, g->summary);
        put_le64(p + 24, g->last_seq);
        put_le64(p + 32, g->last_sum);
        put_le64(p + 40, g->sealed);
        for (int i = 0; i < POOL_MAX_GROUP_WIDTH; i++) {
                put_le32(p + 48 + 12 * i, g->member[i].zone);
                put_le16(p + 52 + 12 * i, g->member[i].dev);
                put_le32(p + 56 + 12 * i, g->member[i].good);
        }
        put_le32(p + 84, g->zone_cap);
        put_u8(p + 88, g->copies);
        put_le32(p + 92, g->replayed);
}

static int decode_group(const uint8_t *p, const struct root *root, struct root_group *g)
{
        g->state = get_u8(p);
        g->cls = get_u8(p + 1);
        g->width = get_u8(p + 2);
        g->flags = get_u8(p + 3);
        g->generation = get_le32(p + 4);
        g->live = get_le32(p + 8);
        g->wp = get_le32(p + 12);
        g->cap = get_le32(p + 16);
        g->summary = get_le32(p + 20);
        g->last_seq = get_le64(p + 24);
        g->last_sum = get_le64(p + 32);
        g->sealed = get_le64(p + 40);
        g->zone_cap = get_le32(p + 84);
        g->copies = get_u8(p + 88);
        g->replayed = get_le32(p + 92);
        if (g->state == ROOT_GROUP_GONE && !g->live && !g->wp && !g->zone_cap && !g->cap &&
            !g->summary && g->cls < HEADER_CLASSES && g->width == 1 && g->copies == 1)
                return 0;
        if (g->state > ROOT_GROUP_LENT || g->cls >= HEADER_CLASSES || g->width < 1 ||
            g->width > g->copies || g->copies > POOL_MAX_GROUP_WIDTH || g->wp > g->cap ||
            g->summary > g->cap || g->replayed > g->cap || g->cap > g->zone_cap ||
            g->zone_cap >= UINT32_C(1) << 28)
                return -EBADMSG;
        for (int i = 0; i < g->width; i++) {
                g->member[i].zone = get_le32(p + 48 + 12 * i);
                g->member[i].dev = get_le16(p + 52 + 12 * i);
                g->member[i].good = get_le32(p + 56 + 12 * i);
                if (g->member[i].dev >= root->ndevices || g->member[i].zone < LABEL_ZONES ||
                    g->member[i].zone >= root->devices[g->member[i].dev].nr_zones ||
                    root->devices[g->member[i].dev].slot >= POOL_DEVICE_LEFT)
                        return -EBADMSG;
                for (int n = 0; n < i; n++)
                        if (g->member[n].dev == g->member[i].dev)
                                return -EBADMSG;
        }
        return 0;
}

void root_encode(const struct root *root, uint8_t *buf)
{
        uint8_t *p = buf + ROOT_FIXED;

        memset(buf, 0, (size_t)root->blocks * ZP_BLOCK);
        memcpy(buf, magic_root, 4);
        put_le16(buf + 4, root->version);
        put_le16(buf + 6, root->claims);
        put_le64(buf + 8, root->generation);
        memcpy(buf + 16, root->pool.b, 16);
        put_le32(buf + 52, root->ndevices);
        put_le64(buf + 56, root->seq);
        put_le64(buf + 64, root->next_tree);
        put_le64(buf + 72, root->catalog_addr);
        put_le32(buf + 80, root->catalog_crc);
        put_u8(buf + 84, root->catalog_height);
        memcpy(buf + 88, root->secret, KEYED_SECRET_BYTES);
        put_le32(buf + 104, root->ngroups);
        put_le32(buf + 108, root->blocks);
        put_le32(buf + 112, root->checksums | (uint32_t)root->resumed << 1);
        put_le32(buf + 116, root->reserve_permille);
        put_le32(buf + 120, root->checkpoint_permille);
        memcpy(buf + 128, root->name, strnlen(root->name, POOL_NAME_MAX));
        put_le64(buf + 192, root->user_blocks);
        put_le64(buf + 200, root->device_blocks);
        put_le64(buf + 208, root->clean_blocks);
        put_le64(buf + 216, root->table_blocks);
        put_le64(buf + 224, root->durable);
        put_u8(buf + 232, root->scrub.state);
        put_u8(buf + 233, root->unbalanced);
        put_le32(buf + 236, root->scrub.next);
        put_le64(buf + 240, root->scrub.verified);
        put_le32(buf + 248, root->scrub.damaged);
        put_le32(buf + 252, root->scrub.repaired);
        for (uint32_t i = 0; i < root->ndevices; i++, p += ROOT_DEVICE_BYTES) {
                memcpy(p, root->devices[i].uuid.b, 16);
                put_le32(p + 16, root->devices[i].nr_zones);
                put_u8(p + 20, root->devices[i].state);
                put_u8(p + 21, root->devices[i].slot);
                put_u8(p + 22,
                       (uint8_t)(root->devices[i].removing | root->devices[i].replacing << 1));
                put_u8(p + 23, root->devices[i].replaces);
                put_le64(p + 24, root->devices[i].zone_blocks);
                put_le64(p + 32, root->devices[i].generation);
                put_le64(p + 40, root->devices[i].leaving_blocks);
        }
        for (uint32_t i = 0; i < root->ngroups; i++, p += ROOT_GROUP_BYTES)
                encode_group(&root->groups[i], p);
        root_set_device(buf, root->blocks, &root->device, root->index);
}

void root_set_device(uint8_t *buf, uint32_t blocks, const struct uuid *device, uint32_t index)
{
        memcpy(buf + 32, device->b, 16);
        put_le32(buf + 48, index);
        put_le32(buf + CRC_OFFSET, root_crc(buf, blocks));
}

int root_decode_fixed(const uint8_t *buf, struct root *ret_root)
{
        struct root r = {0};

        if (memcmp(buf, magic_root, 4))
                return -EBADMSG;
        r.version = get_le16(buf + 4);
        r.generation = get_le64(buf + 8);
        memcpy(r.pool.b, buf + 16, 16);
        memcpy(r.device.b, buf + 32, 16);
        r.index = get_le32(buf + 48);
        r.ndevices = get_le32(buf + 52);
        memcpy(r.name, buf + 128, POOL_NAME_MAX);
        if (!r.version)
                return -EBADMSG;
        if (r.version != POOL_FORMAT_VERSION) {
                *ret_root = r;
                return -EPROTONOSUPPORT;
        }
        r.claims = get_le16(buf + 6);
        r.seq = get_le64(buf + 56);
        r.next_tree = get_le64(buf + 64);
        r.catalog_addr = get_le64(buf + 72);
        r.catalog_crc = get_le32(buf + 80);
        r.catalog_height = get_u8(buf + 84);
        memcpy(r.secret, buf + 88, KEYED_SECRET_BYTES);
        r.ngroups = get_le32(buf + 104);
        r.blocks = get_le32(buf + 108);
        r.checksums = get_le32(buf + 112) & 1;
        r.resumed = get_le32(buf + 112) >> 1 & 1;
        r.reserve_permille = get_le32(buf + 116);
        r.checkpoint_permille = get_le32(buf + 120);
        r.user_blocks = get_le64(buf + 192);
        r.device_blocks = get_le64(buf + 200);
        r.clean_blocks = get_le64(buf + 208);
        r.table_blocks = get_le64(buf + 216);
        r.durable = get_le64(buf + 224);
        r.scrub.state = get_u8(buf + 232);
        r.unbalanced = get_u8(buf + 233);
        r.scrub.next = get_le32(buf + 236);
        r.scrub.verified = get_le64(buf + 240);
        r.scrub.damaged = get_le32(buf + 248);
        r.scrub.repaired = get_le32(buf + 252);
        if (!r.ndevices || r.ndevices > POOL_MAX_DEVICES || r.index >= r.ndevices ||
            r.durable < r.seq || r.scrub.state > POOL_SCRUB_DONE || r.unbalanced > 1 ||
            r.blocks > ROOT_MAX_BLOCKS || r.blocks != root_blocks(r.ndevices, r.ngroups))
                return -EBADMSG;
        *ret_root = r;
        return 0;
}

int root_decode(const uint8_t *buf, uint32_t blocks, struct root *ret_root)
{
        struct root r;
        const uint8_t *p = buf + ROOT_FIXED;
        int rc = root_decode_fixed(buf, &r);

        if (rc < 0)
                return rc;
        if (r.blocks != blocks || get_le32(buf + CRC_OFFSET) != root_crc(buf, blocks))
                return -EBADMSG;
        r.devices = calloc(r.ndevices, sizeof(*r.devices));
        r.groups = calloc(r.ngroups + 1, sizeof(*r.groups));
        if (!r.devices || !r.groups) {
                root_fini(&r);
                return -ENOMEM;
        }
        for (uint32_t i = 0; i < r.ndevices; i++, p += ROOT_DEVICE_BYTES) {
                memcpy(r.devices[i].uuid.b, p, 16);
                r.devices[i].nr_zones = get_le32(p + 16);
                r.devices[i].state = get_u8(p + 20);
                r.devices[i].slot = get_u8(p + 21);
                r.devices[i].removing = get_u8(p + 22) & 1;
                r.devices[i].replacing = get_u8(p + 22) >> 1 & 1;
                r.devices[i].replaces = get_u8(p + 23);
                r.devices[i].zone_blocks = get_le64(p + 24);
                r.devices[i].generation = get_le64(p + 32);
                r.devices[i].leaving_blocks = get_le64(p + 40);
                if (r.devices[i].state > ROOT_DEVICE_OUT || r.devices[i].slot > POOL_DEVICE_NONE ||
                    r.devices[i].replaces >= r.ndevices)
                        rc = -EBADMSG;
        }
        for (uint32_t i = 0; i < r.ngroups && rc == 0; i++, p += ROOT_GROUP_BYTES)
                rc = decode_group(p, &r, &r.groups[i]);
        if (rc < 0) {
                root_fini(&r);
                return rc;
        }
        *ret_root = r;
        return 0;
}

void root_fini(struct root *root)
{
        free(root->devices);
        free(root->groups);
        root->devices = NULL;
        root->groups = NULL;
}
