// The stages about the form of an answer: the cache, entity tags and content codings.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "pipeline/exchange.hpp"

namespace subforge::pipeline {
namespace {

using http::Response;

constexpr std::size_t kCachedQueryBytesMax = 2048;

}  // namespace

bool matches_etag(std::string_view field, std::string_view etag, std::string_view suffix) {
  if (field.empty() || etag.empty()) return false;
  if (trim(field) == "*") return true;
  auto const opened = etag.substr(0, etag.size() - 1);
  for (auto tag : split_list(field, ',')) {
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    if (tag.size() != etag.size() + suffix.size() || !tag.starts_with(opened)) continue;
    tag.remove_prefix(opened.size());
    if (tag.starts_with(suffix) && tag.ends_with('"')) return true;
  }
  return false;
}

bool Pipeline::make_cache_key(Exchange const& exchange) {
  key_.assign(exchange.path);
  if (key_.size() > 1 && key_.back() == '/') key_.pop_back();
  if (exchange.query.empty()) return true;
  if (exchange.query.size() > kCachedQueryBytesMax) return false;
  std::vector<std::string_view> pairs;
  for (auto const pair : split_list(exchange.query, '&')) {
    auto const name = pair.substr(0, pair.find('='));
    // Which names are equal is not to be seen before they are decoded; nobody encodes them.
    if (name.find_first_of("%+") != std::string_view::npos) return false;
    if (name != "timestamp" && name != "cache_bust") pairs.push_back(pair);
  }
  // By name; the order of equal names is kept, since the last one counts.
  std::ranges::sort(
      pairs, {}, [](auto pair) { return std::pair(pair.substr(0, pair.find('=')), pair.data()); });
  // By what is in no path before it, and in no pair between them.
  char separator = '?';
  for (auto const pair : pairs) key_.append(1, std::exchange(separator, '&')).append(pair);
  return true;
}

bool Pipeline::serve_from_cache(Exchange& exchange) {
  auto const& policy = exchange.route->cache;
  if (policy.seconds <= 0) return false;
  if (!shared_.settings.caching || !make_cache_key(exchange)) {
    exchange.cache_state = "BYPASS";
    return false;
  }
  exchange.cache_state = "MISS";
  if (shared_.repeated.store.database().is_shared()) {
    exchange.to_confirm = shared_.cache.holds(key_);
  } else if (shared_.cache.find(key_, loop_.now_ns(), [&](auto const& answer) {
               auto const body = take_cached(exchange, answer);
               if (body) answer_cached(exchange, *body);
               return body.has_value();
             })) {
    return true;
  }
  exchange.cache_key = key_;
  return false;
}

// Fills in what is told of a kept answer besides its body; nothing if it is not kept in the coding
// that is asked for: then it is made as if it were not there, and kept.
std::optional<std::string_view> Pipeline::take_cached(Exchange& exchange,
                                                      cache::CachedAnswer const& answer) {
  auto coding = http::Coding::identity;
  if (answer.packable && !exchange.accept_encoding.empty()) {
    coding = http::choose_coding(exchange.accept_encoding);
  }
  bool const packed = coding != http::Coding::identity;
  std::string_view const body =
      packed ? answer.packed[static_cast<std::size_t>(coding)] : answer.body;
  if (packed && body.empty()) return std::nullopt;
  exchange.cache_state = "HIT";
  exchange.coding = coding;
  exchange.packable = answer.packable;
  exchange.unchanged = matches_etag(exchange.if_none_match, answer.etag, http::etag_suffix(coding));
  fields_.assign(answer.fields);
  append_form_fields(exchange, answer.etag);
  append_common_fields(exchange);
  return body;
}

void Pipeline::answer_cached(Exchange& exchange, std::string_view body) {
  int const status = exchange.unchanged ? 304 : 200;
  if (exchange.unchanged) body = {};
  record(exchange, status, body.size());
  net::Answer const answer{status, fields_, body};
  if (current_exchange_ == exchange.id && exchange.connection != nullptr) {
    exchange.connection->answer(answer);
  } else {
    exchange.pending.complete(answer);
  }
}

// Where others write to the database too, a kept answer is good once everything that they committed
// before it was asked for has been heard of. Else it is made anew.
Task<bool> Pipeline::serve_confirmed(Errand& errand) {
  auto& exchange = errand.exchange;
  bool const confirmed = co_await freshness_.confirm();
  keep_views(errand);
  if (!confirmed) co_return false;
  // A copy: the next request of the connection may be looked up before this one is answered.
  std::string body;
  bool const found =
      shared_.cache.find(exchange.cache_key, loop_.now_ns(), [&](auto const& answer) {
        auto const kept = take_cached(exchange, answer);
        if (kept) body = *kept;
        return kept.has_value();
      });
  if (found) answer_cached(exchange, body);
  co_return found;
}

void Pipeline::choose_form(Exchange& exchange, Response const& response) {
  if (std::exchange(exchange.form_chosen, true)) return;
  exchange.packable = response.packable && http::is_packable(response.content_type) &&
                      (response.stream || response.body.size() >= http::kPackedBytesMin);
  if (exchange.packable && !exchange.accept_encoding.empty()) {
    exchange.coding = http::choose_coding(exchange.accept_encoding);
  }
}

Task<void> Pipeline::pack_aside(Exchange& exchange, Response& response) {
  if (response.stream) {
    response.stream = http::pack_stream(std::move(response.stream), exchange.coding, shared_.pool);
  } else if (response.body.size() > http::kPackedInlineBytesMax) {
    auto work = [&]() -> Result<std::string> { return http::pack(response.body, exchange.coding); };
    auto packed = co_await shared_.pool.run(std::move(work));
    if (packed) {
      exchange.packed = std::move(*packed);
    } else {
      exchange.coding = http::Coding::identity;  // The pool is full: better long than late.
    }
  }
}

// What depends on the coding: the tag of each form is its own, since it has other bytes.
void Pipeline::append_form_fields(Exchange const& exchange, std::string_view etag) {
  if (!etag.empty()) {
    fields_.append("ETag: ").append(etag.substr(0, etag.size() - 1));
    fields_.append(http::etag_suffix(exchange.coding)).append("\"\r\n");
  }
  if (exchange.coding != http::Coding::identity) {
    append_field(fields_, "Content-Encoding", http::coding_name(exchange.coding));
  }
  if (exchange.packable) fields_.append("Vary: Accept-Encoding\r\n");
}

}  // namespace subforge::pipeline
