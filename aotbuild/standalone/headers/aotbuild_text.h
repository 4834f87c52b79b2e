// What messages are put together with, in place of C++'s streams: those link 400 kB of locales.
#pragma once

#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>

namespace aotbuild::text {

template <typename T>
inline constexpr bool is_number =
    std::is_same_v<T, bool> || (std::is_integral_v<T> && sizeof(T) >= sizeof(short));

// Whether a value is text or a whole number, for which no stream is needed.
template <typename T, typename Value = std::remove_cvref_t<T>>
inline constexpr bool plain = is_number<Value> || std::is_same_v<Value, char> ||
                              std::is_convertible_v<const Value&, std::string_view>;

// In place of std::ostringstream. What is not plain goes through a stream all the same.
class Text {
 public:
  template <typename T>
  Text& operator<<(const T& value) {
    if constexpr (std::is_same_v<T, char>) {
      text_ += value;
    } else if constexpr (is_number<T>) {
      text_ += std::to_string(value);
    } else if constexpr (plain<T>) {
      text_ += std::string_view(value);
    } else {
      std::basic_ostringstream<char> stream;
      stream << value;
      text_ += stream.str();
    }
    return *this;
  }

  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

// In place of std::cerr, for one statement.
class Printed : public Text {
 public:
  Printed() = default;
  Printed(const Printed&) = delete;
  Printed& operator=(const Printed&) = delete;
  ~Printed() { std::fwrite(str().data(), 1, str().size(), stderr); }
};

// In place of a regular expression for the name of a device, such as "cuda:0": a match of
// (cpu|cuda|xpu|mps)(:([0-9]+))?
class DeviceName {
 public:
  struct Group {
    bool matched = false;
    std::string text;
    const std::string& str() const { return text; }
  };

  explicit DeviceName(const std::string& name) {
    size_t colon = name.find(':');
    std::string type = name.substr(0, colon);
    if (type != "cpu" && type != "cuda" && type != "xpu" && type != "mps") return;
    if (colon != std::string::npos) {
      std::string index = name.substr(colon + 1);
      if (index.empty() || index.find_first_not_of("0123456789") != std::string::npos) return;
      groups_[2] = {true, ":" + index};
      groups_[3] = {true, index};
    }
    groups_[0] = {true, name};
    groups_[1] = {true, type};
  }

  explicit operator bool() const { return groups_[0].matched; }
  const Group& operator[](size_t index) const { return groups_[index]; }

 private:
  Group groups_[4];
};

}  // namespace aotbuild::text
