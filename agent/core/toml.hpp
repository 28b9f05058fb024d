// toml++, without what it takes for granted: some of its assertions (of `[[)`, for one) do not hold for every file. A
// debug build would abort there, and a release build of a newer compiler would be optimised as if they held. What
// follows them refuses such a file in words.
#pragma once

#pragma push_macro("NDEBUG")
#undef NDEBUG // else assertions become assumptions
#define TOML_ASSERT(condition) static_cast<void>(0)
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")
