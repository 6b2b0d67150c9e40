// Server-sent events (WHATWG HTML, section 9.2): what /ws/v2 shows, over a plain HTTP answer that
// does not end. For curl, for proxies, and for EventSource in browsers, which comes back by itself
// with the id of the last event it saw.
#pragma once

#include <coroutine>
#include <string>
#include <string_view>

#include "net/http_server.hpp"
#include "realtime/connections.hpp"

namespace subforge::realtime {

class EventStream final : public Viewer, public net::BodySource {
 public:
  // The opening's identity is known and may read. Rooms that may not be entered are left out.
  EventStream(LoopHub& hub, Opening opening);
  ~EventStream() override;

  // BodySource
  Task<Result<bool>> next(std::string& out) override;
  [[nodiscard]] bool endless() const override { return true; }
  void abandon() override;

  // Viewer
  void push(std::string_view text) override;
  [[nodiscard]] std::size_t queued_bytes() const override { return queue_.size(); }
  void tell_when_drained() override { drain_wanted_ = true; }
  void recovered(Recovered const& outcome) override;
  void inbox_shown(Recovered const& outcome) override;
  void close(std::uint16_t code, std::string_view reason) override;

 private:
  struct Wake;

  static std::string state_text(std::string_view data, std::string_view event_id);
  void send_state(std::string_view data, std::string_view event_id);
  void wake();

  LoopHub& hub_;
  std::string queue_;
  bool ended_ = false;
  bool drain_wanted_ = false;
  bool wake_asked_ = false;
  std::coroutine_handle<> waiting_;
};

// One event of a stream. An empty id leaves the client's last one as it is.
void append_stream_event(std::string& out, std::string_view event_id, std::string_view type,
                         std::string_view data);

}  // namespace subforge::realtime
