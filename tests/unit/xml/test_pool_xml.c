/* Pool definitions: what is accepted comes back whole, what is not is named. The RELAX NG schema is
 * held against the same examples. */
#include "base/cleanup.h"
#include "t_suite.h"
#include "xml/pool_xml.h"
#include "xml/xml_doc.h"

#include <errno.h>
#include <libxml/relaxng.h>
#include <string.h>

#define RUNDIR "/run/zonepool"
#define HEAD                                                                                       \
        "<pool type='vstorage' xmlns:zonepool='" POOL_XML_NS_URI "'><name>tank</name>"             \
        "<target><path>/run/zonepool/mnt/tank</path></target>"
#define OPTIONS(inner) HEAD "<zonepool:options>" inner "</zonepool:options></pool>"
#define DEVICE "<zonepool:device path='/dev/a'/>"

static int parse(const char *text, struct pool_xml *px, struct err *err)
{
        return pool_xml_parse(text, strlen(text), RUNDIR, px, err);
}

static void test_every_member_is_read(void)
{
        struct pool_xml px;
        struct err err = ERR_INIT;
        int rc = parse("<pool type='vstorage' xmlns:z='" POOL_XML_NS_URI "'>"
                       "<name>tank</name><uuid>x</uuid><source><name>tank</name></source>"
                       "<target><path>/run/zonepool/mnt/tank/</path></target>"
                       "<z:options><z:device path='/srv/a b.img' size='4G' zone='16MiB' "
                       "capacity='12582912' max-open='8' max-active='12'/>"
                       "<!-- and --><z:device path='/dev/nvme0n2'/><z:checksum "
                       "enabled='no'/><z:copies default='3'/>"
                       "<z:peer host='hostb' port='7950'/><z:peer host='fe80::1%eth0' port='1'/>"
                       "</z:options></pool>",
                       &px, &err);

        CU_ASSERT_EQUAL(rc, 0);
        if (rc < 0) {
                puts(err.msg);
                return;
        }
        CU_ASSERT_STRING_EQUAL(px.name, "tank");
        CU_ASSERT_EQUAL(px.ndevices, 2);
        CU_ASSERT_STRING_EQUAL(px.devices[0].path, "/srv/a b.img");
        CU_ASSERT_EQUAL(px.devices[0].size_bytes, UINT64_C(4) << 30);
        CU_ASSERT_EQUAL(px.devices[0].zone_bytes, 16 << 20);
        CU_ASSERT_EQUAL(px.devices[0].zone_capacity_bytes, 12 << 20);
        CU_ASSERT_EQUAL(px.devices[0].max_open, 8);
        CU_ASSERT_EQUAL(px.devices[0].max_active, 12);
        CU_ASSERT_EQUAL(px.devices[1].size_bytes, 0);
        CU_ASSERT_FALSE(px.checksum);
        CU_ASSERT_EQUAL(px.copies, 3);
        CU_ASSERT_EQUAL(px.npeers, 2);
        CU_ASSERT_STRING_EQUAL(px.peers[1].host, "fe80::1%eth0");
        CU_ASSERT_EQUAL(px.peers[1].port, 1);
        pool_xml_fini(&px);
}

static void test_devices_follow_the_pool(void)
{
        struct pool_xml px;
        struct err err = ERR_INIT;
        const char *const now[] = {"/dev/c", "/srv/b"};
        const char *const wrong[] = {"dev/c"};

        CU_ASSERT_EQUAL_FATAL(
            parse(OPTIONS(DEVICE "<zonepool:device path='/srv/b' size='1G'/>"), &px, &err), 0);
        CU_ASSERT_EQUAL(pool_xml_set_devices(&px, wrong, 1), -EINVAL);
        CU_ASSERT_EQUAL(pool_xml_set_devices(&px, now, 0), -EINVAL);
        CU_ASSERT_EQUAL(px.ndevices, 2);
        CU_ASSERT_STRING_EQUAL(px.devices[0].path, "/dev/a");
        CU_ASSERT_EQUAL(pool_xml_set_devices(&px, now, 2), 0);
        CU_ASSERT_EQUAL(px.ndevices, 2);
        CU_ASSERT_STRING_EQUAL(px.devices[0].path, "/dev/c");
        CU_ASSERT_EQUAL(px.devices[0].size_bytes, 0);
        CU_ASSERT_STRING_EQUAL(px.devices[1].path, "/srv/b");
        CU_ASSERT_EQUAL(px.devices[1].size_bytes, 1 << 30);
        pool_xml_fini(&px);
}

static void test_what_is_written_reads_back_the_same(void)
{
        struct pool_xml a, b;
        struct err err = ERR_INIT;
        CLEANUP(free_ptr) char *options = NULL, *again = NULL, *doc = NULL;

        CU_ASSERT_EQUAL_FATAL(
            parse(OPTIONS("<zonepool:device path='/a&apos;&lt;&amp;&quot;>' size='8K' zone='4K'/>"
                          "<zonepool:peer host='h' port='65535'/>"),
                  &a, &err),
            0);
        options = pool_xml_format_options(&a);
        CU_ASSERT_PTR_NOT_NULL_FATAL(options);
        CU_ASSERT_TRUE_FATAL(asprintf(&doc, HEAD "%s</pool>", options) > 0);
        CU_ASSERT_EQUAL_FATAL(parse(doc, &b, &err), 0);
        CU_ASSERT_STRING_EQUAL(b.devices[0].path, "/a'<&\">");
        CU_ASSERT_EQUAL(b.devices[0].zone_bytes, 4096);
        CU_ASSERT_TRUE(b.checksum);
        CU_ASSERT_EQUAL(b.copies, 1);
        again = pool_xml_format_options(&b);
        CU_ASSERT_PTR_NOT_NULL_FATAL(again);
        CU_ASSERT_STRING_EQUAL(options, again);
        pool_xml_fini(&a);
        pool_xml_fini(&b);
}

static const struct {
        const char *text, *says; /* a part of the error */
} refused[] = {
    {"", "empty"},
    {"<pool", "line 1"},
    {"<volume/>", "not a pool"},
    {"<pool type='dir'/>", "type='dir'; allowed: vstorage"},
    {HEAD "</pool>", "<zonepool:options> is missing"},
    {HEAD "<options/></pool>", "unknown element in <pool>"},
    {HEAD "<colour/></pool>", "<colour> (line 1): unknown element"},
    {OPTIONS(""), "no device"},
    {OPTIONS("<zonepool:disk/>" DEVICE), "<zonepool:disk> (line 1): unknown element"},
    {OPTIONS("<device path='/a'/>"), "<device> (line 1): unknown element"},
    {OPTIONS("text" DEVICE), "text 'text' has no place"},
    {OPTIONS("<zonepool:device/>"), "attribute 'path' is missing"},
    {OPTIONS("<zonepool:device path=''/>"), "attribute 'path' is missing"},
    {OPTIONS("<zonepool:device path='a'/>"), "path='a'; allowed: an absolute path"},
    {OPTIONS(DEVICE DEVICE), "path='/dev/a' is given twice"},
    {OPTIONS("<zonepool:device path='/a' colour='red'/>"),
     "unknown attribute 'colour'; allowed: path, size, zone, capacity, max-open, max-active"},
    {OPTIONS("<zonepool:device path='/a' zonepool:size='4G'/>"), "unknown attribute 'size'"},
    {OPTIONS("<zonepool:device path='/a' size='big'/>"), "size='big' is not a size"},
    {OPTIONS("<zonepool:device path='/a' size='-4K'/>"), "size='-4K' is not a size"},
    {OPTIONS("<zonepool:device path='/a' size='8E'/>"), "size='8E' is not a size"},
    {OPTIONS("<zonepool:device path='/a' size='4097'/>"), "multiples of 4096"},
    {OPTIONS("<zonepool:device path='/a' capacity='4K'/>"), "give zone too"},
    {OPTIONS("<zonepool:device path='/a' zone='4K' capacity='8K'/>"), "up to the zone's size"},
    {OPTIONS("<zonepool:device path='/a' size='4K' zone='8K'/>"), "up to the size"},
    {OPTIONS("<zonepool:device path='/a' max-open='0'/>"),
     "max-open='0'; allowed: a whole number from 1 to 1048576"},
    {OPTIONS("<zonepool:device path='/a' max-active='1048577'/>"), "max-active='1048577'"},
    {OPTIONS("<zonepool:device path='/a' max-active='4294967297'/>"), "max-active="},
    {OPTIONS("<zonepool:device path='/a' max-open='9' max-active='8'/>"), "up to max-active, 8"},
    {OPTIONS("<zonepool:device path='/a'><b/></zonepool:device>"), "unknown element <b>"},
    {OPTIONS(DEVICE "<zonepool:checksum/>"), "attribute 'enabled' is missing"},
    {OPTIONS(DEVICE "<zonepool:checksum enabled='maybe'/>"), "enabled='maybe'; allowed: yes, no"},
    {OPTIONS(DEVICE "<zonepool:checksum enabled='no'/><zonepool:checksum enabled='no'/>"),
     "given twice"},
    {OPTIONS(DEVICE "<zonepool:copies/>"), "attribute 'default' is missing"},
    {OPTIONS(DEVICE "<zonepool:copies default='0'/>"),
     "<zonepool:copies> (line 1): default='0'; allowed: a whole number from 1 to 3"},
    {OPTIONS(DEVICE "<zonepool:copies default='4'/>"), "default='4'; allowed"},
    {OPTIONS(DEVICE "<zonepool:copies default='2' of='boot'/>"), "unknown attribute 'of'"},
    {OPTIONS(DEVICE "<zonepool:copies default='2'/><zonepool:copies default='2'/>"), "given twice"},
    {OPTIONS(DEVICE "<zonepool:peer port='1'/>"), "attribute 'host' is missing"},
    {OPTIONS(DEVICE "<zonepool:peer host='h'/>"), "attribute 'port' is missing"},
    {OPTIONS(DEVICE "<zonepool:peer host='h' port='65536'/>"), "port='65536'"},
    {OPTIONS(DEVICE "<zonepool:peer host='h h' port='1'/>"), "host='h h'"},
    {OPTIONS(DEVICE "<zonepool:peer host='h' port='1'/><zonepool:peer host='h' port='1'/>"),
     "given twice"},
    {HEAD "<source><device path='/dev/a'/></source><zonepool:options>" DEVICE
          "</zonepool:options></pool>",
     "<device> (line 1): not allowed in <source>"},
    {HEAD "<source><name>other</name></source><zonepool:options>" DEVICE
          "</zonepool:options></pool>",
     "<source><name>: 'other'; allowed: the pool's own name, 'tank'"},
    {"<pool type='vstorage' xmlns:zonepool='" POOL_XML_NS_URI "'><name>mnt</name>"
     "<zonepool:options/></pool>",
     "<name>: 'mnt'; allowed"},
    {"<pool type='vstorage' xmlns:zonepool='" POOL_XML_NS_URI "'><name>.a</name>"
     "<zonepool:options/></pool>",
     "<name>: '.a'; allowed"},
    {"<pool type='vstorage' xmlns:zonepool='" POOL_XML_NS_URI "'><name>tank</name>"
     "<target><path>/mnt</path></target><zonepool:options/></pool>",
     "<target><path>: '/mnt'; allowed: '/run/zonepool/mnt/tank'"},
    {"<pool type='vstorage' xmlns:zonepool='" POOL_XML_NS_URI "'><name>tank</name>"
     "<zonepool:options/></pool>",
     "<target><path> is missing"},
    {"<!DOCTYPE pool [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>" OPTIONS(
         "<zonepool:device path='/&x;'/>"),
     "a DOCTYPE is not allowed"},
    {"<!DOCTYPE pool SYSTEM 'http://example.org/pool.dtd'>" OPTIONS(DEVICE),
     "a DOCTYPE is not allowed"},
    {OPTIONS("<zonepool:device path='/&x;'/>"), "line 1"},
};

static void test_refusals_name_element_value_and_what_is_allowed(void)
{
        for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
                struct pool_xml px;
                struct err err = ERR_INIT;
                int rc = parse(refused[i].text, &px, &err);
                bool ok = rc == -EINVAL && strstr(err.msg, refused[i].says);

                CU_ASSERT_TRUE(ok);
                if (!ok)
                        printf("\n  case %zu: rc %d, \"%s\" without \"%s\"\n", i, rc, err.msg,
                               refused[i].says);
                if (rc == 0)
                        pool_xml_fini(&px);
        }
}

/* n devices, or peers, or a path of n bytes. */
static int parse_many(size_t devices, size_t peers, size_t path_len, struct err *err)
{
        struct xml_buf buf = {0};
        struct pool_xml px;

        xml_buf_add(&buf, HEAD "<zonepool:options><zonepool:device path='/");
        for (size_t i = 1; i < path_len; i++)
                xml_buf_add(&buf, "p");
        xml_buf_add(&buf, "'/>");
        for (size_t i = 1; i < devices; i++)
                xml_buf_add(&buf, "<zonepool:device path='/dev/%zu'/>", i);
        for (size_t i = 0; i < peers; i++)
                xml_buf_add(&buf, "<zonepool:peer host='h' port='%zu'/>", i + 1);
        xml_buf_add(&buf, "</zonepool:options></pool>");
        int rc = pool_xml_parse(buf.text, buf.len, RUNDIR, &px, err);
        free(buf.text);
        if (rc == 0)
                pool_xml_fini(&px);
        return rc;
}

static void test_limits_hold_at_the_limit_and_one_beyond(void)
{
        struct err err = ERR_INIT;

        CU_ASSERT_EQUAL(parse_many(POOL_XML_MAX_DEVICES, 1, 2, &err), 0);
        CU_ASSERT_EQUAL(parse_many(POOL_XML_MAX_DEVICES + 1, 1, 2, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "more than 256 devices"));
        CU_ASSERT_EQUAL(parse_many(1, POOL_XML_MAX_PEERS, 2, &err), 0);
        CU_ASSERT_EQUAL(parse_many(1, POOL_XML_MAX_PEERS + 1, 2, &err), -EINVAL);
        CU_ASSERT_EQUAL(parse_many(1, 0, POOL_XML_MAX_PATH, &err), 0);
        CU_ASSERT_EQUAL(parse_many(1, 0, POOL_XML_MAX_PATH + 1, &err), -EINVAL);
}

static void test_a_document_that_is_too_long_is_not_parsed(void)
{
        struct err err = ERR_INIT;
        struct pool_xml px;
        char *text = calloc(1, XML_DOC_MAX + 1);

        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        memset(text, ' ', XML_DOC_MAX + 1);
        CU_ASSERT_EQUAL(pool_xml_parse(text, XML_DOC_MAX + 1, RUNDIR, &px, &err), -EMSGSIZE);
        free(text);
}

static void test_names_are_bounded(void)
{
        char name[130];

        memset(name, 'a', sizeof(name));
        name[63] = '\0';
        CU_ASSERT_TRUE(pool_xml_name_ok(name));
        name[63] = 'a';
        name[64] = '\0';
        CU_ASSERT_FALSE(pool_xml_name_ok(name));
        name[64] = 'a';
        name[127] = '\0';
        CU_ASSERT_TRUE(volume_xml_name_ok(name));
        name[127] = 'a';
        name[128] = '\0';
        CU_ASSERT_FALSE(volume_xml_name_ok(name));
        CU_ASSERT_FALSE(volume_xml_name_ok(""));
        CU_ASSERT_FALSE(volume_xml_name_ok(".."));
        CU_ASSERT_FALSE(volume_xml_name_ok("-rf"));
        CU_ASSERT_FALSE(volume_xml_name_ok("a/b"));
        CU_ASSERT_FALSE(volume_xml_name_ok("a b"));
        CU_ASSERT_FALSE(pool_xml_name_ok("domains"));
        CU_ASSERT_FALSE(pool_xml_name_ok("zonepoold.sock"));
}

/* ---- the schema ---- */

static const char wrapper[] =
    "<grammar xmlns='http://relaxng.org/ns/structure/1.0'><include href='" SCHEMA "'/>"
    "<start><ref name='zonepool_options'/></start></grammar>";

static void be_quiet(void *ctx, const char *fmt, ...)
{
}

/* 1 valid, 0 not. */
static int validate(xmlRelaxNG *schema, const char *options)
{
        CLEANUP(xml_doc_freep) xmlDoc *doc = NULL;
        CLEANUP(free_ptr) char *text = NULL;
        struct err err = ERR_INIT;

        if (asprintf(&text,
                     "<zonepool:options xmlns:zonepool='" POOL_XML_NS_URI "'>%s</zonepool:options>",
                     options) < 0 ||
            xml_doc_parse(text, strlen(text), "options", &doc, &err) < 0)
                return -1;
        xmlRelaxNGValidCtxt *v = xmlRelaxNGNewValidCtxt(schema);
        xmlRelaxNGSetValidErrors(v, be_quiet, be_quiet, NULL);
        int rc = xmlRelaxNGValidateDoc(v, doc);
        xmlRelaxNGFreeValidCtxt(v);
        return rc == 0;
}

static void test_the_schema_agrees_with_the_parser(void)
{
        static const struct {
                const char *options;
                int valid;
        } cases[] = {
            {DEVICE, 1},
            {"<zonepool:device path='/a' size='4G' zone='16MiB' capacity='4K' max-open='1' "
             "max-active='1048576'/>" DEVICE,
             1},
            {"<zonepool:checksum enabled='no'/>" DEVICE "<zonepool:peer host='a' port='1'/>", 1},
            {"", 0},
            {"<zonepool:device/>", 0},
            {"<zonepool:device path='a'/>", 0},
            {"<zonepool:device path='/a' colour='red'/>", 0},
            {"<zonepool:device path='/a' size='big'/>", 0},
            {"<zonepool:device path='/a' max-open='0'/>", 0},
            {"<zonepool:device path='/a' max-open='1048577'/>", 0},
            {DEVICE "<zonepool:checksum enabled='maybe'/>", 0},
            {DEVICE "<zonepool:copies default='2'/>", 1},
            {DEVICE "<zonepool:copies default='4'/>", 0},
            {DEVICE "<zonepool:copies/>", 0},
            {DEVICE "<zonepool:peer host='a'/>", 0},
            {DEVICE "<zonepool:peer host='a' port='65536'/>", 0},
            {DEVICE "<zonepool:colour/>", 0},
        };
        xmlRelaxNGParserCtxt *p = xmlRelaxNGNewMemParserCtxt(wrapper, sizeof(wrapper) - 1);
        xmlRelaxNG *schema = xmlRelaxNGParse(p);

        CU_ASSERT_PTR_NOT_NULL_FATAL(schema);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                CLEANUP(free_ptr) char *whole = NULL;
                struct err err = ERR_INIT;
                struct pool_xml px;

                CU_ASSERT_EQUAL(validate(schema, cases[i].options), cases[i].valid);
                CU_ASSERT_TRUE_FATAL(asprintf(&whole,
                                              HEAD "<zonepool:options>%s</zonepool:options></pool>",
                                              cases[i].options) > 0);
                int rc = parse(whole, &px, &err);
                CU_ASSERT_EQUAL(rc == 0, cases[i].valid);
                if (rc == 0)
                        pool_xml_fini(&px);
        }
        xmlRelaxNGFree(schema);
        xmlRelaxNGFreeParserCtxt(p);
        xmlCleanupParser();
}

static const struct t_case cases[] = {
    T_CASE(test_every_member_is_read),
    T_CASE(test_devices_follow_the_pool),
    T_CASE(test_what_is_written_reads_back_the_same),
    T_CASE(test_refusals_name_element_value_and_what_is_allowed),
    T_CASE(test_limits_hold_at_the_limit_and_one_beyond),
    T_CASE(test_a_document_that_is_too_long_is_not_parsed),
    T_CASE(test_names_are_bounded),
    T_CASE(test_the_schema_agrees_with_the_parser),
};
T_MAIN("pool XML", cases)
