// A hub whose viewers come back.
#pragma once

#include "realtime/catch_up.hpp"
#include "realtime/hub_fixture_test.hpp"

namespace subforge::realtime {

class CatchUpTest : public HubTest {
 protected:
  Client& back(std::string user, Resume resume, std::size_t loop = 0, bool rooms_only = false) {
    return connect(Protocol::v2, identity(std::move(user)), loop, rooms_only, std::move(resume));
  }
  std::string id(std::int64_t position) { return store_.store().event_id_text(position); }
  std::string newest() { return id(store_.store().last_event_id()); }
  json::value newest_value() { return json::value(newest()); }
  // The message that ends coming back.
  std::optional<json::object> end_of(Client& client) {
    EXPECT_TRUE(eventually([&] { return ended(client).has_value(); }));
    return ended(client);
  }
  static std::optional<json::object> ended(Client const& client) {
    for (auto const& message : client.of("connection_state")) {
      auto const& data = message.at("data").get_object();
      if (data.contains("recovered")) return data;
    }
    return std::nullopt;
  }
  static std::string numbers(int from, int to) {
    std::string all;
    for (int i = from; i < to; ++i) all += (i == from ? "" : " ") + std::to_string(i);
    return all;
  }
  HubLimits small_pages() {
    HubLimits limits;
    limits.page_events = 7;
    return limits;
  }
  // So that nothing comes from memory.
  HubLimits no_memory() {
    auto limits = small_pages();
    limits.recent_events = 0;
    return limits;
  }
};

}  // namespace subforge::realtime
