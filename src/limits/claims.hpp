// Names that one request at a time may hold: who comes while another holds a name is turned away
// instead of waiting. Bounded by the requests under way.
#pragma once

#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>

namespace subforge::limits {

class Claims {
 public:
  // Gives the name back at its end; must not outlive the claims it belongs to.
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept
        : claims_(std::exchange(other.claims_, nullptr)), name_(std::move(other.name_)) {}
    Claim& operator=(Claim&& other) noexcept {
      std::swap(claims_, other.claims_);
      std::swap(name_, other.name_);
      return *this;
    }
    ~Claim() {
      if (claims_ != nullptr) claims_->release(name_);
    }
    explicit operator bool() const { return claims_ != nullptr; }

   private:
    friend class Claims;
    Claim(Claims& claims, std::string name) : claims_(&claims), name_(std::move(name)) {}
    Claims* claims_ = nullptr;
    std::string name_;
  };

  // False if somebody holds the name. From any thread.
  [[nodiscard]] Claim take(std::string name);

 private:
  void release(std::string const& name);

  std::mutex mutex_;  // Loops claim in turn, and only requests that bring a name.
  std::unordered_set<std::string> held_;
};

}  // namespace subforge::limits
