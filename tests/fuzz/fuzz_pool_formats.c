/* What the pool reads from disk: batch headers and summaries, roots, inodes. The first byte says
 * which. Checksums are made right, so that what stands behind them is reached. What is accepted
 * must be consistent: every record and every address inside its bounds. */
#include "base/le.h"
#include "pool/address.h"
#include "pool/log/header.h"
#include "pool/root/root.h"
#include "pool/table/catalog.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BLOCKS = 4 };

static const uint8_t secret[KEYED_SECRET_BYTES] = {7};

static void must(bool holds)
{
        if (!holds)
                abort();
}

static uint64_t walk_records(const uint8_t *records, uint32_t bytes)
{
        struct record rec;
        uint32_t pos = 0, data = 0, gen;
        uint64_t from, sum = 0;

        while (record_next(records, bytes, &pos, &data, &rec) > 0) {
                for (uint32_t i = 0; i < record_data_blocks(rec.type, rec.count); i++) {
                        sum += record_crc(&rec, i) + record_index(&rec, i);
                        if (rec.type != RECORD_MOVE)
                                continue;
                        record_from(&rec, i, &from, &gen);
                        must(addr_make(addr_group(from), addr_offset(from)) == from);
                        sum += gen;
                }
                for (uint32_t i = 0; i < rec.payload_bytes; i++)
                        sum += rec.payload[i];
        }
        must(pos <= bytes);
        return sum;
}

static void try_header(const uint8_t *data, size_t size)
{
        struct header h;
        uint8_t *buf = calloc(MAX_BLOCKS, ZP_BLOCK);

        memcpy(buf, data, size < MAX_BLOCKS * ZP_BLOCK ? size : MAX_BLOCKS * ZP_BLOCK);
        if (header_decode(buf, &h) == 0 && h.header_blocks <= MAX_BLOCKS) {
                header_seal(&h, buf, secret);
                if (header_verify(&h, buf, secret) == 0 && h.kind == HEADER_BATCH) {
                        walk_records(buf + HEADER_FIXED, h.record_bytes);
                } else if (header_verify(&h, buf, secret) == 0) {
                        for (uint32_t pos = 0; pos < h.record_bytes;) {
                                struct summary_item it;
                                must(h.record_bytes - pos >= SUMMARY_ITEM);
                                summary_item_decode(buf + HEADER_FIXED + pos, &it);
                                pos += SUMMARY_ITEM;
                                must(it.record_bytes <= h.record_bytes - pos);
                                walk_records(buf + HEADER_FIXED + pos, it.record_bytes);
                                pos += it.record_bytes;
                        }
                }
                summary_trailer_decode(buf, h.group, h.generation, secret);
        }
        free(buf);
}

static void try_root(const uint8_t *data, size_t size)
{
        struct root fixed, r;
        uint8_t *buf = calloc(MAX_BLOCKS, ZP_BLOCK);

        memcpy(buf, data, size < MAX_BLOCKS * ZP_BLOCK ? size : MAX_BLOCKS * ZP_BLOCK);
        if (root_decode_fixed(buf, &fixed) == 0 && fixed.blocks <= MAX_BLOCKS) {
                root_set_device(buf, fixed.blocks, &fixed.device, fixed.index);
                if (root_decode(buf, fixed.blocks, &r) == 0) {
                        for (uint32_t i = 0; i < r.ngroups; i++) {
                                const struct root_group *g = &r.groups[i];
                                must(g->wp <= g->cap && g->width >= 1);
                                for (int m = 0; m < g->width; m++)
                                        must(g->member[m].dev < r.ndevices &&
                                             g->member[m].zone <
                                                 r.devices[g->member[m].dev].nr_zones);
                        }
                        must(strnlen(r.name, sizeof(r.name)) <= POOL_NAME_MAX);
                        root_fini(&r);
                }
        }
        free(buf);
}

static void try_inode(const uint8_t *data, size_t size)
{
        struct volume *vol = calloc(1, sizeof(*vol));
        struct tree *tree = calloc(1, sizeof(*tree));
        uint8_t *copy = malloc(size + 1); /* the exact size: a sanitizer sees what leads outside */

        memcpy(copy, data, size);
        vol->tree = tree;
        if (inode_decode(copy, (uint32_t)size, vol) == 0) {
                must(volume_name_valid(vol->name) || (vol->doomed && !vol->name[0]));
                must(vol->owner_len <= VOLUME_OWNER_MAX && (vol->frozen || !vol->doomed));
                must(vol->size_bytes <= VOLUME_MAX_BYTES && tree->height <= MAX_HEIGHT);
                must(tree->parent < tree->id);
        }
        free(copy);
        free(tree);
        free(vol);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!size || size > MAX_BLOCKS * ZP_BLOCK)
                return 0;
        if (data[0] == 'R')
                try_root(data + 1, size - 1);
        else if (data[0] == 'I')
                try_inode(data + 1, size - 1);
        else
                try_header(data + 1, size - 1);
        return 0;
}
