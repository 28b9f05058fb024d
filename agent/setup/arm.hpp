// The configuration into force, and over the network only until somebody confirms that he can still come in.
//
// While a confirmation is waited for, the new configuration lies in /run, and /etc has a link to it, or one that was
// there before lies under it: when the timer ends, and also when the machine starts again, everything is as before.
#pragma once

#include "agent/setup/install.hpp"

#include <chrono>

namespace penstock::setup {

// The draft becomes the configuration; the next boot, or penstockd, closes the gate.
Status put_in_force(const Paths& paths, Said& said);

// Into force, and closes the gate. patience: without confirm() the guard is released after this time; zero: it is not.
Status arm(const Paths& paths, std::chrono::minutes patience, Said& said);

// Armed, and neither confirmed nor reverted yet.
bool is_waiting(const Paths& paths);

// The configuration stays.
Status confirm(const Paths& paths, Said& said);

// What arm() did, undone: the configuration before it, or none and no guard. The timer's way, and a person's.
Status revert(const Paths& paths, Said& said);

} // namespace penstock::setup
