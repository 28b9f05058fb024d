#include "agent/doctor/tool.hpp"

#include "agent/base/tool.hpp"

namespace penstock::doctor {

Result<nlohmann::json> ask_tool(const std::vector<std::string>& argv) {
    const auto text = run_tool(argv);
    if (!text)
        return tl::unexpected(text.error());
    if (text->find_first_not_of(" \n") == std::string::npos)
        return nlohmann::json();
    auto json = nlohmann::json::parse(*text, nullptr, false);
    if (json.is_discarded())
        return fail(argv[0] + " did not answer in JSON");
    return json;
}

} // namespace penstock::doctor
