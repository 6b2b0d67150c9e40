#include "files/image_reader.hpp"

#include <gif_lib.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "files/image_writer.hpp"
#include "files/shrinker.hpp"
#include "jobs/job_checks.hpp"

namespace subforge::files {
namespace {

constexpr png_alloc_size_t kPngChunkBytesMax = 8U << 20;
constexpr int kPngChunksMax = 128;  // Beside those of the image itself.
constexpr std::size_t kReasonBytesMax = 200;

Result<void> check_size(ImageSize size) {
  bool const fits = size.width > 0 && size.height > 0 && size.width <= kImageSideMax &&
                    size.height <= kImageSideMax && size.width <= kImagePixelsMax / size.height;
  if (fits) return {};
  return fail(ErrorCode::invalid,
              fmt::format("the image has {} x {} pixels; at most {} a side and {} in all are shown",
                          size.width, size.height, kImageSideMax, kImagePixelsMax));
}

// The libraries leave by longjmp(): between setjmp() and that nothing may live that has to be
// destroyed, so all of it belongs to the objects below, and run() has nothing of its own.

class PngReader {
 public:
  explicit PngReader(std::FILE* from) : from_(from) {}
  ~PngReader() { ::png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(PngReader const&) = delete;
  PngReader& operator=(PngReader const&) = delete;

  Result<Picture> read(ImageFacts& facts) {
    png_ = ::png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &on_error, &on_warning);
    if (png_ != nullptr) info_ = ::png_create_info_struct(png_);
    if (info_ == nullptr) return fail(ErrorCode::invalid, "there is no memory to unpack it in");
    if (!begin()) return wrong();
    facts.size = size_;
    if (auto fits = check_size(size_); !fits) return std::unexpected(fits.error());
    shrinker_.emplace(size_);
    row_.resize(static_cast<std::size_t>(size_.width));
    if (!rows()) return wrong();
    facts.warning = std::move(warning_);
    return shrinker_->picture();
  }

 private:
  [[nodiscard]] std::unexpected<Error> wrong() const {
    return fail(ErrorCode::invalid, "the PNG cannot be unpacked: " + error_);
  }
  bool begin() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    ::png_init_io(png_, from_);
    ::png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    ::png_set_chunk_malloc_max(png_, kPngChunkBytesMax);
    ::png_set_chunk_cache_max(png_, kPngChunksMax);
    ::png_read_info(png_, info_);
    size_ = {::png_get_image_width(png_, info_), ::png_get_image_height(png_, info_)};
    return true;
  }
  bool rows() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    bool const interlaced = ::png_get_interlace_type(png_, info_) == PNG_INTERLACE_ADAM7;
    // To red, green, blue and alpha of eight bits each, whatever it is.
    ::png_set_expand(png_);
    ::png_set_scale_16(png_);
    ::png_set_gray_to_rgb(png_);
    ::png_set_add_alpha(png_, 0xff, PNG_FILLER_AFTER);
    ::png_read_update_info(png_, info_);
    if (::png_get_rowbytes(png_, info_) != row_.size() * sizeof(Pixel)) {
      ::png_error(png_, "its rows are not as long as they should be");
    }
    interlaced ? read_passes() : read_rows();
    ::png_read_end(png_, nullptr);
    return true;
  }
  void read_rows() {
    for (std::int64_t y = 0; y < size_.height; ++y) {
      ::png_read_row(png_, reinterpret_cast<png_bytep>(row_.data()), nullptr);
      shrinker_->add(y, 0, 1, row_);
    }
  }
  // The library is not asked to put the passes together, for which it would need all of the image.
  void read_passes() {
    constexpr int kPasses = 7;
    auto const width = static_cast<png_uint_32>(size_.width);
    auto const height = static_cast<png_uint_32>(size_.height);
    for (int pass = 0; pass < kPasses; ++pass) {
      auto const columns = PNG_PASS_COLS(width, pass);
      auto const lines = PNG_PASS_ROWS(height, pass);
      if (columns == 0) continue;
      for (png_uint_32 line = 0; line < lines; ++line) {
        ::png_read_row(png_, reinterpret_cast<png_bytep>(row_.data()), nullptr);
        shrinker_->add(PNG_ROW_FROM_PASS_ROW(line, pass), PNG_PASS_START_COL(pass),
                       std::int64_t{1} << PNG_PASS_COL_SHIFT(pass),
                       std::span<Pixel const>(row_.data(), columns));
      }
    }
  }
  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    static_cast<PngReader*>(::png_get_error_ptr(png))->error_ = text;
    ::png_longjmp(png, 1);
  }
  static void on_warning(png_structp png, png_const_charp text) {
    auto& warning = static_cast<PngReader*>(::png_get_error_ptr(png))->warning_;
    if (warning.empty()) warning = text;
  }

  std::FILE* from_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  ImageSize size_;
  std::optional<Shrinker> shrinker_;
  std::vector<Pixel> row_;
  std::string error_;
  std::string warning_;
};

// The orientation that a camera notes in the first directory of its EXIF data; 1 where it does not.
int orientation_in(std::string_view data) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  constexpr std::uint32_t kOrientation = 0x0112;
  constexpr std::size_t kEntryBytes = 12;
  if (!data.starts_with(kExif)) return 1;
  data.remove_prefix(kExif.size());
  bool const little = data.starts_with("II");
  auto const number = [&](std::size_t at, std::size_t bytes) -> std::uint32_t {
    std::uint32_t value = 0;
    if (at > data.size() || data.size() - at < bytes) return 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      auto const from = little ? at + bytes - 1 - i : at + i;
      value = value << 8 | static_cast<std::uint8_t>(data[from]);
    }
    return value;
  };
  auto const directory = number(4, 4);
  auto const entries = number(directory, 2);
  for (std::uint32_t i = 0; i < entries; ++i) {
    auto const at = std::size_t{directory} + 2 + i * kEntryBytes;
    if (at >= data.size()) break;
    if (number(at, 2) == kOrientation) return static_cast<int>(number(at + 8, 2));
  }
  return 1;
}

class JpegReader {
 public:
  explicit JpegReader(std::FILE* from) : from_(from) {
    jpeg_.err = ::jpeg_std_error(&errors_.base);
    errors_.base.error_exit = &on_error;
    errors_.base.output_message = &on_message;
    errors_.base.emit_message = &on_warning;
    errors_.reader = this;
  }
  ~JpegReader() { ::jpeg_destroy_decompress(&jpeg_); }
  JpegReader(JpegReader const&) = delete;
  JpegReader& operator=(JpegReader const&) = delete;

  Result<Picture> read(ImageFacts& facts) {
    if (!begin()) return wrong();
    facts.size = {jpeg_.image_width, jpeg_.image_height};
    if (auto fits = check_size(facts.size); !fits) return std::unexpected(fits.error());
    note_orientation();
    if (!start()) return wrong();
    shrinker_.emplace(ImageSize{jpeg_.output_width, jpeg_.output_height});
    samples_.resize(std::size_t{jpeg_.output_width} *
                    static_cast<std::size_t>(jpeg_.output_components));
    row_.resize(jpeg_.output_width);
    if (!rows()) return wrong();
    facts.warning = std::move(warning_);
    return turned(shrinker_->picture(), orientation_);
  }

 private:
  struct Errors {
    jpeg_error_mgr base;
    std::jmp_buf back;
    JpegReader* reader;
  };
  [[nodiscard]] std::unexpected<Error> wrong() const {
    return fail(ErrorCode::invalid, "the JPEG cannot be unpacked: " + error_);
  }
  bool begin() {
    if (setjmp(errors_.back) != 0) return false;
    ::jpeg_create_decompress(&jpeg_);
    jpeg_.mem->max_memory_to_use = kDecoderBytesMax;
    ::jpeg_stdio_src(&jpeg_, from_);
    ::jpeg_save_markers(&jpeg_, JPEG_APP0 + 1, 0xffff);
    ::jpeg_read_header(&jpeg_, TRUE);
    return true;
  }
  bool start() {
    if (setjmp(errors_.back) != 0) return false;
    // It can be unpacked in eighths of its size at once, for a fraction of the time.
    auto const longer = std::max(jpeg_.image_width, jpeg_.image_height);
    jpeg_.scale_denom = 8;
    jpeg_.scale_num = 8;
    while (jpeg_.scale_num > 1 && longer * (jpeg_.scale_num / 2) / 8 >= 2 * kThumbnailSide) {
      jpeg_.scale_num /= 2;
    }
    four_inks_ = jpeg_.num_components == 4;
    jpeg_.out_color_space = four_inks_ ? JCS_CMYK : JCS_RGB;
    progress_.progress_monitor = &on_progress;
    jpeg_.progress = &progress_;
    ::jpeg_start_decompress(&jpeg_);
    return true;
  }
  bool rows() {
    if (setjmp(errors_.back) != 0) return false;
    while (jpeg_.output_scanline < jpeg_.output_height) {
      auto const y = jpeg_.output_scanline;
      auto* samples = samples_.data();
      ::jpeg_read_scanlines(&jpeg_, &samples, 1);
      four_inks_ ? from_inks() : from_colours();
      shrinker_->add(y, 0, 1, row_);
    }
    ::jpeg_finish_decompress(&jpeg_);
    return true;
  }
  void from_colours() {
    for (std::size_t x = 0; x < row_.size(); ++x) {
      row_[x] = {samples_[3 * x], samples_[3 * x + 1], samples_[3 * x + 2], 255};
    }
  }
  // As Adobe's programs write them, turned over: 255 is no ink.
  void from_inks() {
    auto const seen = [&](std::size_t at, std::size_t black) {
      return static_cast<std::uint8_t>(samples_[at] * samples_[black] / 255);
    };
    for (std::size_t x = 0; x < row_.size(); ++x) {
      auto const black = 4 * x + 3;
      row_[x] = {seen(4 * x, black), seen(4 * x + 1, black), seen(4 * x + 2, black), 255};
    }
  }
  void note_orientation() {
    for (auto const* marker = jpeg_.marker_list; marker != nullptr; marker = marker->next) {
      std::string_view const data(reinterpret_cast<char const*>(marker->data), marker->data_length);
      if (auto const found = orientation_in(data); found != 1) orientation_ = found;
    }
  }

  static std::string text_of(j_common_ptr jpeg) {
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    return text;
  }
  static JpegReader& reader_of(j_common_ptr jpeg) {
    return *reinterpret_cast<Errors*>(jpeg->err)->reader;
  }
  [[noreturn]] static void on_error(j_common_ptr jpeg) {
    reader_of(jpeg).error_ = text_of(jpeg);
    std::longjmp(reinterpret_cast<Errors*>(jpeg->err)->back, 1);
  }
  static void on_message(j_common_ptr) {}
  static void on_warning(j_common_ptr jpeg, int level) {
    if (level >= 0) return;  // A trace.
    ++jpeg->err->num_warnings;
    auto& warning = reader_of(jpeg).warning_;
    if (warning.empty()) warning = text_of(jpeg);
  }
  static void on_progress(j_common_ptr jpeg) {
    auto& reader = reader_of(jpeg);
    if (reader.jpeg_.input_scan_number <= kScansMax) return;
    reader.error_ = fmt::format("it has more than {} scans", kScansMax);
    std::longjmp(reader.errors_.back, 1);
  }

  std::FILE* from_;
  Errors errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct jpeg_{};
  bool four_inks_ = false;
  int orientation_ = 1;
  std::optional<Shrinker> shrinker_;
  std::vector<std::uint8_t> samples_;
  std::vector<Pixel> row_;
  std::string error_;
  std::string warning_;
};

class GifReader {
 public:
  explicit GifReader(std::FILE* from) {
    int code = 0;
    gif_ = ::DGifOpen(from, &on_read, &code);
    if (gif_ == nullptr) error_ = text_of(code);
  }
  ~GifReader() {
    if (gif_ != nullptr) ::DGifCloseFile(gif_, nullptr);
  }
  GifReader(GifReader const&) = delete;
  GifReader& operator=(GifReader const&) = delete;

  Result<Picture> read(ImageFacts& facts) {
    if (gif_ == nullptr) return wrong();
    facts.size = {gif_->SWidth, gif_->SHeight};
    if (auto fits = check_size(facts.size); !fits) return std::unexpected(fits.error());
    shrinker_.emplace(facts.size);
    for (;;) {
      auto type = UNDEFINED_RECORD_TYPE;
      if (::DGifGetRecordType(gif_, &type) == GIF_ERROR) return wrong();
      if (type == TERMINATE_RECORD_TYPE) {
        error_ = "there is no picture in it";
        return wrong();
      }
      if (type == EXTENSION_RECORD_TYPE && !skip_extension()) return wrong();
      if (type != IMAGE_DESC_RECORD_TYPE) continue;
      if (!read_picture()) return wrong();
      return shrinker_->picture();
    }
  }

 private:
  [[nodiscard]] std::unexpected<Error> wrong() const {
    auto const reason = error_.empty() ? text_of(gif_->Error) : error_;
    return fail(ErrorCode::invalid, "the GIF cannot be unpacked: " + reason);
  }
  static std::string text_of(int code) {
    auto const* const text = ::GifErrorString(code);
    return text != nullptr ? text : "it is damaged";
  }
  static int on_read(GifFileType* gif, GifByteType* bytes, int count) {
    auto* const from = static_cast<std::FILE*>(gif->UserData);
    return static_cast<int>(std::fread(bytes, 1, static_cast<std::size_t>(count), from));
  }
  bool skip_extension() {
    int code = 0;
    GifByteType* block = nullptr;
    if (::DGifGetExtension(gif_, &code, &block) == GIF_ERROR) return false;
    while (block != nullptr) {
      // Its first byte is its length.
      GraphicsControlBlock control{};
      if (code == GRAPHICS_EXT_FUNC_CODE &&
          ::DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK) {
        transparent_ = control.TransparentColor;
      }
      if (::DGifGetExtensionNext(gif_, &block) == GIF_ERROR) return false;
    }
    return true;
  }
  bool read_picture() {
    if (::DGifGetImageDesc(gif_) == GIF_ERROR) return false;
    auto const& place = gif_->Image;
    auto const* const colours = place.ColorMap != nullptr ? place.ColorMap : gif_->SColorMap;
    if (colours == nullptr) {
      error_ = "it has no colours";
      return false;
    }
    if (auto fits = check_size({place.Width, place.Height}); !fits) {
      error_ = fits.error().message;
      return false;
    }
    indices_.resize(static_cast<std::size_t>(place.Width));
    row_.resize(indices_.size());
    constexpr std::pair<int, int> kInterlaced[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
    constexpr std::pair<int, int> kPlain[] = {{0, 1}};
    auto const passes = place.Interlace ? std::span<std::pair<int, int> const>(kInterlaced)
                                        : std::span<std::pair<int, int> const>(kPlain);
    for (auto const& [first, step] : passes) {
      for (int y = first; y < place.Height; y += step) {
        if (::DGifGetLine(gif_, indices_.data(), place.Width) == GIF_ERROR) return false;
        std::ranges::transform(indices_, row_.begin(),
                               [&](int index) { return pixel_of(*colours, index); });
        shrinker_->add(place.Top + y, place.Left, 1, row_);
      }
    }
    return true;
  }
  [[nodiscard]] Pixel pixel_of(ColorMapObject const& colours, int index) const {
    if (index == transparent_ || index >= colours.ColorCount) return {0, 0, 0, 0};
    auto const& colour = colours.Colors[index];
    return {colour.Red, colour.Green, colour.Blue, 255};
  }

  GifFileType* gif_ = nullptr;
  int transparent_ = NO_TRANSPARENT_COLOR;
  std::optional<Shrinker> shrinker_;
  std::vector<GifPixelType> indices_;
  std::vector<Pixel> row_;
  std::string error_;
};

template <class Reader>
Result<ImageFacts> read_with(std::FILE* from, std::string_view format) {
  ImageFacts facts;
  facts.format = format;
  Reader reader(from);
  auto picture = reader.read(facts);
  if (!picture) {
    return fail(ErrorCode::invalid, jobs::clean_text(picture.error().message, kReasonBytesMax));
  }
  facts.warning = jobs::clean_text(facts.warning, kReasonBytesMax);
  auto small = write_picture(*picture);
  if (!small) return std::unexpected(small.error());
  facts.thumbnail = std::move(*small);
  return facts;
}

}  // namespace

Result<ImageFacts> read_image(std::FILE* from) {
  std::string head(8, '\0');
  head.resize(std::fread(head.data(), 1, head.size(), from));
  if (std::fseek(from, 0, SEEK_SET) != 0) {
    return fail(ErrorCode::internal, "the image cannot be read");
  }
  if (head.starts_with("\x89PNG\r\n\x1a\n")) return read_with<PngReader>(from, "png");
  if (head.starts_with("\xff\xd8\xff")) return read_with<JpegReader>(from, "jpeg");
  if (head.starts_with("GIF8")) return read_with<GifReader>(from, "gif");
  return fail(ErrorCode::invalid, "it is neither a PNG nor a JPEG nor a GIF");
}

}  // namespace subforge::files
