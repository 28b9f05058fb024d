#include "policy/files.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock::policy {
namespace {

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Removes the temporary file unless it became the real one.
struct Temporary {
    std::string path;
    ~Temporary() {
        if (!path.empty())
            ::unlink(path.c_str());
    }
};

Status put_in_place(const std::string& from, const std::string& to, Existing existing) {
    if (existing == Existing::replace)
        return ::rename(from.c_str(), to.c_str()) == 0 ? Status{} : fail_errno("cannot write " + to);
    // A hard link fails if the name is taken, on every file system that Debian installs on.
    if (::link(from.c_str(), to.c_str()) == 0)
        return {};
    return errno == EEXIST ? fail(to + " exists already; it is never overwritten", EEXIST)
                           : fail_errno("cannot write " + to);
}

void sync_folder(const std::string& folder) {
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    ::fsync(fd);
    ::close(fd);
}

} // namespace

Result<std::string> read_file(const std::string& path, const Limit& limit) {
    const File file(std::fopen(path.c_str(), "rbe"));
    if (!file)
        return fail_errno("cannot read " + path);
    std::string content;
    char chunk[1 << 16];
    std::size_t got = 0;
    while ((got = std::fread(chunk, 1, sizeof chunk, file.get())) > 0) {
        if (content.size() + got > limit.value)
            return fail(path + ": larger than the " + describe(limit));
        content.append(chunk, got);
    }
    if (std::ferror(file.get()) != 0)
        return fail_errno("cannot read " + path);
    return content;
}

Status write_file(const std::string& path, std::string_view content, mode_t mode, Existing existing) {
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    std::string name = folder + "/.penstock.XXXXXX";
    const int fd = ::mkostemp(name.data(), O_CLOEXEC); // 0600 until it is complete
    if (fd < 0)
        return fail_errno("cannot write " + path);
    Temporary temporary{name};
    File file(::fdopen(fd, "wb"));
    struct stat old{};
    if (existing == Existing::replace && ::stat(path.c_str(), &old) == 0)
        mode = old.st_mode & 07777;
    if (std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() || std::fflush(file.get()) != 0 ||
        ::fchmod(fd, mode) != 0 || ::fsync(fd) != 0)
        return fail_errno("cannot write " + path);
    if (auto placed = put_in_place(name, path, existing); !placed)
        return placed;
    if (existing == Existing::replace)
        temporary.path.clear();
    sync_folder(folder);
    return {};
}

} // namespace penstock::policy
