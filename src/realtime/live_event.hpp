// An event of the log on its way to viewers. What it looks like in a protocol is worked out once,
// by whichever loop first has a viewer that speaks it, and shared by all.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/once.hpp"
#include "describe/shape.hpp"
#include "net/websocket_deflate.hpp"
#include "realtime/viewer.hpp"
#include "store/store.hpp"

namespace subforge::realtime {

// One protocol's view of an event.
struct Message {
  std::string data = {};  // JSON.
  // Where a client's own message goes to everybody else: the connection it came from.
  std::string origin = {};
  // Members that /ws has beside `data`, each with a comma before it; on Socket.IO, which has no
  // envelope, they are in the data.
  std::string beside = {};
};

// How a protocol shows events of one kind: under which type, and with which data of which shape.
// Where it carries them not at all, both are empty; where it leaves out a single event, there is no
// message.
struct Form {
  std::string_view type = {};
  std::optional<Message> (*make)(store::Event const& event,
                                 boost::json::object const& payload) = nullptr;
  describe::Shape shape = "*";  // Of that data.
  // The same without reading the payload as JSON; nothing where that has to be done.
  std::optional<Message> (*make_quickly)(store::Event const& event) = nullptr;
};

struct Projection {
  std::string_view kind;
  Form v1;
  Form v2;
  Form socketio = {};
  // Told, too, as news that are not in the log: of these a slow reader gets only the newest.
  bool is_news = false;
};

// Where projections are looked up by kind; made once by the composition root.
class Projections {
 public:
  void add(std::span<Projection const> rows) {
    rows_.insert(rows_.end(), rows.begin(), rows.end());
  }
  [[nodiscard]] std::span<Projection const> rows() const { return rows_; }
  [[nodiscard]] Projection const* find(std::string_view kind) const;
  // The kinds that /ws/v2 shows as messages of these types.
  [[nodiscard]] std::vector<std::string> kinds_shown_as(std::span<std::string const> types) const;

 private:
  std::vector<Projection> rows_;
};

class LiveEvent {
 public:
  // Of the log; or, with an empty `event_id`, news that is not in it, since the next of its kind
  // makes it worthless; these are called `news_id`.
  LiveEvent(store::EventPtr event, std::string event_id, Projection const* projection,
            std::string news_id = {})
      : event_(std::move(event)),
        event_id_(std::move(event_id)),
        projection_(projection),
        news_id_(std::move(news_id)) {}
  LiveEvent(LiveEvent const&) = delete;
  LiveEvent& operator=(LiveEvent const&) = delete;

  [[nodiscard]] store::Event const& event() const { return *event_; }
  [[nodiscard]] std::string const& event_id() const { return event_id_; }
  [[nodiscard]] bool in_log() const { return !event_id_.empty(); }

  [[nodiscard]] bool carried_by(Protocol protocol) const;
  // The text of its message with this room (empty: null); good until the event or `buffer` changes.
  // Only where the protocol carries it.
  [[nodiscard]] std::string_view text(Protocol protocol, std::string_view room,
                                      std::string& buffer) const;
  // The same as it is kept for its user: marked, since it is older than what else is told, and
  // without what a client would come back with.
  [[nodiscard]] std::string kept_text(Protocol protocol) const;
  // A message that comes before it; empty for none. On Socket.IO, where changes are told under the
  // names of /ws too: who hears only this one has no offset, and gets both again.
  [[nodiscard]] std::string_view text_before(Protocol protocol) const;
  [[nodiscard]] net::WsDeflatedOnce const& deflated_before() const { return deflated_at(2); }
  // Deflates that text once for all loops; `room` is one of the audience's, or empty.
  [[nodiscard]] net::WsDeflatedOnce const& deflated(Protocol protocol, std::string_view room) const;
  // Of the message on /ws/v2, which carries it: type, data (JSON) and id.
  [[nodiscard]] std::string_view v2_type() const { return projection_->v2.type; }
  [[nodiscard]] std::string_view v2_data() const { return shown(Protocol::v2).text; }
  // The same on every machine and in every replay, since it names the same message.
  [[nodiscard]] std::string message_id() const;
  // The connection that must not get the event back; empty for none.
  [[nodiscard]] std::string_view origin(Protocol protocol) const;

 private:
  // What a form of the event's projection made of it.
  struct Shown {
    Once made;
    bool carried = false;
    std::string text = {};  // The whole message; of /ws/v2, whose rooms differ, its data.
    std::string before = {};
    std::string_view type = {};
    std::string origin = {};
  };
  void make_socketio(Shown& shown, boost::json::object const& payload) const;
  [[nodiscard]] Shown const& shown(Protocol protocol) const;
  [[nodiscard]] std::string v1_text(Message const& message) const;
  [[nodiscard]] std::string v2_text(std::string_view room, bool kept) const;
  [[nodiscard]] std::string socketio_text(std::string_view type, std::string data,
                                          std::string_view offset) const;

  [[nodiscard]] net::WsDeflatedOnce const& deflated_at(std::size_t index) const;

  store::EventPtr event_;
  std::string event_id_;
  Projection const* projection_;
  // One for each text that deflated() knows; made for the first that asks for any.
  mutable Once deflated_made_;
  mutable std::unique_ptr<net::WsDeflatedOnce[]> deflated_;
  mutable std::array<Shown, 3> shown_;
  std::string const news_id_;  // The message's, of what is not in the log.
};

using LiveEventPtr = std::shared_ptr<LiveEvent const>;

// The envelope of /ws/v2: all members always present (contract, websocket.md section 2), and
// event_id only on what is in the log.
struct Envelope {
  std::string_view type;
  std::string_view room = {};  // Empty: null.
  std::string_view data = "{}";
  std::string_view message_id = {};  // Empty: a new one.
  std::string_view correlation_id = {};
  std::string_view event_id = {};
  bool kept = false;  // For its user, and older than what else is told.
  Timestamp at = Timestamp::now();
};
[[nodiscard]] std::string write_envelope(Envelope const& envelope);

}  // namespace subforge::realtime
