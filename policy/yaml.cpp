#include "policy/yaml.hpp"

#include "agent/base/file.hpp"
#include "policy/document.hpp"
#include "policy/reader.hpp"

#include <algorithm>
#include <filesystem>

namespace penstock::policy {
namespace {

std::string file_name(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string label(const std::vector<YamlFile>& files, const YamlFile& file) {
    const std::string name = file_name(file.path);
    const auto same =
        std::ranges::count_if(files, [&](const YamlFile& other) { return file_name(other.path) == name; });
    std::string text = same > 1 ? file.path : name;
    // The payload takes plain printable names only.
    std::ranges::replace_if(text, [](char c) { return c <= 0x20 || c >= 0x7f || c == '?'; }, '_');
    return text.substr(0, 255);
}

} // namespace

Result<Policy> read_yaml(const std::vector<YamlFile>& files) {
    if (files.size() > kMaxYamlFiles.value)
        return fail(std::to_string(files.size()) + " files are more than the " + describe(kMaxYamlFiles));
    PolicyReader reader(PolicyReader::Form::authoring);
    for (const YamlFile& file : files) {
        const auto document = parse_yaml(file.text, file.path);
        if (!document)
            return tl::unexpected(document.error());
        if (auto read = reader.add(*document, file.path, label(files, file)); !read)
            return tl::unexpected(read.error());
    }
    return reader.finish();
}

namespace {

// A folder stands for the YAML files in it (not below it), by name.
Result<std::vector<std::string>> expand(const std::vector<std::string>& paths) {
    std::vector<std::string> out;
    for (const std::string& path : paths) {
        std::error_code error;
        if (!std::filesystem::is_directory(path, error)) {
            out.push_back(path);
            continue;
        }
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(path, error))
            if (const auto extension = entry.path().extension(); extension == ".yaml" || extension == ".yml")
                found.push_back(entry.path().string());
        if (error)
            return fail(path + ": " + error.message());
        if (found.empty())
            return fail(path + ": no file in this folder ends in .yaml or .yml");
        std::ranges::sort(found);
        out.insert(out.end(), found.begin(), found.end());
    }
    return out;
}

} // namespace

Result<Policy> load_yaml(const std::vector<std::string>& paths) {
    const auto names = expand(paths);
    if (!names)
        return tl::unexpected(names.error());
    std::vector<YamlFile> files;
    for (const std::string& path : *names) {
        auto text = read_file(path, kMaxYamlBytes.value);
        if (!text)
            return tl::unexpected(text.error());
        files.push_back({path, std::move(*text)});
    }
    return read_yaml(files);
}

} // namespace penstock::policy
