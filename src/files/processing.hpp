// How far background tasks are with looking into a file. Its record tells in `analysis`:
//
//   {"status": "done", "task_id": "...", ...}
//
// with what was found out beside it, or "error" where that failed. It is null where there is
// nothing to look into.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/uuid.hpp"
#include "files/file.hpp"
#include "files/image_reader.hpp"
#include "store/store.hpp"

namespace subforge::files {

enum class ProcessingStatus : std::uint8_t { pending, processing, done, failed };

constexpr std::array<std::pair<ProcessingStatus, std::string_view>, 4> names_of(ProcessingStatus) {
  using enum ProcessingStatus;
  return {{{pending, "pending"}, {processing, "processing"}, {done, "done"}, {failed, "failed"}}};
}

// What there is to look into.
enum class Processing : std::uint8_t { none, agent_configuration, text, image };
[[nodiscard]] Processing processing_of(FileRecord const& file);

// `members`: those of a JSON object, without its braces.
[[nodiscard]] describe::JsonValue analysis_of(ProcessingStatus status, Uuid const& task_id,
                                              std::string_view members = {});
// Whether this task, and no later one, has come to an end with the file, and how.
[[nodiscard]] std::optional<ProcessingStatus> end_by(FileRecord const& file, Uuid const& task_id);

inline constexpr std::size_t kProcessingErrorBytesMax = 2'000;  // What is longer is cut.

// Of the text of a file, so much from its beginning is found by searches. Its index is written part
// by part, since whoever writes waits for that: what is to be found across the end of one is at the
// beginning of the next (migration "search in parts of files"). The name is a part of its own.
inline constexpr std::size_t kIndexedBytesMax = 64U << 10;
inline constexpr std::size_t kPartCharacters = 16U << 10;
inline constexpr std::size_t kPartOverlap = 256;
inline constexpr std::int64_t kTextRowsEach = 8;
static_assert(kIndexedBytesMax / kPartCharacters < kTextRowsEach);
// That much of a text, as the databases take it: UTF-8 without NUL. What was cut off within a
// character, it takes for something else: give it a few bytes more.
[[nodiscard]] std::string indexed_text(std::string_view text);

// Says that the task has begun with it, which somebody has asked for: whoever uploaded the file, or
// the upload itself. Errors: not_found, forbidden.
[[nodiscard]] Task<Result<FileRecord>> begin_processing(store::Store& store, std::string id,
                                                        Uuid task_id, std::string asked_by);
// Keeps the text that searches find the file by, in several transactions; what a crash leaves out,
// the next call adds. A file that is gone is no error.
[[nodiscard]] Task<Result<void>> keep_text(store::Store& store, std::string id, std::string text);
// Keeps the small picture of an image, in place of an earlier one.
[[nodiscard]] Task<Result<void>> keep_thumbnail_in(store::Transaction& transaction, std::string id,
                                                   Thumbnail thumbnail);
// A file that is gone is no error. `members`: of the analysis.
[[nodiscard]] Task<Result<void>> finish_processing_in(store::Transaction& transaction,
                                                      std::string id, Uuid task_id,
                                                      std::string members);
// Unless it was done already, or another task has it by now. The same.
[[nodiscard]] Task<Result<void>> fail_processing_in(store::Transaction& transaction, std::string id,
                                                    Uuid task_id, std::string error);

}  // namespace subforge::files
