#include "agent/base/file.hpp"

#include "agent/base/fd.hpp"

#include <fcntl.h>
#include <sys/stat.h>

namespace penstock {
namespace {

Status write_all(int fd, std::string_view content) {
    while (!content.empty()) {
        const auto written = write(fd, content.data(), content.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail_errno("write");
        content.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

} // namespace

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno("cannot read " + path.string());
    std::string content;
    char buffer[65536];
    for (;;) {
        const auto got = read(fd.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno("cannot read " + path.string());
        if (got == 0)
            return content;
        content.append(buffer, static_cast<std::size_t>(got));
        if (content.size() > limit)
            return fail(path.string() + " is larger than " + std::to_string(limit) + " bytes");
    }
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode) {
    const auto temporary = path.string() + ".new";
    const auto context = "cannot store " + path.string();
    Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd)
        return fail_errno(context);
    if (auto ok = write_all(fd.get(), content); !ok) {
        unlink(temporary.c_str());
        return fail(context, std::move(ok.error()));
    }
    if (fsync(fd.get()) != 0 || rename(temporary.c_str(), path.c_str()) != 0) {
        const int error = errno;
        unlink(temporary.c_str());
        return fail_errno(context, error);
    }
    const Fd folder(open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || fsync(folder.get()) != 0)
        return fail_errno(context);
    return {};
}

} // namespace penstock
