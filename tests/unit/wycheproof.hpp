// Project Wycheproof's vectors: no part of the project, so a case that needs them is skipped where they are not.
#pragma once

#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace penstock::test {

inline std::string vectors_path(const std::string& file) {
    const char* folder = std::getenv("PENSTOCK_SHARED_DATA");
    return std::string(folder != nullptr ? folder : PENSTOCK_SOURCE_DIR "/../shared/data") + "/wycheproof/" + file;
}

// A precondition of a case.
struct HaveVectors {
    std::string file;
    boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
        boost::test_tools::assertion_result have(std::filesystem::exists(vectors_path(file)));
        have.message() << "no Wycheproof vectors at " << vectors_path(file) << " (set PENSTOCK_SHARED_DATA)";
        return have;
    }
};

inline nlohmann::json read_vectors(const std::string& file) {
    std::ifstream in(vectors_path(file));
    return nlohmann::json::parse(in);
}

inline std::string unhex(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2)
        out += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
    return out;
}

} // namespace penstock::test
