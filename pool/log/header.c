/* Encoding and decoding of batch headers, see header.h. Every byte may come from a broken disk. */
#include "pool/log/header.h"

#include "pool/address.h"
#include "pool/log/keyed.h"

#include <errno.h>
#include <stdlib.h>

static const uint8_t magic_header[4] = {'Z', 'P', 'B', 'H'};
static const uint8_t magic_trailer[4] = {'Z', 'P', 'B', 'S'};
enum { HEADER_VERSION = 3, SUM_OFFSET = 88 };

uint32_t record_data_blocks(uint8_t type, uint32_t count)
{
        switch (type) {
        case RECORD_WRITE:
        case RECORD_MOVE:
        case RECORD_PAGE:
        case RECORD_INODE:
                return count;
        default:
                return 0;
        }
}

/* Bytes a block has in a record that has data. */
static uint8_t block_bytes(uint8_t type, uint8_t index_bytes)
{
        return (uint8_t)(index_bytes + RECORD_CRC_BYTES + (type == RECORD_MOVE ? 4 : 0));
}

uint32_t record_payload_bytes(uint8_t type, uint8_t index_bytes, uint32_t count)
{
        if (index_bytes > (record_data_blocks(type, 1) ? RECORD_INDEX_MAX : 0))
                return UINT32_MAX;
        switch (type) {
        case RECORD_WRITE:
        case RECORD_PAGE:
        case RECORD_INODE:
        case RECORD_MOVE:
                if (count > UINT32_MAX / 32)
                        return UINT32_MAX;
                return count * block_bytes(type, index_bytes) +
                       (type == RECORD_MOVE ? RECORD_MOVE_LEAD : 0);
        case RECORD_CREATE:
        case RECORD_OWNER:
        case RECORD_SNAPSHOT:
        case RECORD_REVERT:
        case RECORD_RESIZE:
                return count;
        case RECORD_MERGE:
        case RECORD_GONE:
        case RECORD_LIMIT:
        case RECORD_DISCARD:
        case RECORD_DELETE:
                return 0;
        default:
                return UINT32_MAX;
        }
}

void record_from(const struct record *rec, uint32_t i, uint64_t *ret_addr, uint32_t *ret_generation)
{
        const uint8_t *p = rec->blocks + (size_t)i * rec->each + rec->index_bytes;
        *ret_generation = get_le32(rec->payload);
        *ret_addr = addr_make(get_le32(rec->payload + 4), addr_offset(get_le32(p + 4)));
}

static uint64_t sum_of(const uint8_t *buf, uint32_t blocks, const uint8_t *secret)
{
        return keyed_sum(secret, buf, (size_t)blocks * ZP_BLOCK);
}

void header_seal(struct header *h, uint8_t *buf, const uint8_t *secret)
{
        memcpy(buf, magic_header, 4);
        put_le16(buf + 4, HEADER_VERSION);
        put_u8(buf + 6, h->kind);
        put_u8(buf + 7, h->cls);
        put_le32(buf + 8, h->group);
        put_le32(buf + 12, h->generation);
        put_le64(buf + 16, h->seq);
        put_le64(buf + 24, h->prev_seq);
        put_le64(buf + 32, h->prev_sum);
        put_le64(buf + 40, h->mark);
        put_le32(buf + 48, h->offset);
        put_le32(buf + 52, h->header_blocks);
        put_le32(buf + 56, h->data_blocks);
        put_le32(buf + 60, h->record_bytes);
        put_le32(buf + 64, h->nrecords);
        put_u8(buf + 68, h->width);
        put_u8(buf + 69, h->copies);
        put_le16(buf + 70, 0);
        memcpy(buf + 72, h->pool.b, 16);
        memset(buf + 96, 0, HEADER_FIXED - 96);
        for (int i = 0; i < h->width; i++) {
                put_le32(buf + 96 + 8 * i, h->member[i].zone);
                put_le16(buf + 100 + 8 * i, h->member[i].dev);
        }
        put_le64(buf + SUM_OFFSET, 0);
        h->sum = sum_of(buf, h->header_blocks, secret);
        put_le64(buf + SUM_OFFSET, h->sum);
}

int header_decode(const uint8_t *block, struct header *ret_header)
{
        struct header h = {0};

        if (memcmp(block, magic_header, 4))
                return -EBADMSG;
        if (get_le16(block + 4) != HEADER_VERSION)
                return -EPROTONOSUPPORT;
        h.kind = get_u8(block + 6);
        h.cls = get_u8(block + 7);
        if (h.cls >= HEADER_CLASSES)
                return -EBADMSG;
        h.group = get_le32(block + 8);
        h.generation = get_le32(block + 12);
        h.seq = get_le64(block + 16);
        h.prev_seq = get_le64(block + 24);
        h.prev_sum = get_le64(block + 32);
        h.mark = get_le64(block + 40);
        h.offset = get_le32(block + 48);
        h.header_blocks = get_le32(block + 52);
        h.data_blocks = get_le32(block + 56);
        h.record_bytes = get_le32(block + 60);
        h.nrecords = get_le32(block + 64);
        h.width = get_u8(block + 68);
        h.copies = get_u8(block + 69);
        memcpy(h.pool.b, block + 72, 16);
        h.sum = get_le64(block + SUM_OFFSET);
        if (h.kind != HEADER_BATCH && h.kind != HEADER_SUMMARY)
                return -EBADMSG;
        if (!h.width || h.width > h.copies || h.copies > POOL_MAX_GROUP_WIDTH)
                return -EBADMSG;
        for (int i = 0; i < h.width; i++) {
                h.member[i].zone = get_le32(block + 96 + 8 * i);
                h.member[i].dev = get_le16(block + 100 + 8 * i);
        }
        if (!h.header_blocks || h.header_blocks > HEADER_MAX_BLOCKS || h.data_blocks > INT32_MAX)
                return -EBADMSG;
        if ((uint64_t)h.record_bytes + HEADER_FIXED > (uint64_t)h.header_blocks * ZP_BLOCK)
                return -EBADMSG;
        *ret_header = h;
        return 0;
}

static int check_records(const uint8_t *records, uint32_t bytes, uint32_t data_blocks)
{
        struct record rec;
        uint32_t pos = 0, data = 0;
        int rc;

        while ((rc = record_next(records, bytes, &pos, &data, &rec)) > 0)
                ;
        if (rc == 0 && data != data_blocks)
                rc = -EBADMSG;
        return rc;
}

static int check_summary(const struct header *h, const uint8_t *records)
{
        uint32_t pos = 0;

        while (pos < h->record_bytes) {
                struct summary_item it;
                if (h->record_bytes - pos < SUMMARY_ITEM)
                        return -EBADMSG;
                summary_item_decode(records + pos, &it);
                pos += SUMMARY_ITEM;
                if (it.record_bytes > h->record_bytes - pos)
                        return -EBADMSG;
                int rc = check_records(records + pos, it.record_bytes, it.data_blocks);
                if (rc < 0)
                        return rc;
                pos += it.record_bytes;
        }
        return h->data_blocks ? -EBADMSG : 0;
}

int header_verify(const struct header *h, const uint8_t *buf, const uint8_t *secret)
{
        size_t bytes = (size_t)h->header_blocks * ZP_BLOCK;
        uint8_t *copy = malloc(bytes);

        if (!copy)
                return -ENOMEM;
        memcpy(copy, buf, bytes);
        put_le64(copy + SUM_OFFSET, 0);
        uint64_t sum = sum_of(copy, h->header_blocks, secret);
        free(copy);
        if (sum != h->sum)
                return -EBADMSG;
        if (h->kind == HEADER_SUMMARY)
                return check_summary(h, buf + HEADER_FIXED);
        return check_records(buf + HEADER_FIXED, h->record_bytes, h->data_blocks);
}

int record_next(const uint8_t *records, uint32_t bytes, uint32_t *pos, uint32_t *data,
                struct record *ret_rec)
{
        const uint8_t *p = records + *pos;
        uint32_t left = bytes - *pos;

        if (!left)
                return 0;
        if (left < RECORD_FIXED)
                return -EBADMSG;
        struct record rec = {
            .type = get_u8(p),
            .level = get_u8(p + 1),
            .index_bytes = get_u8(p + 2),
            .count = get_le32(p + 4),
            .tree = get_le64(p + 8),
            .index = get_le64(p + 16),
            .payload = p + RECORD_FIXED,
            .data = *data,
        };
        rec.payload_bytes = record_payload_bytes(rec.type, rec.index_bytes, rec.count);
        if (rec.payload_bytes == UINT32_MAX || rec.payload_bytes > left - RECORD_FIXED)
                return -EBADMSG;
        uint32_t blocks = record_data_blocks(rec.type, rec.count);
        if (blocks > (uint32_t)INT32_MAX - *data)
                return -EBADMSG;
        rec.each = block_bytes(rec.type, rec.index_bytes);
        rec.blocks = rec.payload + (rec.type == RECORD_MOVE ? RECORD_MOVE_LEAD : 0);
        *pos += RECORD_FIXED + rec.payload_bytes;
        *data += blocks;
        *ret_rec = rec;
        return 1;
}

void summary_item_encode(const struct summary_item *it, uint8_t *buf)
{
        put_le64(buf, it->seq);
        put_le64(buf + 8, it->mark);
        put_le32(buf + 16, it->offset);
        put_le32(buf + 20, it->header_blocks);
        put_le32(buf + 24, it->data_blocks);
        put_le32(buf + 28, it->record_bytes);
}

void summary_item_decode(const uint8_t *buf, struct summary_item *ret_it)
{
        ret_it->seq = get_le64(buf);
        ret_it->mark = get_le64(buf + 8);
        ret_it->offset = get_le32(buf + 16);
        ret_it->header_blocks = get_le32(buf + 20);
        ret_it->data_blocks = get_le32(buf + 24);
        ret_it->record_bytes = get_le32(buf + 28);
}

void summary_trailer_encode(const struct header *h, uint8_t *last_block, const uint8_t *secret)
{
        uint8_t *p = last_block + ZP_BLOCK - SUMMARY_TRAILER;

        memcpy(p, magic_trailer, 4);
        put_le32(p + 4, h->group);
        put_le32(p + 8, h->generation);
        put_le32(p + 12, h->header_blocks);
        put_le64(p + 16, 0);
        put_le64(p + 24, keyed_sum(secret, p, 24));
}

uint32_t summary_trailer_decode(const uint8_t *last_block, uint32_t group, uint32_t generation,
                                const uint8_t *secret)
{
        const uint8_t *p = last_block + ZP_BLOCK - SUMMARY_TRAILER;

        if (memcmp(p, magic_trailer, 4) || get_le32(p + 4) != group ||
            get_le32(p + 8) != generation || get_le64(p + 24) != keyed_sum(secret, p, 24))
                return 0;
        return get_le32(p + 12);
}
