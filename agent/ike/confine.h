/* What penstock-ike gives up before it speaks with anybody. Both while the process has one thread; all others inherit.
 */
#pragma once

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

bool drop_capabilities(void);
bool confine_system_calls(void);

#ifdef __cplusplus
}
#endif
