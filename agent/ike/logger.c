/* logger_t: libcharon's log lines as events. Level 2 at most: from 3 on libcharon prints raw bytes, at 4 keys. */
#include "agent/ike/shim.h"

#include <stdarg.h>
#include <stdio.h>

static level_t wanted = LEVEL_CTRL;

static void send_line(debug_t group, level_t level, const char* text) {
    struct pike_log event = {.header.type = PIKE_LOG, .level = level < 0 ? 0 : level};
    snprintf(event.group, sizeof(event.group), "%N", debug_names, group);
    put_text(event.text, sizeof(event.text), text);
    rpc_event_nowait(&event, sizeof(event)); /* a lost line is better than IKE that waits for a log */
}

static void write_line(logger_t* this, debug_t group, level_t level, int thread, ike_sa_t* ike, const char* text) {
    send_line(group, level, text);
}

static level_t get_level(logger_t* this, debug_t group) { return wanted; }

static void before_bus(debug_t group, level_t level, char* format, ...) {
    char text[PIKE_TEXT];
    va_list args;
    if (level > LEVEL_CTRL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    send_line(group, level, text);
}

void logger_early(void) { dbg = before_bus; }

void logger_register(level_t level) {
    static logger_t logger = {.log = write_line, .get_level = get_level};
    wanted = min(level, LEVEL_DIAG);
    charon->bus->add_logger(charon->bus, &logger);
}
