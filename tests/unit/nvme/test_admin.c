/* Admin and I/O commands: one row for each way to be refused, exact structures, LBA status. */
#include "t_nvme.h"

#include <errno.h>

static struct t_nvme t;
static uint8_t page[NVM_MAX_TRANSFER];

/* The first controllers of a subsystem: CNTLID 2 with NSID 1, CNTLID 3 with NSID 2; the first queue
 * is 1. */
enum { C0 = 2, C1 = 3, NS0 = 1, NS1 = 2, CDQ0 = 1, NOBODY = 77 };

enum setup {
        PLAIN,
        QUEUE, /* a queue of 8 slots for C0 */
        LOGGING, /* ... and logging */
        SUSPENDED, /* ... and suspended */
        CLOGGED, /* a queue of 4 slots whose slots are taken, not logging */
        FULL, /* a queue of 4 slots with three entries, not logging */
        HALF_STATE, /* C0 suspended, the first part of a state staged */
};

static void prepare(enum setup setup)
{
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL_FATAL(nvc_cntlid(t.c[0]), C0);
        CU_ASSERT_EQUAL_FATAL(nvc_cntlid(t.c[1]), C1);
        if (setup == PLAIN)
                return;
        CU_ASSERT_EQUAL(t_cdq_create(&t, 0, setup == CLOGGED || setup == FULL ? 4 : 8), 0);
        CU_ASSERT_EQUAL_FATAL(t.cdqid, CDQ0);
        if (setup != QUEUE && setup != HALF_STATE)
                CU_ASSERT_EQUAL(t_track(&t, CDQ0, 1), 0);
        if (setup == SUSPENDED || setup == HALF_STATE)
                CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        if (setup == CLOGGED || setup == FULL) {
                for (uint64_t b = 0; b < (setup == FULL ? 1 : 9); b += 2)
                        t_front_io(&t, 0, VOLUME_WRITE, b, 1);
                CU_ASSERT_EQUAL(t_track(&t, CDQ0, 0), 0);
        }
        if (setup == HALF_STATE)
                CU_ASSERT_EQUAL(t_admin(&t, 0x41, 0,
                                        (uint32_t[6]){2 | 1 << 16, C0 | 1 << 16, 0, 0, 0, 1}, page,
                                        4, NULL),
                                0);
}

struct row {
        const char *what;
        enum setup setup;
        uint8_t opcode;
        uint32_t nsid;
        uint32_t cdw[6];
        uint64_t prp1; /* relative to the ring; for 45h */
        size_t len; /* of data; 0: none */
        uint16_t status;
};

#define CREATE(cntlid, dwords)                                                                     \
        {                                                                                          \
                0, 1 | (uint32_t)(cntlid) << 16, dwords                                            \
        }

static const struct row rows[] = {
    {"unknown opcode", PLAIN, 0xc0, .status = 0x001},
    {"track receive: not advertised", PLAIN, 0x3e, .status = 0x001},
    {"sanitize: not supported", PLAIN, 0x84, .status = 0x001},
    {"sanitize while one is suspended", SUSPENDED, 0x84, .status = 0x139},
    /* data queue */
    {"create", PLAIN, 0x45, 0, CREATE(C1, 64)},
    {"create, second controller beside the first", QUEUE, 0x45, 0, CREATE(C1, 64)},
    {"create: reserved operation", PLAIN, 0x45, 0, {2}, .status = 0x002},
    {"create: reserved queue type", PLAIN, 0x45, 0, {1 << 16, 1 | C0 << 16, 64}, .status = 0x002},
    {"create: unknown controller", PLAIN, 0x45, 0, CREATE(NOBODY, 64), .status = 0x11f},
    {"create: of the MMC", PLAIN, 0x45, 0, CREATE(1, 64), .status = 0x11f},
    {"create: PRP offset", PLAIN, 0x45, 0, CREATE(C0, 64), 8, .status = 0x013},
    {"create: PRP list", PLAIN, 0x45, 0, {0, C0 << 16, 64}, .status = 0x002},
    {"create: no whole entries", PLAIN, 0x45, 0, CREATE(C0, 63), .status = 0x002},
    {"create: no slots", PLAIN, 0x45, 0, CREATE(C0, 0), .status = 0x002},
    {"create: three slots", PLAIN, 0x45, 0, CREATE(C0, 24), .status = 0x002},
    {"create: exactly the mapped memory", PLAIN, 0x45, 0, CREATE(C0, T_RING_MEMORY / 4)},
    {"create: one entry beyond it", PLAIN, 0x45, 0, CREATE(C0, T_RING_MEMORY / 4 + 8),
     .status = 0x002},
    {"create: beyond it by address", PLAIN, 0x45, 0, CREATE(C0, 64), T_RING_MEMORY,
     .status = 0x002},
    {"create: huge", PLAIN, 0x45, 0, CREATE(C0, 0xfffffff8), .status = 0x002},
    {"create: has one already", QUEUE, 0x45, 0, CREATE(C0, 64), .status = 0x002},
    {"delete", QUEUE, 0x45, 0, {1, CDQ0}},
    {"delete while logging", LOGGING, 0x45, 0, {1, CDQ0}},
    {"delete: unknown", QUEUE, 0x45, 0, {1, NOBODY}, .status = 0x137},
    {"delete: reserved bits", QUEUE, 0x45, 0, {1, CDQ0 | 1 << 16}, .status = 0x002},
    /* track send */
    {"start", QUEUE, 0x3d, 0, {1 << 16, CDQ0}},
    {"start: unknown queue", QUEUE, 0x3d, 0, {1 << 16, NOBODY}, .status = 0x137},
    {"start: logs already", LOGGING, 0x3d, 0, {1 << 16, CDQ0}, .status = 0x137},
    {"start: suspended", SUSPENDED, 0x3d, 0, {1 << 16, CDQ0}, .status = 0x139},
    {"start: queue full", CLOGGED, 0x3d, 0, {1 << 16, CDQ0}, .status = 0x13b},
    {"stop", LOGGING, 0x3d, 0, {0, CDQ0}},
    {"stop: not logging", QUEUE, 0x3d, 0, {0, CDQ0}},
    {"stop: suspended", SUSPENDED, 0x3d, 0, {0, CDQ0}, .status = 0x139},
    {"stop: unknown queue", QUEUE, 0x3d, 0, {0, NOBODY}, .status = 0x137},
    {"track: reserved action", QUEUE, 0x3d, 0, {2 << 16, CDQ0}, .status = 0x002},
    {"track: reserved bits", QUEUE, 0x3d, 0, {1 << 16 | 1 << 20, CDQ0}, .status = 0x002},
    {"track memory: not advertised", QUEUE, 0x3d, 0, {1 | 1 << 16, C0}, .len = 20, .status = 0x002},
    /* feature 21h */
    {"set head", QUEUE, 0x09, 0, {0x21, CDQ0, 0}},
    {"set head: empty queue, other head", QUEUE, 0x09, 0, {0x21, CDQ0, 1}, .status = 0x002},
    {"set head: trigger outside", QUEUE, 0x09, 0, {0x21, CDQ0 | 1u << 31, 0, 8}, .status = 0x002},
    {"set head: trigger outside, disabled", QUEUE, 0x09, 0, {0x21, CDQ0, 0, 8}},
    {"set head: unknown queue", QUEUE, 0x09, 0, {0x21, NOBODY}, .status = 0x137},
    {"set head: saved", QUEUE, 0x09, 0, {0x21 | 1u << 31, CDQ0}, .status = 0x002},
    {"set head while suspended", SUSPENDED, 0x09, 0, {0x21, CDQ0, 2}},
    {"get head", QUEUE, 0x0a, 0, {0x21, CDQ0}, .len = 512},
    {"get head: short buffer", QUEUE, 0x0a, 0, {0x21, CDQ0}, .len = 511, .status = 0x002},
    {"get head: unknown queue", QUEUE, 0x0a, 0, {0x21, NOBODY}, .len = 512, .status = 0x137},
    {"get head: default value", QUEUE, 0x0a, 0, {0x21 | 1 << 8, CDQ0}, .len = 512, .status = 0x002},
    {"another feature", PLAIN, 0x0a, 0, {0x07}, .len = 512, .status = 0x002},
    /* migration send */
    {"suspend", PLAIN, 0x41, 0, {0, C0 | 1 << 16}},
    {"suspend again", SUSPENDED, 0x41, 0, {0, C0 | 1 << 16}},
    {"suspend: notification", PLAIN, 0x41, 0, {0, C0}},
    {"suspend: reserved type", PLAIN, 0x41, 0, {0, C0 | 2 << 16}, .status = 0x002},
    {"suspend: unknown controller", PLAIN, 0x41, 0, {0, NOBODY | 1 << 16}, .status = 0x11f},
    {"suspend: the MMC", PLAIN, 0x41, 0, {0, 1 | 1 << 16}, .status = 0x11f},
    {"suspend: delete a full queue", FULL, 0x41, 0, {0, C0 | 1u << 16 | 1u << 31}, .status = 0x13b},
    {"resume", SUSPENDED, 0x41, 0, {1, C0}},
    {"resume: runs", PLAIN, 0x41, 0, {1, C0}, .status = 0x13a},
    {"resume: unknown controller", PLAIN, 0x41, 0, {1, NOBODY}, .status = 0x11f},
    {"resume: state half set", HALF_STATE, 0x41, 0, {1, C0}, .status = 0x00c},
    {"migration send: reserved operation", PLAIN, 0x41, 0, {3, C0}, .status = 0x002},
    /* migration receive */
    {"get state", SUSPENDED, 0x42, 0, {1 << 16, C0 | 1 << 16, 0, 0, 0, 27}, .len = 112},
    {"get state while running", PLAIN, 0x42, 0, {1 << 16, C0 | 1 << 16, 0, 0, 0, 27}, .len = 112},
    {"get state: unknown controller",
     PLAIN,
     0x42,
     0,
     {1 << 16, NOBODY, 0, 0, 0, 11},
     .len = 48,
     .status = 0x11f},
    {"get state: version index",
     PLAIN,
     0x42,
     0,
     {2 << 16, C0, 0, 0, 0, 11},
     .len = 48,
     .status = 0x002},
    {"get state: UUID index",
     PLAIN,
     0x42,
     0,
     {1 << 16, C0 | 2 << 16, 0, 0, 0, 11},
     .len = 48,
     .status = 0x002},
    {"get state: odd offset",
     PLAIN,
     0x42,
     0,
     {1 << 16, C0, 2, 0, 0, 0},
     .len = 48,
     .status = 0x002},
    {"get state: offset beyond",
     PLAIN,
     0x42,
     0,
     {1 << 16, C0, 56, 0, 0, 0},
     .len = 48,
     .status = 0x002},
    {"get state: far offset",
     PLAIN,
     0x42,
     0,
     {1 << 16, C0, 0, 1, 0, 0},
     .len = 48,
     .status = 0x002},
    {"get state: short buffer",
     PLAIN,
     0x42,
     0,
     {1 << 16, C0, 0, 0, 0, 12},
     .len = 48,
     .status = 0x002},
    {"get state: largest length",
     PLAIN,
     0x42,
     0,
     {1 << 16, C0, 0, 0, 0, 0xffffffff},
     .len = 48,
     .status = 0x002},
    {"get state: reserved operation",
     PLAIN,
     0x42,
     0,
     {1 | 1 << 16, C0, 0, 0, 0, 11},
     .len = 48,
     .status = 0x002},
    /* LBA status */
    {"LBA status", PLAIN, 0x86, NS0, {0, 0, 1023, 2u << 24}, .len = 4096},
    {"LBA status: last block", PLAIN, 0x86, NS0, {255, 0, 1023, 2u << 24 | 1}, .len = 4096},
    {"LBA status: beyond the end",
     PLAIN,
     0x86,
     NS0,
     {256, 0, 1023, 2u << 24},
     .len = 4096,
     .status = 0x080},
    {"LBA status: too long",
     PLAIN,
     0x86,
     NS0,
     {255, 0, 1023, 2u << 24 | 2},
     .len = 4096,
     .status = 0x080},
    {"LBA status: other action",
     PLAIN,
     0x86,
     NS0,
     {0, 0, 1023, 0x10u << 24},
     .len = 4096,
     .status = 0x002},
    {"LBA status: no namespace",
     PLAIN,
     0x86,
     NOBODY,
     {0, 0, 1023, 2u << 24},
     .len = 4096,
     .status = 0x00b},
    {"LBA status: broadcast",
     PLAIN,
     0x86,
     0xffffffff,
     {0, 0, 1023, 2u << 24},
     .len = 4096,
     .status = 0x00b},
    {"LBA status: short buffer",
     PLAIN,
     0x86,
     NS0,
     {0, 0, 1023, 2u << 24},
     .len = 4092,
     .status = 0x002},
    {"LBA status: no room for an entry",
     PLAIN,
     0x86,
     NS0,
     {0, 0, 4, 2u << 24},
     .len = 4096,
     .status = 0x002},
    {"LBA status: largest length",
     PLAIN,
     0x86,
     NS0,
     {0, 0, 0xffffffff, 2u << 24},
     .len = 4096,
     .status = 0x002},
    /* identify, log page */
    {"identify: short buffer", PLAIN, 0x06, 0, {1}, .len = 4095, .status = 0x002},
    {"identify: unknown structure", PLAIN, 0x06, 0, {0x7f}, .len = 4096, .status = 0x002},
    {"identify: other command set", PLAIN, 0x06, NS0, {5, 2u << 24}, .len = 4096, .status = 0x002},
    {"identify: NSID 0", PLAIN, 0x06, 0, {0}, .len = 4096, .status = 0x00b},
    {"identify: broadcast", PLAIN, 0x06, 0xffffffff, {0}, .len = 4096, .status = 0x00b},
    {"identify: inactive", PLAIN, 0x06, NOBODY, {0}, .len = 4096},
    {"identify: controllers of an inactive one",
     PLAIN,
     0x06,
     NOBODY,
     {0x12},
     .len = 4096,
     .status = 0x00b},
    {"identify: NSIDs above the last", PLAIN, 0x06, 0xfffffffe, {2}, .len = 4096, .status = 0x00b},
    {"log page: unknown", PLAIN, 0x02, 0, {0x70}, .len = 4, .status = 0x109},
    {"log page: short buffer", PLAIN, 0x02, 0, {0x05 | 1 << 16}, .len = 4, .status = 0x002},
    {"log page: beyond", PLAIN, 0x02, 0, {0x05, 0, 4096}, .len = 4, .status = 0x002},
};

static void test_statuses_are_as_the_table_says(void)
{
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                const struct row *r = &rows[i];
                uint8_t *data = r->len ? malloc(r->len) : NULL; /* exact, for ASan */
                struct t_req q;

                prepare(r->setup);
                t_sqe(&q, r->opcode, r->nsid, r->cdw);
                put_le64(q.r.sqe + NVME_SQE_PRP1, (uintptr_t)t.ring + r->prp1);
                q.r.data = data;
                q.r.data_len = r->len;
                t_start(&t, NVM_MMC_CNTLID, &q);
                t_turn(&t);
                CU_ASSERT_EQUAL(q.done, 1);
                if ((q.r.status & NVME_SC_MASK) != r->status)
                        printf("\n    %s: %#x, expected %#x\n", r->what, q.r.status, r->status);
                CU_ASSERT_EQUAL(q.r.status & NVME_SC_MASK, r->status);
                bool curable = r->status == 0x139 || r->status == 0x13b;
                CU_ASSERT_EQUAL(!!(q.r.status & NVME_SC_DNR), r->status && !curable);
                t_nvme_fini(&t);
                free(data);
        }
}

static uint16_t identify(uint16_t cntlid, uint32_t cns, uint32_t nsid)
{
        struct t_req q;
        memset(page, 0xee, 4096);
        t_sqe(&q, NVME_ADMIN_IDENTIFY, nsid, (uint32_t[6]){cns});
        q.r.data = page;
        q.r.data_len = 4096;
        t_start(&t, cntlid, &q);
        t_turn(&t);
        return q.r.status & NVME_SC_MASK;
}

static void test_migratable_controllers_have_no_migration_commands(void)
{
        static const uint8_t opcodes[] = {0x02, 0x09, 0x0a, 0x0c, 0x3d,
                                          0x3e, 0x41, 0x42, 0x45, 0x86};
        struct t_req q;
        prepare(PLAIN);
        for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
                t_sqe(&q, opcodes[i], NS0, (uint32_t[6]){0, C0 | 1 << 16});
                t_start(&t, C0, &q);
                t_turn(&t);
                CU_ASSERT_EQUAL(q.r.status & NVME_SC_MASK, NVME_SC_INVALID_OPCODE);
        }
        CU_ASSERT_EQUAL(identify(C0, 0x20, 0), NVME_SC_INVALID_FIELD);
        CU_ASSERT_EQUAL(identify(NOBODY, 1, 0), NVME_SC_INVALID_CONTROLLER);
        t_nvme_fini(&t);
}

static void test_identify_controller_advertises_migration_on_the_mmc_only(void)
{
        prepare(PLAIN);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 1, 0), 0);
        CU_ASSERT_EQUAL(get_le16(page + 78), NVM_MMC_CNTLID);
        CU_ASSERT_EQUAL(get_le16(page + 256), 1 << 11);
        CU_ASSERT_EQUAL(get_le32(page + 272), 0); /* HMPRE */
        CU_ASSERT_EQUAL(page[576], 2); /* TUDCS only */
        CU_ASSERT_NOT_EQUAL(get_le16(page + 578), 0);
        CU_ASSERT_NOT_EQUAL(get_le16(page + 580), 0);
        CU_ASSERT_TRUE(get_le16(page + 584) >= get_le16(page + 582));
        CU_ASSERT_EQUAL(get_le64(page + 568) & UINT64_C(0xffffffffffff0000),
                        0); /* CMMRTD .. MAXMRTG */
        CU_ASSERT_EQUAL(identify(C1, 1, 0), 0);
        CU_ASSERT_EQUAL(get_le16(page + 78), C1);
        CU_ASSERT_EQUAL(get_le16(page + 256), 0);
        CU_ASSERT_EQUAL(page[576], 0);
        CU_ASSERT_EQUAL(get_le16(page + 578), 0);
        t_nvme_fini(&t);
}

static void test_identify_namespaces(void)
{
        prepare(PLAIN);
        t.ram[1].size_bytes = (1 << 20) - 512; /* the last LBA is partial */
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 0, NS1), 0);
        CU_ASSERT_EQUAL(get_le64(page), 256);
        CU_ASSERT_EQUAL(get_le64(page + 8), 256);
        CU_ASSERT_EQUAL(page[30] & 1, 1);
        CU_ASSERT_EQUAL(page[33], 9);
        CU_ASSERT_EQUAL(get_le32(page + 128), 12 << 16);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 5, NS1), 0);
        CU_ASSERT_EQUAL(get_le32(page + 292), 1); /* TLBAAG */
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 6, 0), 0);
        CU_ASSERT_EQUAL(get_le16(page + 18), 1); /* RALBAS */
        CU_ASSERT_EQUAL(page[24], 0); /* LBAMQF */
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 3, NS1), 0);
        CU_ASSERT_EQUAL(page[0], 3);
        CU_ASSERT_EQUAL(memcmp(page + 4, nvc_uuid(t.c[1])->b, 16), 0);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 2, 0), 0);
        CU_ASSERT_EQUAL(get_le32(page), NS0);
        CU_ASSERT_EQUAL(get_le32(page + 4), NS1);
        CU_ASSERT_EQUAL(get_le32(page + 8), 0);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 2, NS0), 0);
        CU_ASSERT_EQUAL(get_le32(page), NS1);
        CU_ASSERT_EQUAL(get_le32(page + 4), 0);
        CU_ASSERT_EQUAL(identify(C0, 2, 0), 0); /* its own only */
        CU_ASSERT_EQUAL(get_le32(page), NS0);
        CU_ASSERT_EQUAL(get_le32(page + 4), 0);
        CU_ASSERT_EQUAL(identify(C0, 0, NS1), 0); /* inactive there */
        CU_ASSERT_EQUAL(get_le64(page), 0);
        t_nvme_fini(&t);
}

static void test_identify_lists(void)
{
        prepare(PLAIN);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 0x13, 0), 0);
        CU_ASSERT_EQUAL(get_le16(page), 3);
        CU_ASSERT_EQUAL(get_le16(page + 2), 1);
        CU_ASSERT_EQUAL(get_le16(page + 4), C0);
        CU_ASSERT_EQUAL(get_le16(page + 6), C1);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 0x13 | (uint32_t)C1 << 16, 0), 0);
        CU_ASSERT_EQUAL(get_le16(page), 1);
        CU_ASSERT_EQUAL(get_le16(page + 2), C1);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 0x12, NS1), 0);
        CU_ASSERT_EQUAL(get_le16(page), 2);
        CU_ASSERT_EQUAL(get_le16(page + 2), 1);
        CU_ASSERT_EQUAL(get_le16(page + 4), C1);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 0x15, 0), 0);
        CU_ASSERT_EQUAL(page[0], 0);
        CU_ASSERT_EQUAL(identify(NVM_MMC_CNTLID, 0x20, 0), 0);
        CU_ASSERT_EQUAL(page[0], 1);
        CU_ASSERT_EQUAL(page[1], 1);
        CU_ASSERT_EQUAL(get_le16(page + 2), 0);
        CU_ASSERT_EQUAL(memcmp(page + 4, nvm_vendor_state_uuid.b, 16), 0);
        t_nvme_fini(&t);
}

static void test_log_pages_name_the_commands(void)
{
        static const uint8_t supported[] = {0x3d, 0x41, 0x42, 0x45, 0x86};
        prepare(PLAIN);
        CU_ASSERT_EQUAL(t_admin(&t, 2, 0, (uint32_t[6]){0x05 | 1023u << 16}, page, 4096, NULL), 0);
        for (size_t i = 0; i < sizeof(supported); i++)
                CU_ASSERT_EQUAL(get_le32(page + 4 * supported[i]), 1);
        CU_ASSERT_EQUAL(get_le32(page + 4 * 0x3e), 0);
        CU_ASSERT_EQUAL(get_le32(page + 1024 + 4), 3);
        CU_ASSERT_EQUAL(t_admin(&t, 2, 0, (uint32_t[6]){0x12, 0, 0x21 * 4}, page, 4, NULL), 0);
        CU_ASSERT_EQUAL(get_le32(page), 1 | 1 << 26);
        t_nvme_fini(&t);
}

static void test_too_many_event_requests_are_refused(void)
{
        struct t_req q[NVM_MAX_AER + 1];
        prepare(PLAIN);
        for (int i = 0; i <= NVM_MAX_AER; i++) {
                t_sqe(&q[i], NVME_ADMIN_ASYNC_EVENT, 0, NULL);
                t_start(&t, NVM_MMC_CNTLID, &q[i]);
        }
        t_turn(&t);
        CU_ASSERT_EQUAL(q[0].done, 0);
        CU_ASSERT_EQUAL(q[NVM_MAX_AER].done, 1);
        CU_ASSERT_EQUAL(q[NVM_MAX_AER].r.status, NVME_SC_AER_LIMIT);
        nvm_controller_reset(t.s, NVM_MMC_CNTLID);
        t_nvme_fini(&t);
}

/* ---- LBA status ---- */

struct desc {
        uint64_t slba, n;
};

/* Pages through the list with room for max entries at a time. */
static unsigned list_all(uint64_t slba, uint16_t end, uint32_t max, struct desc *out)
{
        unsigned n = 0;
        uint8_t cmpc;
        do {
                size_t bytes = 8 + 16 * max;
                uint32_t len = end ? (uint32_t)(end - slba) : 0;
                CU_ASSERT_EQUAL_FATAL(
                    t_admin(
                        &t, 0x86, NS0,
                        (uint32_t[6]){(uint32_t)slba, 0, (uint32_t)(bytes / 4 - 1), 2u << 24 | len},
                        page, bytes, NULL),
                    0);
                uint32_t got = get_le32(page);
                cmpc = page[4];
                CU_ASSERT_TRUE_FATAL(got <= max && (cmpc == 1 || cmpc == 2));
                CU_ASSERT_TRUE_FATAL(cmpc == 2 || got == max);
                for (uint32_t i = 0; i < got; i++) {
                        const uint8_t *d = page + 8 + 16 * i;
                        out[n].slba = get_le64(d);
                        out[n].n = (uint64_t)get_le32(d + 8) + 1;
                        CU_ASSERT_EQUAL(d[13], 2);
                        CU_ASSERT_TRUE(out[n].slba >= slba);
                        slba = out[n].slba + out[n].n;
                        n++;
                }
        } while (cmpc == 1);
        return n;
}

static void test_lba_status_lists_what_is_allocated(void)
{
        static const struct desc want[] = {{0, 3}, {10, 1}, {12, 1}, {100, 50}, {254, 2}};
        struct desc got[300];

        prepare(PLAIN);
        CU_ASSERT_EQUAL(list_all(0, 0, 10, got), 0); /* nothing: complete */
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, want[i].slba, want[i].n), 0);
        for (uint32_t max = 1; max < 8; max++) {
                for (uint32_t piece = 0; piece < 4; piece++) { /* adjacent pieces are merged */
                        t.ram[0].map_max = piece;
                        t.ram[0].map_run = piece * 2;
                        CU_ASSERT_EQUAL(list_all(0, 0, max, got), ARRAY_SIZE(want));
                        CU_ASSERT_EQUAL(memcmp(got, want, sizeof(want)), 0);
                }
        }
        CU_ASSERT_EQUAL(list_all(1, 121, 10, got), 4); /* clipped to [1, 121) */
        CU_ASSERT_TRUE(got[0].slba == 1 && got[0].n == 2);
        CU_ASSERT_TRUE(got[3].slba == 100 && got[3].n == 21);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_DISCARD, 0, 200), 0);
        CU_ASSERT_EQUAL(list_all(0, 0, 10, got), 1);
        t.ram[0].fail = -EIO;
        CU_ASSERT_EQUAL(
            t_admin(&t, 0x86, NS0, (uint32_t[6]){0, 0, 100, 2u << 24}, page, 4096, NULL),
            NVME_SC_READ_ERROR);
        t.ram[0].fail = 0;
        t_nvme_fini(&t);
}

/* ---- I/O ---- */

static void test_mmc_reads_and_writes_whatever_the_gate(void)
{
        prepare(PLAIN);
        nvc_gate_set(t.c[0], false);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        memset(page, 0x11, 8192);
        CU_ASSERT_EQUAL(t_io(&t, 1, NS0, (uint32_t[6]){4, 0, 1}, page, 8192), 0);
        CU_ASSERT_EQUAL(t.ram[0].data[5 * 4096 + 4095], 0x11);
        memset(page, 0, 8192);
        CU_ASSERT_EQUAL(t_io(&t, 2, NS0, (uint32_t[6]){5, 0, 0}, page, 4096), 0);
        CU_ASSERT_EQUAL(page[0], 0x11);
        CU_ASSERT_EQUAL(t_io(&t, 8, NS0, (uint32_t[6]){4, 0, 0}, NULL, 0), 0);
        CU_ASSERT_EQUAL(t.ram[0].data[4 * 4096], 0);
        CU_ASSERT_EQUAL(t_io(&t, 0, NS0, NULL, NULL, 0), 0);
        CU_ASSERT_EQUAL(t.ram[0].nflushes, 1);
        memset(page, 0, 32);
        put_le32(page + 4, 2); /* two ranges: [5, 7) and nothing */
        put_le64(page + 8, 5);
        CU_ASSERT_EQUAL(t_io(&t, 9, NS0, (uint32_t[6]){1, 4}, page, 32), 0);
        CU_ASSERT_EQUAL(t.ram[0].mapped.nset, 0);
        CU_ASSERT_FALSE(t.ram[0].nohold_missing);
        t_nvme_fini(&t);
}

static void test_mmc_io_statuses(void)
{
        static const struct {
                uint8_t opcode;
                uint32_t nsid, cdw[6];
                size_t len;
                int fail;
                uint16_t status;
        } io[] = {
            {1, NS0, {255, 0, 0}, 4096, 0, 0},
            {1, NS0, {255, 0, 1}, 8192, 0, NVME_SC_LBA_RANGE},
            {2, NS0, {0xffffffff, 0xffffffff, 0}, 4096, 0, NVME_SC_LBA_RANGE},
            {1, NS0, {0, 0, 1}, 8191, 0, NVME_SC_INVALID_FIELD},
            {1, NS0, {0, 0, 0}, 0, 0, NVME_SC_INVALID_FIELD},
            {2, NS0, {0, 0, 255}, NVM_MAX_TRANSFER, 0, 0},
            {2, NS0, {0, 0, 256}, NVM_MAX_TRANSFER, 0, NVME_SC_INVALID_FIELD},
            {2, 0, {0, 0, 0}, 4096, 0, NVME_SC_INVALID_NAMESPACE},
            {2, 0xffffffff, {0, 0, 0}, 4096, 0, NVME_SC_INVALID_NAMESPACE},
            {0x55, NS0, {0, 0, 0}, 4096, 0, NVME_SC_INVALID_OPCODE},
            {8, NS0, {0, 0, 256}, 0, 0, NVME_SC_LBA_RANGE},
            {9, NS0, {1, 4}, 31, 0, NVME_SC_INVALID_FIELD},
            {9, NS0, {0, 0}, 16, 0, 0},
            {2, NS0, {0, 0, 0}, 4096, -EIO, NVME_SC_READ_ERROR},
            {1, NS0, {0, 0, 0}, 4096, -EIO, NVME_SC_WRITE_FAULT},
            {2, NS0, {0, 0, 0}, 4096, -EILSEQ, NVME_SC_READ_ERROR},
            {1, NS0, {0, 0, 0}, 4096, -ENOSPC, NVME_SC_CAPACITY},
            {1, NS0, {0, 0, 0}, 4096, -EROFS, NVME_SC_WRITE_PROTECTED},
            {0, NS0, {0}, 0, -EIO, NVME_SC_WRITE_FAULT},
            {2, NS0, {0, 0, 0}, 4096, -ENOMEM, NVME_SC_INTERNAL},
        };
        prepare(PLAIN);
        for (size_t i = 0; i < ARRAY_SIZE(io); i++) {
                t.ram[0].fail = io[i].fail;
                memset(page, 0, 4096);
                uint16_t st = t_io(&t, io[i].opcode, io[i].nsid, io[i].cdw, io[i].len ? page : NULL,
                                   io[i].len);
                if (st != io[i].status)
                        printf("\n    I/O row %zu: %#x, expected %#x\n", i, st, io[i].status);
                CU_ASSERT_EQUAL(st, io[i].status);
        }
        t.ram[0].fail = 0;
        t_nvme_fini(&t);
}

static void test_partial_last_block_reads_zeroes_and_drops_the_rest(void)
{
        uint8_t *two = malloc(8192);
        prepare(PLAIN);
        t.ram[0].size_bytes = (1 << 20) - 1024;
        memset(two, 0x77, 8192);
        CU_ASSERT_EQUAL(t_io(&t, 1, NS0, (uint32_t[6]){254, 0, 1}, two, 8192), 0);
        CU_ASSERT_EQUAL(t.ram[0].data[t.ram[0].size_bytes - 1], 0x77);
        CU_ASSERT_EQUAL(t.ram[0].data[t.ram[0].size_bytes], 0);
        memset(two, 0xee, 8192);
        CU_ASSERT_EQUAL(t_io(&t, 2, NS0, (uint32_t[6]){254, 0, 1}, two, 8192), 0);
        CU_ASSERT_EQUAL(two[7167], 0x77);
        CU_ASSERT_EQUAL(two[7168], 0);
        CU_ASSERT_EQUAL(two[8191], 0);
        memset(two, 0, 16);
        put_le32(two + 4, 1);
        put_le64(two + 8, 255);
        CU_ASSERT_EQUAL(t_io(&t, 9, NS0, (uint32_t[6]){0, 4}, two, 16), 0);
        CU_ASSERT_FALSE(bitmap_test(&t.ram[0].mapped, 255));
        CU_ASSERT_TRUE(bitmap_test(&t.ram[0].mapped, 254));
        free(two);
        t_nvme_fini(&t);
}

static void test_memory_ranges(void)
{
        static uint8_t other[8192] __attribute__((aligned(4096)));
        prepare(QUEUE);
        CU_ASSERT_EQUAL(nvm_dma_map(t.s, other + 8, 4096), -EINVAL);
        CU_ASSERT_EQUAL(nvm_dma_map(t.s, other, 100), -EINVAL);
        CU_ASSERT_EQUAL(nvm_dma_unmap(t.s, other), -ENOENT);
        CU_ASSERT_EQUAL(nvm_dma_map(t.s, other, 8192), 0);
        CU_ASSERT_EQUAL(nvm_dma_unmap(t.s, other), 0);
        CU_ASSERT_EQUAL(nvm_dma_unmap(t.s, t.ring), -EBUSY);
        CU_ASSERT_EQUAL(t_cdq_delete(&t), 0);
        CU_ASSERT_EQUAL(nvm_dma_unmap(t.s, t.ring), 0);
        t_nvme_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_statuses_are_as_the_table_says),
    T_CASE(test_migratable_controllers_have_no_migration_commands),
    T_CASE(test_identify_controller_advertises_migration_on_the_mmc_only),
    T_CASE(test_identify_namespaces),
    T_CASE(test_identify_lists),
    T_CASE(test_log_pages_name_the_commands),
    T_CASE(test_too_many_event_requests_are_refused),
    T_CASE(test_lba_status_lists_what_is_allocated),
    T_CASE(test_mmc_reads_and_writes_whatever_the_gate),
    T_CASE(test_mmc_io_statuses),
    T_CASE(test_partial_last_block_reads_zeroes_and_drops_the_rest),
    T_CASE(test_memory_ranges),
};
T_MAIN("admin commands", cases)
