/* Identify and Get Log Page: what the subsystem says of itself.
 *
 * Every structure is 4096 bytes of zeroes with the fields below. Offsets are those of Base 2.3 and
 * NVM Command Set 1.2. A migratable controller sees its own namespace and no migration capability;
 * it reports HMPRE 0, as every controller beside an MMC must.
 */
#include "internal.h"
#include "nvme/state.h"

#include <stdio.h>

enum identify_cns {
        CNS_NAMESPACE = 0x00,
        CNS_CONTROLLER = 0x01,
        CNS_ACTIVE_NSIDS = 0x02,
        CNS_NAMESPACE_IDS = 0x03,
        CNS_NAMESPACE_CSI = 0x05,
        CNS_CONTROLLER_CSI = 0x06,
        CNS_NAMESPACE_CONTROLLERS = 0x12,
        CNS_CONTROLLERS = 0x13,
        CNS_SECONDARY_CONTROLLERS = 0x15,
        CNS_STATE_FORMATS = 0x20,
};

enum {
        OACS_HMLMS = 1 << 11,
        TRATTR_TUDCS = 1 << 1,
        ONCS_DSM = 1 << 2,
        ONCS_WRITE_ZEROES = 1 << 3,
        AOCS_RALBAS = 1 << 0,
        LBADS = 12, /* 2^12 bytes an LBA */
        MAX_NSIDS = 1024,
};

_Static_assert(1 << LBADS == NVM_BLOCK, "the LBA format is the block");

/* The namespace that controller cntlid sees under nsid; NULL: inactive there. */
static struct nvm_controller *visible(struct nvm_subsystem *s, uint16_t cntlid, uint32_t nsid)
{
        struct nvm_controller *c = nvm_controller_by_nsid(s, nsid);
        return c && (cntlid == NVM_MMC_CNTLID || c->cntlid == cntlid) ? c : NULL;
}

static void put_text(uint8_t *p, size_t len, const char *text)
{
        size_t n = strlen(text);
        memset(p, ' ', len);
        memcpy(p, text, MIN(n, len));
}

/* ---- structures ---- */

static void fill_controller(const struct nvm_subsystem *s, uint16_t cntlid, uint8_t *p)
{
        char text[UUID_TEXT_LEN], serial[21];
        bool mmc = cntlid == NVM_MMC_CNTLID;

        uuid_format(&s->host_uuid, text);
        snprintf(serial, sizeof(serial), "%.8s%.4s%.4s%.4s", text, text + 9, text + 14, text + 19);
        put_text(p + 4, 20, serial);
        put_text(p + 24, 40, "zonepool software NVM subsystem");
        put_text(p + 64, 8, ZONEPOOL_VERSION);
        p[76] = 1 << 1; /* CMIC: more than one controller */
        p[77] = NVM_MDTS;
        put_le16(p + 78, cntlid);
        put_le32(p + 80, 0x00020300); /* VER */
        p[111] = 1; /* CNTRLTYPE: I/O controller */
        put_le16(p + 256, mmc ? OACS_HMLMS : 0);
        p[259] = NVM_MAX_AER - 1; /* AERL */
        p[512] = 0x66; /* SQES, CQES: 64 and 16 bytes */
        p[513] = 0x44;
        put_le32(p + 516, NVM_LAST_NSID); /* NN */
        put_le16(p + 520, ONCS_DSM | ONCS_WRITE_ZEROES);
        p[525] = 1; /* VWC: a flush means something */
        if (mmc) {
                p[576] = TRATTR_TUDCS;
                put_le16(p + 578, NVM_MAX_CONTROLLERS); /* MCUDMQ */
                put_le16(p + 580, NVM_MAX_CONTROLLERS); /* MNSUDMQ */
                put_le16(p + 582, 1); /* MCMR: one range a queue */
                put_le16(p + 584, NVM_MAX_CONTROLLERS); /* NMCMR */
        }
        snprintf((char *)p + 768, 256, "nqn.2014-08.org.nvmexpress:uuid:%s", text);
}

static void fill_namespace(const struct nvm_controller *c, uint8_t *p)
{
        uint64_t nsze = nvm_nsze(c);
        put_le64(p, nsze);
        put_le64(p + 8, nsze);
        put_le64(p + 16, nsze);
        p[30] = 1; /* NMIC: may be attached to several controllers */
        p[33] = 1 | 1 << 3; /* DLFEAT: deallocated reads as zeroes; Write Zeroes deallocates */
        memcpy(p + 104, c->uuid.b, sizeof(c->uuid.b)); /* NGUID */
        p[130] = LBADS; /* LBAF0 */
}

static void fill_nsids(struct nvm_subsystem *s, uint16_t cntlid, uint32_t above, uint8_t *p)
{
        const struct nvm_controller *c;
        unsigned n = 0;
        list_for_each (c, &s->controllers, node)
                if (c->nsid > above && n < MAX_NSIDS && visible(s, cntlid, c->nsid))
                        put_le32(p + 4 * n++, c->nsid);
}

static void fill_namespace_ids(const struct nvm_controller *c, uint8_t *p)
{
        p[0] = 3; /* a UUID */
        p[1] = 16;
        memcpy(p + 4, c->uuid.b, 16);
        p[20] = 4; /* command set: 0, NVM */
        p[21] = 1;
}

/* only: of this namespace, NULL: of all. */
static void fill_controllers(struct nvm_subsystem *s, const struct nvm_controller *only,
                             uint16_t from, uint8_t *p)
{
        const struct nvm_controller *c;
        uint16_t n = 0;

        if (from <= NVM_MMC_CNTLID)
                put_le16(p + 2 * ++n, NVM_MMC_CNTLID);
        list_for_each (c, &s->controllers, node)
                if (c->cntlid >= from && (!only || c == only))
                        put_le16(p + 2 * ++n, c->cntlid);
        put_le16(p, n);
}

_Static_assert(2 * (NVM_MAX_CONTROLLERS + 2) <= NVME_IDENTIFY_SIZE, "controller list fits");

static void fill_state_formats(uint8_t *p)
{
        p[0] = 1; /* one version, 0 */
        p[1] = 1; /* one UUID */
        put_le16(p + 2, NVM_STATE_VERSION);
        memcpy(p + 4, nvm_vendor_state_uuid.b, 16);
}

/* ---- the command ---- */

/* Structures of one namespace. */
static uint16_t identify_namespace(struct nvm_subsystem *s, uint16_t cntlid, uint32_t cns,
                                   uint32_t nsid, uint8_t *p)
{
        if (nsid == 0 || nsid > NVM_LAST_NSID)
                return NVME_SC_INVALID_NAMESPACE;
        const struct nvm_controller *c = visible(s, cntlid, nsid);
        if (cns == CNS_NAMESPACE) { /* inactive: all zeroes */
                if (c)
                        fill_namespace(c, p);
                return NVME_SC_SUCCESS;
        }
        if (!c)
                return NVME_SC_INVALID_FIELD;
        if (cns == CNS_NAMESPACE_IDS)
                fill_namespace_ids(c, p);
        else
                put_le32(p + 292, 1); /* TLBAAG: tracked by single LBAs */
        return NVME_SC_SUCCESS;
}

uint16_t nvm_cmd_identify(struct nvm_subsystem *s, uint16_t cntlid, struct nvm_request *req)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10), dw11 = nvme_sqe_cdw(req->sqe, 11);
        uint32_t cns = nvme_bits(dw10, 7, 0), nsid = nvme_sqe_nsid(req->sqe);
        uint16_t from = (uint16_t)nvme_bits(dw10, 31, 16);
        bool mmc = cntlid == NVM_MMC_CNTLID;
        uint8_t *p = req->data;

        if (!p || req->data_len < NVME_IDENTIFY_SIZE)
                return NVME_SC_INVALID_FIELD;
        memset(p, 0, NVME_IDENTIFY_SIZE);
        switch (cns) {
        case CNS_NAMESPACE_CSI:
        case CNS_CONTROLLER_CSI:
                if (nvme_bits(dw11, 31, 24) != 0) /* only the NVM command set */
                        return NVME_SC_INVALID_FIELD;
                if (cns == CNS_NAMESPACE_CSI)
                        return identify_namespace(s, cntlid, cns, nsid, p);
                put_le16(p + 18, mmc ? AOCS_RALBAS : 0);
                return NVME_SC_SUCCESS; /* LBAMQF at 24: entry type 0 */
        case CNS_NAMESPACE:
        case CNS_NAMESPACE_IDS:
                return identify_namespace(s, cntlid, cns, nsid, p);
        case CNS_CONTROLLER:
                fill_controller(s, cntlid, p);
                return NVME_SC_SUCCESS;
        case CNS_ACTIVE_NSIDS:
                if (nsid >= 0xfffffffe)
                        return NVME_SC_INVALID_NAMESPACE;
                fill_nsids(s, cntlid, nsid, p);
                return NVME_SC_SUCCESS;
        case CNS_NAMESPACE_CONTROLLERS:
                if (!mmc)
                        return NVME_SC_INVALID_FIELD;
                if (!nvm_controller_by_nsid(s, nsid))
                        return NVME_SC_INVALID_NAMESPACE;
                fill_controllers(s, nvm_controller_by_nsid(s, nsid), from, p);
                return NVME_SC_SUCCESS;
        case CNS_CONTROLLERS:
                if (!mmc)
                        return NVME_SC_INVALID_FIELD;
                fill_controllers(s, NULL, from, p);
                return NVME_SC_SUCCESS;
        case CNS_SECONDARY_CONTROLLERS: /* none: MCs are no virtual functions */
                return mmc ? NVME_SC_SUCCESS : NVME_SC_INVALID_FIELD;
        case CNS_STATE_FORMATS:
                if (!mmc)
                        return NVME_SC_INVALID_FIELD;
                fill_state_formats(p);
                return NVME_SC_SUCCESS;
        default:
                return NVME_SC_INVALID_FIELD;
        }
}

/* ---- Get Log Page ---- */

enum { LID_EFFECTS = 0x05, LID_FEATURES = 0x12, CSUPP = 1, LOG_SIZE = 4096 };

/* Commands Supported and Effects: a dword an opcode, admin first, I/O from 1024. */
static void fill_effects(uint8_t *p)
{
        static const uint8_t admin[] = {
            NVME_ADMIN_GET_LOG_PAGE,   NVME_ADMIN_IDENTIFY,          NVME_ADMIN_SET_FEATURES,
            NVME_ADMIN_GET_FEATURES,   NVME_ADMIN_ASYNC_EVENT,       NVME_ADMIN_TRACK_SEND,
            NVME_ADMIN_MIGRATION_SEND, NVME_ADMIN_MIGRATION_RECEIVE, NVME_ADMIN_DATA_QUEUE,
            NVME_ADMIN_GET_LBA_STATUS,
        };
        static const uint8_t io[] = {NVME_IO_FLUSH, NVME_IO_WRITE, NVME_IO_READ,
                                     NVME_IO_WRITE_ZEROES, NVME_IO_DSM};
        static const uint8_t changing[] = {NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM};

        for (size_t i = 0; i < ARRAY_SIZE(admin); i++)
                put_le32(p + 4 * admin[i], CSUPP);
        for (size_t i = 0; i < ARRAY_SIZE(io); i++)
                put_le32(p + 1024 + 4 * io[i], CSUPP);
        for (size_t i = 0; i < ARRAY_SIZE(changing); i++)
                p[1024 + 4 * changing[i]] |= 1 << 1; /* LBCC: changes blocks */
}

uint16_t nvm_cmd_log_page(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10);
        uint64_t dwords = (uint64_t)nvme_bits(dw10, 31, 16) |
                          (uint64_t)nvme_bits(nvme_sqe_cdw(req->sqe, 11), 15, 0) << 16;
        uint64_t bytes = (dwords + 1) * 4, offset = nvme_sqe_cdw64(req->sqe, 12);
        uint8_t page[LOG_SIZE] = {0};

        if (nvme_bits(dw10, 7, 0) == LID_EFFECTS)
                fill_effects(page);
        else if (nvme_bits(dw10, 7, 0) == LID_FEATURES) /* supported; scope: a data queue */
                put_le32(page + 4 * NVME_FID_DATA_QUEUE, 1 | 1 << (20 + 6));
        else
                return NVME_SC_INVALID_LOG_PAGE;
        if (!req->data || bytes > req->data_len || offset % 4 || offset >= LOG_SIZE)
                return NVME_SC_INVALID_FIELD;
        memset(req->data, 0, (size_t)bytes);
        memcpy(req->data, page + offset, (size_t)MIN(bytes, LOG_SIZE - offset));
        return NVME_SC_SUCCESS;
}
