// Requests that may be repeated: a POST with an Idempotency-Key has its effect once, however often
// it is sent (draft-ietf-httpapi-idempotency-key-header, docs/adr/0013-idempotency.md).
//
// The answer is kept in the transaction of the effect, so that a crash leaves both or neither. A
// handler has to say how the result of its write is told, before the write is made:
//
//   co_return co_await answer_with(request, tasks.create(...), [](Result<Task> const& task) {...});
//
// The function is called within the transaction, on the database's thread: it may use what it was
// given and the request, and nothing else. What an answer can tell only after its write is put in
// by amend(). The answer of a POST whose handler does not use answer_with is kept right after it:
// for those that only reach whoever is connected, and for those that may be carried out again.
//
// A body that is streamed is part of the request as well: its handler names what came by content(),
// and whether the request was carried out before is seen by its write.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>

#include "http/request.hpp"
#include "http/response.hpp"
#include "http/route.hpp"
#include "limits/claims.hpp"
#include "store/kept_answers.hpp"
#include "store/write_companion.hpp"

namespace subforge::pipeline {

// The key that a field holds: a string of RFC 9651 in quotes, or the bare text that most clients
// send. Nothing for one that is empty, too long, or not printable ASCII.
[[nodiscard]] std::optional<std::string> parse_idempotency_key(std::string_view field);

// What all such requests share.
struct RepeatedRequests {
  store::Store& store;
  store::KeptAnswers& answers;
  limits::Claims& claims;
};

// One request with a key.
class Once final : public store::WriteCompanion {
 public:
  // `client` is who sent it. The request must stay where it is until the answer is made.
  Once(RepeatedRequests const& shared, std::string client, std::string key,
       http::Request const& request);

  // Answers the request: by the handler, or by what it answered before.
  Task<http::Response> answer(http::AsyncHandler const& handler);

  // What the streamed body was, in few bytes. To be told before answer_with().
  void content(std::string_view digest);

  // The answer that is repeated from now on, after answer_with().
  Task<void> amend(http::Response const& response);

  Task<Result<void>> join(store::Transaction& transaction, std::type_info const& type,
                          void const* result) override;

 private:
  template <class T, class Render>
  friend Task<http::Response> answer_with(http::Request const& request, Task<Result<T>> task,
                                          Render render);

  using Render = std::function<http::Response(void const*)>;
  void expect(std::type_info const& type, Render render);
  Task<void> keep_afterwards(http::Response const& response);
  [[nodiscard]] store::KeptAnswer to_keep(http::Response const& response) const;
  [[nodiscard]] http::Response replay(store::KeptAnswer const& kept) const;

  RepeatedRequests shared_;
  http::Request const& request_;
  store::RequestKey key_;
  std::string hash_;
  bool late_ = false;  // The key was in use when the effect was to be kept with it.
  std::type_info const* expected_ = nullptr;  // The result that the answer is made of.
  Render render_;
  std::optional<http::Response> kept_;
};

// Does `task` and tells its result by `render(Result<T> const&)`.
template <class T, class Render>
Task<http::Response> answer_with(http::Request const& request, Task<Result<T>> task,
                                 Render render) {
  Once* const once = request.once;
  if (once != nullptr) {
    once->expect(typeid(Result<T>), [&render](void const* result) {
      return render(*static_cast<Result<T> const*>(result));
    });
    task.carry(*once);
  }
  auto const result = co_await task;
  if (once == nullptr) co_return render(result);
  once->expect(typeid(void), {});
  if (!result) once->kept_.reset();
  co_return once->kept_ ? std::move(*once->kept_) : render(result);
}

}  // namespace subforge::pipeline
