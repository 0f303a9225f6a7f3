/* Just enough JSON to read one answer of the control protocol without a library.
 *
 * The whole text is checked to be one well-formed object (depth <= 16); then single members are
 * taken out of it. Nothing is allocated, no locale, no locks: usable between fork and exec.
 */
#ifndef ZONEPOOL_PLUGIN_LOCK_JSON_SCAN_H
#define ZONEPOOL_PLUGIN_LOCK_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* A part of the scanned text. start NULL: nothing. */
struct json_span {
        const char *start;
        size_t len;
};

/* True when text is exactly one JSON object, white space around it allowed. */
bool json_scan_object(const char *text, size_t len);

/* The value of the member key of an object that json_scan_object accepted; the first one if it is
 * there twice. key is plain ASCII without escapes. */
struct json_span json_scan_member(struct json_span object, const char *key);

/* Copies the text of a string value, escapes resolved (\uXXXX above 0x7e and control characters
 * become '?'), cut to size - 1 bytes. False when the value is not a string. */
bool json_scan_string(struct json_span value, char *buf, size_t size);

#endif
