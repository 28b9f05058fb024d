/* Build-time tool: prints what the strongSwan of this build exports, for penstock-ike to compare with when it starts.
 */
#include "agent/ike/abi.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    size_t count;
    uint32_t* exports = strongswan_exports(&count);
    if (!exports) {
        fputs("libcharon.so.0 or libstrongswan.so.0 is not loaded\n", stderr);
        return 1;
    }
    puts("static const uint32_t kBuiltExports[] = {");
    for (size_t i = 0; i < count; i++)
        printf("0x%08" PRIx32 ",%s", exports[i], i % 8 == 7 ? "\n" : "");
    puts("};");
    free(exports);
    return 0;
}
