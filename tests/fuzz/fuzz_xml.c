/* Pool and domain definitions, and the base of a clone: whatever comes in is refused with a text,
 * or reads back as written. */
#include "xml/domain_xml.h"
#include "xml/pool_xml.h"
#include "xml/volume_xml.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int ok, const char *what)
{
        if (!ok) {
                fprintf(stderr, "broken: %s\n", what);
                abort();
        }
}

/* What was accepted is written, read and written again. */
static void check_round_trip(const struct pool_xml *px)
{
        struct pool_xml again;
        struct err err = ERR_INIT;
        char *first = pool_xml_format_options(px), *second, *doc;

        must(first != NULL, "memory");
        must(asprintf(&doc,
                      "<pool type='vstorage' xmlns:zonepool='" POOL_XML_NS_URI "'><name>%s</name>"
                      "<target><path>/run/zonepool/mnt/%s</path></target>%s</pool>",
                      px->name, px->name, first) > 0,
             "memory");
        must(pool_xml_parse(doc, strlen(doc), "/run/zonepool", &again, &err) == 0, err.msg);
        second = pool_xml_format_options(&again);
        must(second && strcmp(first, second) == 0, "options read back differently");
        pool_xml_fini(&again);
        free(first);
        free(second);
        free(doc);
}

/* What was accepted as a base is a path that names the same. */
static void check_base(const char *text)
{
        struct volume_xml_base base, again;
        struct err err = ERR_INIT;

        if (volume_xml_base_parse(text, "/run/zonepool", "tank", &base, &err) < 0) {
                must(err.code > 0 && *err.msg, "refused without a text");
                return;
        }
        char *path = volume_xml_base_format("/run/zonepool", "tank", base.volume,
                                            base.snapshot[0] ? base.snapshot : NULL);
        must(path != NULL, "memory");
        must(volume_xml_base_parse(path, "/run/zonepool", "tank", &again, &err) == 0, err.msg);
        must(!memcmp(&base, &again, sizeof(base)), "a base reads back differently");
        free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        struct pool_xml px;
        struct domain_xml dx;
        struct err err = ERR_INIT;

        if (pool_xml_parse((const char *)data, len, "/run/zonepool", &px, &err) == 0) {
                must(px.ndevices > 0 && pool_xml_name_ok(px.name),
                     "accepted without device or name");
                check_round_trip(&px);
                pool_xml_fini(&px);
        } else {
                must(err.code > 0 && *err.msg, "refused without a text");
        }
        err = ERR_INIT;
        if (domain_xml_parse((const char *)data, len, "/run/zonepool", &dx, &err) == 0) {
                for (size_t i = 0; i < dx.ndisks; i++)
                        must(pool_xml_name_ok(dx.disks[i].pool) &&
                                 volume_xml_name_ok(dx.disks[i].volume),
                             "a disk without a proper name");
                domain_xml_fini(&dx);
        } else {
                must(err.code > 0 && *err.msg, "refused without a text");
        }
        char *text = calloc(1, len + 1);
        must(text != NULL, "memory");
        memcpy(text, data, len);
        check_base(text);
        free(text);
        return 0;
}
