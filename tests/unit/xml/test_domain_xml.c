/* Which disks of a domain are zonepool's, told from what libvirt writes. */
#include "base/cleanup.h"
#include "t_suite.h"
#include "xml/domain_xml.h"
#include "xml/xml_doc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define RUNDIR "/run/zonepool"
#define DOMAIN(disks)                                                                              \
        "<domain type='kvm' id='7'><name>g &amp; h</name>"                                         \
        "<uuid>11111111-2222-4333-8444-555555555555</uuid><devices>" disks                         \
        "<emulator>/run/zonepool/a/b.sock</emulator></devices></domain>"
#define VHOST(path)                                                                                \
        "<disk type='vhostuser'><source type='unix' path='" path "'/><target dev='vda'/></disk>"
#define FILE_(path) "<disk type='file'><source file='" path "'/><target dev='vdb'/></disk>"

static int parse(const char *text, struct domain_xml *dx, struct err *err)
{
        return domain_xml_parse(text, strlen(text), RUNDIR, dx, err);
}

static const struct {
        const char *text;
        size_t ndisks;
        enum domain_xml_kind kind;
        const char *pool, *volume, *target;
} found[] = {
    {DOMAIN(VHOST("/run/zonepool/tank/v1.sock")), 1, DOMAIN_XML_VHOST_USER, "tank", "v1", "vda"},
    {DOMAIN(VHOST("/run/zonepool/tank/v1.sock.sock")), 1, DOMAIN_XML_VHOST_USER, "tank", "v1.sock",
     "vda"},
    {DOMAIN(VHOST("/var/run/zonepool/tank/v1.sock")), 1, DOMAIN_XML_VHOST_USER, "tank", "v1",
     "vda"},
    {DOMAIN(VHOST("//run/./zonepool//x/../tank/v1.sock")), 1, DOMAIN_XML_VHOST_USER, "tank", "v1",
     "vda"},
    {DOMAIN(FILE_("/run/zonepool/mnt/tank/v2")), 1, DOMAIN_XML_FILE, "tank", "v2", "vdb"},
    {DOMAIN("<disk type='block'><source dev='/run/zonepool/mnt/tank/v3'/></disk>"), 1,
     DOMAIN_XML_FILE, "tank", "v3", ""},
    {DOMAIN("<disk type='volume'><source pool='tank' volume='v4'/><target dev='sda'/></disk>"), 1,
     DOMAIN_XML_VOLUME, "tank", "v4", "sda"},
    {"<domstatus><domain><name>n</name><uuid>11111111-2222-4333-8444-555555555555</uuid>"
     "<devices>" VHOST("/run/zonepool/p/v.sock") "</devices></domain></domstatus>",
     1, DOMAIN_XML_VHOST_USER, "p", "v", "vda"},
    {DOMAIN(""), 0, 0, NULL, NULL, NULL},
    {DOMAIN(VHOST("/run/vhost/tank/v1.sock")), 0, 0, NULL, NULL, NULL},
    {DOMAIN(VHOST("/run/zonepool2/tank/v1.sock")), 0, 0, NULL, NULL, NULL},
    {DOMAIN(FILE_("/srv/run/zonepool/mnt/tank/v")), 0, 0, NULL, NULL, NULL},
    {DOMAIN("<disk type='file' device='cdrom'><target dev='sda'/></disk>"), 0, 0, NULL, NULL, NULL},
    {DOMAIN("<disk type='network'><source name='/run/zonepool/tank/v1.sock'/></disk>"), 0, 0, NULL,
     NULL, NULL},
    {DOMAIN("<interface type='vhostuser'><source path='/run/zonepool/t/v.sock'/></interface>"), 0,
     0, NULL, NULL, NULL},
};

static void test_disks_of_ours_are_found_and_others_passed_over(void)
{
        for (size_t i = 0; i < ARRAY_SIZE(found); i++) {
                struct domain_xml dx;
                struct err err = ERR_INIT;
                int rc = parse(found[i].text, &dx, &err);

                CU_ASSERT_EQUAL(rc, 0);
                if (rc < 0) {
                        printf("\n  case %zu: %s\n", i, err.msg);
                        continue;
                }
                CU_ASSERT_EQUAL(dx.ndisks, found[i].ndisks);
                if (dx.ndisks == 1 && found[i].ndisks == 1) {
                        CU_ASSERT_EQUAL(dx.disks[0].kind, found[i].kind);
                        CU_ASSERT_STRING_EQUAL(dx.disks[0].pool, found[i].pool);
                        CU_ASSERT_STRING_EQUAL(dx.disks[0].volume, found[i].volume);
                        CU_ASSERT_STRING_EQUAL(dx.disks[0].target, found[i].target);
                }
                domain_xml_fini(&dx);
        }
}

static void test_name_and_uuid_are_read(void)
{
        struct domain_xml dx;
        struct err err = ERR_INIT;
        char uuid[UUID_TEXT_LEN];

        CU_ASSERT_EQUAL_FATAL(parse(DOMAIN(""), &dx, &err), 0);
        uuid_format(&dx.uuid, uuid);
        CU_ASSERT_STRING_EQUAL(dx.name, "g & h");
        CU_ASSERT_STRING_EQUAL(uuid, "11111111-2222-4333-8444-555555555555");
        domain_xml_fini(&dx);
}

static const struct {
        const char *text, *says;
} refused[] = {
    {"<domain>", "line 1"},
    {"<pool/>", "no <domain>"},
    {"<domain><name>n</name></domain>", "<uuid> is missing"},
    {"<domain><name>n</name><uuid>1234</uuid></domain>", "is not a UUID"},
    {"<domain><uuid>11111111-2222-4333-8444-555555555555</uuid></domain>", "<name> is missing"},
    {"<!DOCTYPE d [<!ENTITY a 'b'>]>" DOMAIN(""), "a DOCTYPE is not allowed"},
    {DOMAIN(VHOST("/run/zonepool/zonepoold.sock")), "is no volume's path"},
    {DOMAIN(VHOST("/run/zonepool/tank/v1")), "/run/zonepool/POOL/VOLUME.sock"},
    {DOMAIN(VHOST("/run/zonepool/tank/.sock")), "is no volume's path"},
    {DOMAIN(VHOST("/run/zonepool/tank/a/b.sock")), "is no volume's path"},
    {DOMAIN(VHOST("/run/zonepool/mnt/v1.sock")), "is no volume's path"},
    {DOMAIN(FILE_("/run/zonepool/mnt/tank")), "/run/zonepool/mnt/POOL/VOLUME"},
    {DOMAIN(FILE_("/run/zonepool/mnt/tank/a/b")), "is no volume's path"},
};

static void test_paths_that_can_be_no_volume_are_refused(void)
{
        for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
                struct domain_xml dx;
                struct err err = ERR_INIT;
                int rc = parse(refused[i].text, &dx, &err);
                bool ok = rc == -EINVAL && strstr(err.msg, refused[i].says);

                CU_ASSERT_TRUE(ok);
                if (!ok)
                        printf("\n  case %zu: rc %d, \"%s\"\n", i, rc, err.msg);
                if (rc == 0)
                        domain_xml_fini(&dx);
        }
}

static int parse_many(size_t n, struct err *err)
{
        struct xml_buf buf = {0};
        struct domain_xml dx;

        xml_buf_add(&buf, "<domain><name>n</name>"
                          "<uuid>11111111-2222-4333-8444-555555555555</uuid><devices>");
        for (size_t i = 0; i < n; i++)
                xml_buf_add(&buf, VHOST("/run/zonepool/tank/v%zu.sock"), i);
        xml_buf_add(&buf, "</devices></domain>");
        int rc = domain_xml_parse(buf.text, buf.len, RUNDIR, &dx, err);
        free(buf.text);
        if (rc == 0)
                domain_xml_fini(&dx);
        return rc;
}

static void test_the_number_of_disks_is_bounded(void)
{
        struct err err = ERR_INIT;

        CU_ASSERT_EQUAL(parse_many(DOMAIN_XML_MAX_DISKS, &err), 0);
        CU_ASSERT_EQUAL(parse_many(DOMAIN_XML_MAX_DISKS + 1, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "more than 1024"));
}

static void test_the_disk_element_is_found_as_written(void)
{
        CLEANUP(free_ptr) char *disk = domain_xml_format_disk(RUNDIR "/tank/v1.sock", "vdz");
        CLEANUP(free_ptr) char *memory = domain_xml_format_memory();
        CLEANUP(free_ptr) char *text = NULL;
        struct domain_xml dx;
        struct err err = ERR_INIT;

        CU_ASSERT_PTR_NOT_NULL_FATAL(disk);
        CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
        CU_ASSERT_TRUE_FATAL(asprintf(&text,
                                      "<domain><name>n</name>"
                                      "<uuid>11111111-2222-4333-8444-555555555555</uuid>%s"
                                      "<devices>%s</devices></domain>",
                                      memory, disk) > 0);
        CU_ASSERT_EQUAL_FATAL(parse(text, &dx, &err), 0);
        CU_ASSERT_EQUAL_FATAL(dx.ndisks, 1);
        CU_ASSERT_EQUAL(dx.disks[0].kind, DOMAIN_XML_VHOST_USER);
        CU_ASSERT_STRING_EQUAL(dx.disks[0].volume, "v1");
        CU_ASSERT_STRING_EQUAL(dx.disks[0].target, "vdz");
        domain_xml_fini(&dx);
        for (const char **word =
                 (const char *[]){"serial", "cache", "discard", "error_policy", NULL};
             *word; word++)
                CU_ASSERT_PTR_NULL(strstr(disk, *word));
}

static const struct t_case cases[] = {
    T_CASE(test_disks_of_ours_are_found_and_others_passed_over),
    T_CASE(test_name_and_uuid_are_read),
    T_CASE(test_paths_that_can_be_no_volume_are_refused),
    T_CASE(test_the_number_of_disks_is_bounded),
    T_CASE(test_the_disk_element_is_found_as_written),
};
T_MAIN("domain XML", cases)
