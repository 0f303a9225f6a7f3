/* Encoding and decoding of saved controllers, see state.h and vendor_state.h.
 *
 * Decoding trusts nothing: every size is checked before it is used, both halves of the 128-bit
 * ones, and the structure must be exactly as long as its header says.
 */
#include "nvme/state.h"

#include "base/crc32c.h"
#include "base/le.h"

#include <errno.h>

const struct uuid nvm_vendor_state_uuid = {{0xec, 0xe8, 0x73, 0x59, 0xb5, 0x31, 0x43, 0xe8, 0xbd,
                                            0xc1, 0xed, 0x65, 0x1a, 0x15, 0x9a, 0x04}};

/* ---- vendor part ---- */

static uint32_t vendor_crc(const uint8_t *buf)
{
        static const uint8_t zero[4];
        uint32_t crc = crc32c(0, buf, 4);
        crc = crc32c(crc, zero, 4);
        return crc32c(crc, buf + 8, VENDOR_STATE_SIZE - 8);
}

void vendor_state_encode(const struct vendor_state *v, uint8_t buf[VENDOR_STATE_SIZE])
{
        memset(buf, 0, VENDOR_STATE_SIZE);
        put_le16(buf, VENDOR_STATE_VERSION);
        put_le16(buf + 2, VENDOR_STATE_SIZE);
        memcpy(buf + 8, v->volume.b, 16);
        put_le64(buf + 24, v->size_bytes);
        put_le64(buf + 32, v->features);
        put_le16(buf + 40, v->queues);
        put_le16(buf + 42, v->sector_bytes);
        put_le32(buf + 44, v->block_bytes);
        put_le32(buf + 4, vendor_crc(buf));
}

int vendor_state_decode(const uint8_t *buf, size_t len, struct vendor_state *ret_state,
                        struct err *err)
{
        if (len < 8)
                return err_set(err, EBADMSG, "the vendor state has %zu bytes", len);
        if (get_le16(buf) != VENDOR_STATE_VERSION)
                return err_set(err, EPROTONOSUPPORT,
                               "the vendor state is of version %u, this side knows %d",
                               get_le16(buf), VENDOR_STATE_VERSION);
        if (len != VENDOR_STATE_SIZE || get_le16(buf + 2) != VENDOR_STATE_SIZE)
                return err_set(err, EBADMSG, "the vendor state has %zu bytes in place of %d", len,
                               VENDOR_STATE_SIZE);
        if (get_le32(buf + 4) != vendor_crc(buf))
                return err_set(err, EBADMSG, "the vendor state's checksum is wrong");
        memcpy(ret_state->volume.b, buf + 8, 16);
        ret_state->size_bytes = get_le64(buf + 24);
        ret_state->features = get_le64(buf + 32);
        ret_state->queues = get_le16(buf + 40);
        ret_state->sector_bytes = get_le16(buf + 42);
        ret_state->block_bytes = get_le32(buf + 44);
        return 0;
}

/* ---- the whole ---- */

size_t nvm_state_encode(const struct nvm_state *state, uint8_t buf[NVM_STATE_MAX])
{
        size_t at = NVM_STATE_HEADER;

        memset(buf, 0, NVM_STATE_MAX);
        put_le16(buf, NVM_STATE_VERSION);
        buf[2] = state->suspended;
        if (state->has_nvme) { /* version 0, no queues: all zero */
                put_le64(buf + 16, NVM_STATE_NVME_SIZE / 4);
                at += NVM_STATE_NVME_SIZE;
        }
        if (state->has_vendor) {
                put_le64(buf + 32, VENDOR_STATE_SIZE / 4);
                vendor_state_encode(&state->vendor, buf + at);
                at += VENDOR_STATE_SIZE;
        }
        return at;
}

int nvm_state_size(const uint8_t *header, size_t *ret_size, struct err *err)
{
        uint64_t nvme = get_le64(header + 16), vendor = get_le64(header + 32);

        if (get_le64(header + 24) || get_le64(header + 40) || nvme > NVM_STATE_CAP / 4 ||
            vendor > NVM_STATE_CAP / 4 || NVM_STATE_HEADER + 4 * (nvme + vendor) > NVM_STATE_CAP)
                return err_set(err, EFBIG, "the controller state is larger than %d bytes",
                               NVM_STATE_CAP);
        *ret_size = (size_t)(NVM_STATE_HEADER + 4 * (nvme + vendor));
        return 0;
}

static int decode_nvme(const uint8_t *p, size_t len, struct err *err)
{
        if (len < NVM_STATE_NVME_SIZE)
                return err_set(err, EBADMSG, "the NVMe controller state has %zu bytes", len);
        if (get_le16(p) != NVM_STATE_VERSION)
                return err_set(err, EPROTONOSUPPORT, "the NVMe controller state is of version %u",
                               get_le16(p));
        size_t queues = (size_t)get_le16(p + 2) + get_le16(p + 4);
        if (len != NVM_STATE_NVME_SIZE + 24 * queues)
                return err_set(err, EBADMSG,
                               "the NVMe controller state of %zu bytes names %zu queues", len,
                               queues);
        if (queues)
                return err_set(err, ENOTSUP,
                               "the controller state has %zu NVMe queues, a virtio disk has none",
                               queues);
        return 0;
}

int nvm_state_decode(const uint8_t *buf, size_t len, struct nvm_state *ret_state, struct err *err)
{
        struct nvm_state st = {0};
        size_t size;
        int rc;

        if (len < NVM_STATE_HEADER)
                return err_set(err, EBADMSG, "the controller state has %zu bytes", len);
        if (get_le16(buf) != NVM_STATE_VERSION)
                return err_set(err, EPROTONOSUPPORT, "the controller state is of version %u",
                               get_le16(buf));
        rc = nvm_state_size(buf, &size, err);
        if (rc < 0)
                return rc;
        if (size != len)
                return err_set(err, EBADMSG, "the controller state has %zu bytes in place of %zu",
                               len, size);
        size_t nvme = 4 * (size_t)get_le64(buf + 16);
        st.suspended = buf[2] & 1;
        st.has_nvme = nvme != 0;
        st.has_vendor = size != NVM_STATE_HEADER + nvme;
        if (st.has_nvme)
                rc = decode_nvme(buf + NVM_STATE_HEADER, nvme, err);
        if (rc == 0 && st.has_vendor)
                rc = vendor_state_decode(buf + NVM_STATE_HEADER + nvme,
                                         size - NVM_STATE_HEADER - nvme, &st.vendor, err);
        if (rc == 0)
                *ret_state = st;
        return rc;
}
