#include "files/upload.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/content.hpp"
#include "net/body_stream.hpp"

namespace subforge::files {
namespace {

using http::MultipartParser;

std::unexpected<Error> wrong(std::string sentence) {
  return fail(ErrorCode::invalid, std::move(sentence));
}

bool is_storable(std::string_view text) {
  return is_valid_utf8(text) && text.find('\0') == std::string_view::npos;
}

}  // namespace

std::unexpected<Error> invalid_file(std::string_view name, std::string_view reason) {
  return wrong(fmt::format("Invalid file '{}': {}", name, reason));
}

Result<std::vector<std::string>> parse_tags(std::string_view text) {
  if (!is_storable(text)) return wrong("Invalid tags: they are not UTF-8 text");
  std::vector<std::string> tags;
  for (auto const tag : split_list(text, ',')) {
    if (tag.size() > kTagBytesMax) {
      return wrong(fmt::format("Invalid tags: one is longer than {} bytes", kTagBytesMax));
    }
    if (std::ranges::find(tags, tag) == tags.end()) tags.emplace_back(tag);
  }
  if (tags.size() > kTagsMax) return wrong(fmt::format("Invalid tags: more than {}", kTagsMax));
  return tags;
}

Result<describe::JsonText> parse_metadata(std::string_view text) {
  describe::JsonText metadata;
  if (text.empty()) return metadata;
  if (!is_valid_utf8(text)) return wrong("Invalid metadata: it is not UTF-8 text");
  auto const value = describe::parse_json_text(text);
  if (!value) return wrong("Invalid metadata: " + value.error().message);
  describe::Issues issues;
  if (!describe::Codec<describe::JsonText>::read(*value, metadata, {}, {}, issues)) {
    return wrong("Invalid metadata: " + issues.list().front().msg);
  }
  return metadata;
}

std::size_t Upload::wanted() const {
  if (!in_file_) return 1;
  // One byte more than is allowed tells that there is too much.
  auto const left = limits_.file_bytes_max - files_.back().blob->size() + 1;
  return static_cast<std::size_t>(std::clamp<std::int64_t>(left, 1, net::BodyStream::kBlockBytes));
}

Result<void> Upload::take(std::string_view block) {
  for (;;) {
    auto const step = parser_.next(block);
    Result<void> done;
    switch (step.kind) {
      case MultipartParser::Kind::need_more: return {};
      case MultipartParser::Kind::part: done = begin_part(); break;
      case MultipartParser::Kind::data: done = take_data(step.data); break;
      case MultipartParser::Kind::part_end: done = end_part(); break;
      case MultipartParser::Kind::done: break;
      case MultipartParser::Kind::error: return wrong(parser_.error());
    }
    if (!done) return done;
  }
}

Result<void> Upload::begin_part() {
  auto const& part = parser_.part();
  field_ = nullptr;
  if (part.name == "tags") {
    field_ = &tags_;
  } else if (part.name == "metadata") {
    field_ = &metadata_;
  }
  if (field_ != nullptr) field_->clear();
  if (part.name != "files" || !part.filename) return {};  // What else it is, nobody asked for.
  if (static_cast<std::int64_t>(files_.size()) >= limits_.files_max) {
    return wrong(fmt::format("Too many files. Maximum allowed: {}", limits_.files_max));
  }
  auto name = clean_name(*part.filename);
  if (!name) return invalid_file(*part.filename, name.error().message);
  if (auto fits = check_extension(*name, type_); !fits) {
    return invalid_file(*name, fits.error().message);
  }
  if (auto fits = check_declared(*name, part.content_type); !fits) {
    return invalid_file(*name, fits.error().message);
  }
  auto blob = blobs_.create();
  if (!blob) return std::unexpected(blob.error());
  NewFile file;
  file.record.original_filename = std::move(*name);
  file.record.file_type = type_;
  file.blob = std::move(*blob);
  files_.push_back(std::move(file));
  in_file_ = true;
  return {};
}

Result<void> Upload::take_data(std::string_view data) {
  if (in_file_) {
    auto& [record, blob] = files_.back();
    if (blob->size() + static_cast<std::int64_t>(data.size()) > limits_.file_bytes_max) {
      return invalid_file(
          record.original_filename,
          fmt::format("file too large. Maximum size: {} bytes", limits_.file_bytes_max));
    }
    if (share_ != nullptr) {
      auto fits = share_->take(static_cast<std::int64_t>(data.size()));
      if (!fits) return fits;
    }
    return blob->write(data);
  }
  if (field_ == nullptr) return {};
  if (field_->size() + data.size() > kFieldBytesMax) {
    return wrong(
        fmt::format("The field {} is longer than {} bytes", parser_.part().name, kFieldBytesMax));
  }
  field_->append(data);
  return {};
}

Result<void> Upload::end_part() {
  field_ = nullptr;
  if (!std::exchange(in_file_, false)) return {};
  auto& [record, blob] = files_.back();
  if (auto finished = blob->finish(); !finished) return finished;
  auto content = inspect(*blob, record.original_filename);
  if (!content) return invalid_file(record.original_filename, content.error().message);
  record.mime_type = std::move(content->mime_type);
  return {};
}

Result<void> Upload::finish() {
  if (auto whole = parser_.finish(); !whole) return whole;
  if (files_.empty()) return fail(ErrorCode::bad_reference, "Field required");
  auto tags = parse_tags(tags_);
  if (!tags) return std::unexpected(tags.error());
  auto const metadata = parse_metadata(metadata_);
  if (!metadata) return std::unexpected(metadata.error());
  for (auto& file : files_) {
    file.record.tags = *tags;
    file.record.metadata = *metadata;
  }
  return {};
}

}  // namespace subforge::files
