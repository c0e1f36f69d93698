// A headless Chromium that opens a page, runs its script for some seconds of virtual time and hands
// back the document or a picture.
#pragma once

#include <png.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/core/atomic_file.h"

namespace desta::runtime::testing {

struct Picture {
  std::size_t width = 0;
  std::size_t height = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]

  // 0 (black) to 255 (white), by the weights of ITU-R BT.601.
  [[nodiscard]] double luminance(std::size_t x, std::size_t y) const {
    const std::uint8_t* p = &pixels[3 * (y * width + x)];
    return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
  }
};

class Browser {
 public:
  [[nodiscard]] static bool is_there() {
    return std::system("command -v chromium >/dev/null 2>&1") == 0;
  }
  ~Browser() { std::filesystem::remove_all(folder_); }

  // The document as it is after `seconds`.
  [[nodiscard]] std::string document(const std::string& url, int seconds) const {
    run(url, seconds, "--dump-dom");
    return read_file(folder_ / "out");
  }

  // The window, 1280 x 900.
  [[nodiscard]] Picture picture(const std::string& url, int seconds, bool dark) const {
    const std::filesystem::path path = folder_ / "picture.png";
    run(url, seconds,
        "--hide-scrollbars --window-size=1280,900 --blink-settings=preferredColorScheme=" +
            std::string(dark ? "0" : "1") + " --screenshot=" + path.string());
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_file(&image, path.c_str()) == 0) {
      throw std::runtime_error(path.string() + ": " + image.message);
    }
    image.format = PNG_FORMAT_RGB;
    Picture picture{image.width, image.height, std::vector<std::uint8_t>(PNG_IMAGE_SIZE(image))};
    if (png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr) == 0) {
      throw std::runtime_error(path.string() + ": " + image.message);
    }
    return picture;
  }

 private:
  static std::filesystem::path fresh_folder() {
    std::string path = (std::filesystem::temp_directory_path() / "desta-browser-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) {
      throw std::runtime_error("cannot make " + path);
    }
    return path;
  }

  // The sandbox needs a user other than root; what is opened is our own page.
  void run(const std::string& url, int seconds, const std::string& what) const {
    const std::string command =
        "timeout 100 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
        "--no-first-run --user-data-dir=" +
        (folder_ / "profile").string() +
        " --virtual-time-budget=" + std::to_string(seconds * 1000) + " " + what + " '" + url +
        "' >" + (folder_ / "out").string() + " 2>" + (folder_ / "err").string();
    if (std::system(command.c_str()) != 0) {
      throw std::runtime_error(command + ": " + read_file(folder_ / "err"));
    }
  }

  const std::filesystem::path folder_ = fresh_folder();
};

}  // namespace desta::runtime::testing
