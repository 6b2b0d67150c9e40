// Finds the route of a path: a tree of segments in which a literal wins over a parameter.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/route.hpp"

namespace subforge::http {

[[nodiscard]] std::string_view method_name(net::Method method);

// The raw (not decoded) values of a path's parameters; views into the path.
struct PathValues {
  static constexpr std::size_t kMax = 4;
  std::array<std::string_view, kMax> values;
  std::size_t count = 0;
};

class Router {
 public:
  // `routes` must stay where they are while the router is used. Throws std::logic_error if two rows
  // have the same method and path, or a path has too many parameters: both are bugs.
  explicit Router(std::vector<Route> const& routes);

  struct Match {
    // Null where the path is unknown, or known but not with this method.
    Route const* route = nullptr;
    std::size_t index = 0;  // Of the route.
    bool path_known = false;
    std::string_view allow;  // The methods of the path, for 405 and OPTIONS.
    PathValues values;
  };
  // HEAD finds the route of GET.
  [[nodiscard]] Match find(net::Method method, std::string_view path) const;

 private:
  static constexpr std::size_t kMethods = 8;
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Node {
    // A handful each: looking through them is quicker than a hash of the segment.
    std::vector<std::pair<std::string_view, std::unique_ptr<Node>>> literals;
    std::unique_ptr<Node> parameter;
    std::array<std::size_t, kMethods> routes = filled();
    std::string allow;
    static constexpr std::array<std::size_t, kMethods> filled() {
      std::array<std::size_t, kMethods> all{};
      all.fill(kNone);
      return all;
    }
    [[nodiscard]] Node const* literal(std::string_view segment) const;
    [[nodiscard]] Node& add_literal(std::string_view segment);
    [[nodiscard]] bool ends_here() const { return !allow.empty(); }
  };
  void insert(std::size_t index);
  [[nodiscard]] static Node const* walk(Node const& node, std::string_view rest,
                                        PathValues& values);

  std::vector<Route> const& routes_;
  Node root_;
};

}  // namespace subforge::http
