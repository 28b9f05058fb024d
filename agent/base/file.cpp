#include "agent/base/file.hpp"

#include "agent/base/fd.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace penstock {
namespace {

// Removes the temporary file unless it became the real one.
struct Temporary {
    std::string path;
    ~Temporary() {
        if (!path.empty())
            unlink(path.c_str());
    }
};

bool write_all(int fd, std::string_view content) {
    while (!content.empty()) {
        const auto written = write(fd, content.data(), content.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        content.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

// A file system that cannot sync folders (vboxsf) says EINVAL: there is nothing more to do there.
bool sync_folder(const std::filesystem::path& folder) {
    const Fd fd(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd && (fsync(fd.get()) == 0 || errno == EINVAL);
}

Result<std::string> read_all(const Fd& fd, const std::filesystem::path& path, std::size_t limit) {
    const auto context = "cannot read " + path.string();
    const auto too_large = [&] {
        return fail(path.string() + " is larger than the limit of " + std::to_string(limit) + " bytes", EFBIG);
    };
    struct stat info{};
    if (fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode) && static_cast<std::size_t>(info.st_size) > limit)
        return too_large(); // before any memory is spent on it
    std::string content;
    char buffer[65536];
    for (;;) {
        const auto got = read(fd.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(context);
        if (got == 0)
            return content;
        if (static_cast<std::size_t>(got) > limit - content.size())
            return too_large();
        content.append(buffer, static_cast<std::size_t>(got));
    }
}

} // namespace

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno("cannot read " + path.string());
    return read_all(fd, path, limit);
}

Result<Fd> open_guarded(const std::filesystem::path& path, bool secret) {
    Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)); // a FIFO must not hold us up
    struct stat info{};
    if (!fd || fstat(fd.get(), &info) != 0)
        return fail_errno("cannot read " + path.string());
    if (S_ISDIR(info.st_mode))
        return fail_errno("cannot read " + path.string(), EISDIR);
    if (!S_ISREG(info.st_mode))
        return fail(path.string() + " is not a file");
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return fail(path.string() + " belongs to user " + std::to_string(info.st_uid) + "; mend: chown root " +
                    path.string());
    if (secret && (info.st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return fail(path.string() + " is a private key that others may read; mend: chmod 600 " + path.string());
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(path.string() + " may be written by others than its owner; mend: chmod go-w " + path.string());
    return fd;
}

Result<std::string> read_guarded(const std::filesystem::path& path, std::size_t limit, bool secret) {
    const auto fd = open_guarded(path, secret);
    if (!fd)
        return tl::unexpected(fd.error());
    return read_all(*fd, path, limit);
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode,
                             Existing existing) {
    const auto context = "cannot write " + path.string();
    const auto folder = path.parent_path();
    std::string name = folder / ".penstock.XXXXXX";
    const Fd fd(mkostemp(name.data(), O_CLOEXEC)); // 0600 until it is complete
    if (!fd)
        return fail_errno(context);
    Temporary temporary{name};
    struct stat old{};
    if (existing == Existing::replace && stat(path.c_str(), &old) == 0)
        mode = old.st_mode & 07777;
    if (!write_all(fd.get(), content) || fchmod(fd.get(), mode) != 0 || fsync(fd.get()) != 0)
        return fail_errno(context);
    if (existing == Existing::replace) {
        if (rename(name.c_str(), path.c_str()) != 0)
            return fail_errno(context);
        temporary.path.clear();
    } else if (link(name.c_str(), path.c_str()) != 0) { // unlike rename() it fails if the name is taken
        return errno == EEXIST ? fail(path.string() + " exists already; it is never overwritten", EEXIST)
                               : fail_errno(context);
    }
    return sync_folder(folder) ? Status{} : fail_errno(context);
}

Status append_to_file(const std::filesystem::path& path, std::string_view content) {
    const Fd fd(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd || !write_all(fd.get(), content) || fsync(fd.get()) != 0 || !sync_folder(path.parent_path()))
        return fail_errno("cannot write " + path.string());
    return {};
}

Result<Fd> lock_folder(const std::filesystem::path& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder)
        return fail_errno("cannot open " + path.string());
    if (flock(folder.get(), LOCK_EX | LOCK_NB) != 0)
        return fail_errno("cannot lock " + path.string());
    return folder;
}

} // namespace penstock
