#include "files/image_process.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

#include <boost/json/object.hpp>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/shrinker.hpp"
#include "jobs/job_checks.hpp"

namespace subforge::files {
namespace {

constexpr int kNoNewFiles = 4;  // Input, output, errors, and one to spare.
constexpr std::size_t kTextBytesMax = 300;

// Sanitizers lay claim to more addresses than there is memory, and ask the kernel for more than
// reading a picture does.
#if defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

void limit(__rlimit_resource resource, std::int64_t most, std::int64_t more = 0) {
  rlimit const both{static_cast<rlim_t>(most), static_cast<rlim_t>(most + more)};
  ::setrlimit(resource, &both);
}

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

// From now on the kernel does for it what reading, memory and an answer need, and refuses all else:
// files, sockets, other programs.
void refuse_all_else() {
  constexpr std::uint32_t kAllowed[] = {
      SYS_read,  SYS_write,     SYS_lseek,        SYS_fstat,  SYS_newfstatat, SYS_close,
      SYS_brk,   SYS_mmap,      SYS_munmap,       SYS_mremap, SYS_mprotect,   SYS_madvise,
      SYS_futex, SYS_getrandom, SYS_rt_sigreturn, SYS_exit,   SYS_exit_group};
  if (kArchitecture == 0) return;
  auto const load = [](std::size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
  };
  auto const answer = [](std::uint32_t action) {
    return sock_filter BPF_STMT(BPF_RET | BPF_K, action);
  };
  std::vector<sock_filter> filter{
      load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      answer(SECCOMP_RET_KILL_PROCESS),
      load(offsetof(seccomp_data, nr)),
  };
  for (auto const number : kAllowed) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    filter.push_back(answer(SECCOMP_RET_ALLOW));
  }
  filter.push_back(answer(SECCOMP_RET_ERRNO | EPERM));
  sock_fprog const program{static_cast<unsigned short>(filter.size()), filter.data()};
  // A kernel without it leaves the other limits.
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

void limit_itself() {
  if (!kSanitized) limit(RLIMIT_AS, kImageMemoryBytesMax);
  limit(RLIMIT_CPU, kImageCpuSecondsMax, 1);  // At the second one it would not be told why.
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_NOFILE, kNoNewFiles);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (!kSanitized) refuse_all_else();
}

bool write_whole(std::string_view text) {
  while (!text.empty()) {
    auto const wrote = ::write(STDOUT_FILENO, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return true;
}

std::int64_t number_member(boost::json::object const& object, std::string_view name) {
  auto const* const value = object.if_contains(name);
  return value != nullptr && value->is_int64() ? value->get_int64() : -1;
}

bool is_side(std::int64_t side, std::int64_t most) { return side >= 1 && side <= most; }

std::string plain_text(boost::json::object const& object, std::string_view name) {
  return jobs::clean_text(describe::text_member(object, name), kTextBytesMax);
}

}  // namespace

int read_image_process() {
  limit_itself();
  return write_whole(image_reply(read_image(stdin)) + "\n") ? 0 : 1;
}

std::string image_reply(Result<ImageFacts> const& facts) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  if (facts) {
    json.member("format", facts->format);
    json.member("width", facts->size.width);
    json.member("height", facts->size.height);
    json.member("warning", facts->warning);
    json.member("thumbnail_type", facts->thumbnail.mime_type);
    json.member("thumbnail_width", facts->thumbnail.size.width);
    json.member("thumbnail_height", facts->thumbnail.size.height);
    json.member("thumbnail", base64_encode(facts->thumbnail.bytes));
  } else {
    json.member("error", facts.error().message);
  }
  json.end_object();
  return text;
}

Result<ImageFacts> parse_image_reply(std::string_view line) {
  auto const strange = fail(ErrorCode::internal, "The reader of images gave a strange answer");
  boost::system::error_code error;
  auto const value = describe::parse_json(line, error);
  if (error || !value.is_object()) return strange;
  auto const& object = value.get_object();
  if (auto reason = plain_text(object, "error"); !reason.empty()) {
    return fail(ErrorCode::invalid, std::move(reason));
  }
  ImageFacts facts;
  facts.format = plain_text(object, "format");
  facts.warning = plain_text(object, "warning");
  facts.size = {number_member(object, "width"), number_member(object, "height")};
  auto& thumbnail = facts.thumbnail;
  thumbnail.mime_type = plain_text(object, "thumbnail_type");
  thumbnail.size = {number_member(object, "thumbnail_width"),
                    number_member(object, "thumbnail_height")};
  auto bytes = base64_decode(describe::text_member(object, "thumbnail"));
  bool const known = facts.format == "png" || facts.format == "jpeg" || facts.format == "gif";
  if (!known || !bytes || std::ssize(*bytes) > kThumbnailBytesMax ||
      !is_side(facts.size.width, kImageSideMax) || !is_side(facts.size.height, kImageSideMax) ||
      !is_side(thumbnail.size.width, kThumbnailSide) ||
      !is_side(thumbnail.size.height, kThumbnailSide)) {
    return strange;
  }
  thumbnail.bytes = std::move(*bytes);
  // It is a picture of the size and the kind that it says.
  auto const size = image_size(thumbnail.bytes);
  bool const png = thumbnail.bytes.starts_with("\x89PNG") && thumbnail.mime_type == "image/png";
  bool const jpeg = thumbnail.bytes.starts_with("\xff\xd8") && thumbnail.mime_type == "image/jpeg";
  if (!size || !(png || jpeg) || size->width != thumbnail.size.width ||
      size->height != thumbnail.size.height) {
    return strange;
  }
  return facts;
}

}  // namespace subforge::files
