#include "files/image_writer.hpp"

#include <jpeglib.h>
#include <png.h>

#include <csetjmp>
#include <cstdlib>

namespace subforge::files {
namespace {

// The libraries leave by longjmp(): between setjmp() and that nothing may live that has to be
// destroyed, so all of it belongs to these objects.
class PngWriter {
 public:
  explicit PngWriter(Picture const& picture) : picture_(picture) {}
  ~PngWriter() { ::png_destroy_write_struct(&png_, &info_); }
  PngWriter(PngWriter const&) = delete;
  PngWriter& operator=(PngWriter const&) = delete;

  bool run() {
    png_ = ::png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, &on_error, &on_warning);
    if (png_ == nullptr) return false;
    info_ = ::png_create_info_struct(png_);
    if (info_ == nullptr) return false;
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    ::png_set_write_fn(png_, this, &on_bytes, nullptr);
    auto const width = static_cast<png_uint_32>(picture_.size.width);
    auto const height = static_cast<png_uint_32>(picture_.size.height);
    ::png_set_IHDR(png_, info_, width, height, 8, PNG_COLOR_TYPE_RGB_ALPHA, PNG_INTERLACE_NONE,
                   PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    ::png_write_info(png_, info_);
    static_assert(sizeof(Pixel) == 4);
    for (png_uint_32 y = 0; y < height; ++y) {
      auto const* const row = picture_.pixels.data() + std::size_t{y} * width;
      ::png_write_row(png_, reinterpret_cast<png_const_bytep>(row));
    }
    ::png_write_end(png_, nullptr);
    return true;
  }
  [[nodiscard]] std::string& bytes() { return bytes_; }

 private:
  static void on_bytes(png_structp png, png_bytep bytes, png_size_t count) {
    static_cast<PngWriter*>(::png_get_io_ptr(png))
        ->bytes_.append(reinterpret_cast<char const*>(bytes), count);
  }
  [[noreturn]] static void on_error(png_structp png, png_const_charp) { ::png_longjmp(png, 1); }
  static void on_warning(png_structp, png_const_charp) {}

  Picture const& picture_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::string bytes_;
};

class JpegWriter {
 public:
  explicit JpegWriter(Picture const& picture) : picture_(picture) {
    jpeg_.err = ::jpeg_std_error(&errors_.base);
    errors_.base.error_exit = &on_error;
  }
  ~JpegWriter() {
    ::jpeg_destroy_compress(&jpeg_);
    std::free(buffer_);  // The library's own.
  }
  JpegWriter(JpegWriter const&) = delete;
  JpegWriter& operator=(JpegWriter const&) = delete;

  bool run() {
    row_.resize(picture_.pixels.empty() ? 0 : 3 * static_cast<std::size_t>(picture_.size.width));
    if (setjmp(errors_.back) != 0) return false;
    ::jpeg_create_compress(&jpeg_);
    ::jpeg_mem_dest(&jpeg_, &buffer_, &size_);
    jpeg_.image_width = static_cast<JDIMENSION>(picture_.size.width);
    jpeg_.image_height = static_cast<JDIMENSION>(picture_.size.height);
    jpeg_.input_components = 3;
    jpeg_.in_color_space = JCS_RGB;
    ::jpeg_set_defaults(&jpeg_);
    ::jpeg_set_quality(&jpeg_, kJpegQuality, TRUE);
    ::jpeg_start_compress(&jpeg_, TRUE);
    while (jpeg_.next_scanline < jpeg_.image_height) {
      fill_row();
      auto* row = row_.data();
      ::jpeg_write_scanlines(&jpeg_, &row, 1);
    }
    ::jpeg_finish_compress(&jpeg_);
    return true;
  }
  [[nodiscard]] std::string bytes() const {
    return {reinterpret_cast<char const*>(buffer_), static_cast<std::size_t>(size_)};
  }

 private:
  struct Errors {
    jpeg_error_mgr base;
    std::jmp_buf back;
  };
  [[noreturn]] static void on_error(j_common_ptr jpeg) {
    std::longjmp(reinterpret_cast<Errors*>(jpeg->err)->back, 1);
  }
  void fill_row() {
    auto const width = static_cast<std::size_t>(picture_.size.width);
    auto const* from = picture_.pixels.data() + jpeg_.next_scanline * width;
    for (std::size_t x = 0; x < width; ++x, ++from) {
      row_[3 * x] = from->red;
      row_[3 * x + 1] = from->green;
      row_[3 * x + 2] = from->blue;
    }
  }

  Picture const& picture_;
  Errors errors_{};
  jpeg_compress_struct jpeg_{};
  unsigned char* buffer_ = nullptr;
  unsigned long size_ = 0;
  std::vector<unsigned char> row_;
};

}  // namespace

Result<Thumbnail> write_picture(Picture const& picture) {
  if (picture.opaque()) {
    JpegWriter jpeg(picture);
    if (!jpeg.run()) return fail(ErrorCode::internal, "The small picture could not be written");
    return Thumbnail{"image/jpeg", picture.size, jpeg.bytes()};
  }
  PngWriter png(picture);
  if (!png.run()) return fail(ErrorCode::internal, "The small picture could not be written");
  return Thumbnail{"image/png", picture.size, std::move(png.bytes())};
}

}  // namespace subforge::files
