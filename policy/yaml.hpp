// Authoring: the YAML files of one fleet into a Policy. Every refusal says file:line, what was expected and the mend.
#pragma once

#include "policy/model.hpp"

#include <string>
#include <vector>

namespace penstock::policy {

struct YamlFile {
    std::string path; // what errors call it
    std::string text;
};

// Citations use the file's name without its folder, or the path where two files have the same name.
Result<Policy> read_yaml(const std::vector<YamlFile>& files);

// A folder stands for the .yaml and .yml files in it.
Result<Policy> load_yaml(const std::vector<std::string>& paths);

} // namespace penstock::policy
