// The questions of `penstock setup`, one a line, each with what the machine suggests.
#pragma once

#include "agent/setup/answers.hpp"

#include <iosfwd>

namespace penstock::setup {

// Asks again until an answer can be meant; whether they fit together is for the configuration's check to say. An error
// if the input ends.
Result<Answers> ask(std::istream& in, std::ostream& out, Answers proposed);

// One answer of these words; the first is what an empty line means.
Result<std::string> choose(std::istream& in, std::ostream& out, const std::string& question,
                           const std::vector<std::string>& words);

} // namespace penstock::setup
