// Which event is for whom, and how it goes out: LoopHub's deliveries.
#include <algorithm>
#include <utility>

#include "realtime/hub.hpp"
#include "realtime/loop_hub.hpp"

namespace subforge::realtime {

// Events on their way with one room: what they look like in a protocol is made for the first viewer
// that speaks it.
class LoopHub::Delivery {
 public:
  using Events = std::span<LiveEvent const* const>;
  Delivery(LoopHub& hub, Events events, std::string_view room, net::Send send)
      : hub_(hub), events_(events), room_(room), send_(send) {}

  // All of them.
  void to(Viewer& viewer) {
    auto& form = form_of(viewer);
    if (form.parts.empty()) return;
    bool const has_all = events_.front()->in_log() && viewer.seen_ < events_.front()->event().id &&
                         viewer.socket_ != nullptr && !form.has_origin(viewer);
    if (!has_all) {
      for (std::size_t i = 0; i < events_.size(); ++i) push(viewer, form, i);
      return;
    }
    hub_.count_shown(viewer, form.parts.size());
    viewer.was_told_ = true;
    viewer.socket_->enqueue(form.frames, send_);
  }
  // One of them.
  void to(Viewer& viewer, std::size_t event) { push(viewer, form_of(viewer), event); }
  [[nodiscard]] Events events() const { return events_; }

 private:
  struct Part {
    std::size_t event;  // Which of them it is of.
    std::string_view which;
    std::string_view text;
    net::WsDeflatedOnce const* deflated;  // Null if it is too short for that.
  };
  struct Form {
    bool made = false;
    std::vector<std::string> buffers;
    std::vector<Part> parts;      // Of the events that the protocol carries.
    net::WebSocketFrames frames;  // The same, once there is a socket for them.
    std::vector<std::pair<std::size_t, Viewer const*>> origins;  // Who is not told, if here.

    [[nodiscard]] bool has_origin(Viewer const& viewer) const {
      return std::ranges::find(origins, &viewer, &decltype(origins)::value_type::second) !=
             origins.end();
    }
  };

  void push(Viewer& viewer, Form const& form, std::size_t event) {
    if (has_seen(viewer, *events_[event])) return;
    if (std::ranges::find(form.origins, std::pair(event, &std::as_const(viewer))) !=
        form.origins.end()) {
      return;
    }
    auto const first = std::ranges::lower_bound(form.parts, event, {}, &Part::event);
    for (auto part = first; part != form.parts.end() && part->event == event; ++part) {
      auto const* const frame =
          viewer.socket_ == nullptr
              ? nullptr
              : &form.frames[static_cast<std::size_t>(part - form.parts.begin())];
      if (!events_[event]->in_log()) {
        News const news{.kind = events_[event]->event().kind,
                        .room = room_,
                        .part = part->which,
                        .event = events_[event]};
        hub_.push_or_conflate(viewer, news, part->text, frame);
        continue;
      }
      hub_.count_shown(viewer);
      viewer.was_told_ = true;
      frame != nullptr ? viewer.socket_->enqueue(*frame, send_) : viewer.push(part->text);
    }
  }

  Form& form_of(Viewer const& viewer) {
    auto& form = forms_[static_cast<std::size_t>(viewer.protocol_)];
    if (!std::exchange(form.made, true)) make(form, viewer.protocol_);
    if (viewer.socket_ != nullptr && form.frames.empty()) {
      for (auto const& part : form.parts) {
        form.frames.add(hub_.sockets_.frame(part.text, part.deflated));
      }
    }
    return form;
  }

  void make(Form& form, Protocol protocol) const {
    form.buffers.resize(events_.size());  // Not moved any more: texts may be views of them.
    form.parts.reserve(events_.size());
    for (std::size_t i = 0; i < events_.size(); ++i) {
      auto const& event = *events_[i];
      if (!event.carried_by(protocol)) continue;
      if (auto const before = event.text_before(protocol); !before.empty()) {
        form.parts.push_back({i, "before ", before, &event.deflated_before()});
      }
      auto const text = event.text(protocol, room_, form.buffers[i]);
      bool const may_be_deflated = text.size() >= net::kWsDeflateFromBytes;
      form.parts.push_back(
          {i, {}, text, may_be_deflated ? &event.deflated(protocol, room_) : nullptr});
      auto const origin = hub_.by_id_.find(event.origin(protocol));
      if (origin != hub_.by_id_.end()) form.origins.emplace_back(i, origin->second);
    }
  }

  LoopHub& hub_;
  Events const events_;
  std::string_view const room_;
  net::Send const send_;
  std::array<Form, kProtocols> forms_;
};

void LoopHub::deliver(std::span<LiveEventPtr const> events, std::int64_t last) {
  while (!events.empty()) {
    auto const end = std::ranges::find_if_not(events, is_for_one_room);
    auto const together = static_cast<std::size_t>(end - events.begin());
    together > 1 ? deliver_together(events.first(together)) : deliver(*events.front());
    events = events.subspan(std::max<std::size_t>(together, 1));
  }
  delivered_ = last;
  throughput_.settle(loop_.wall_now());
}

bool LoopHub::is_for_one_room(LiveEventPtr const& event) {
  auto const& audience = event->event().audience;
  return audience.to == store::Audience::To::rooms && audience.rooms.size() == 1;
}

// Of each room at once what comes through it, so that a member is visited once. Whoever is in more
// than one of these rooms has theirs in the log's order.
void LoopHub::deliver_together(std::span<LiveEventPtr const> events) {
  std::vector<std::pair<Room*, LiveEvent const*>> ways;
  ways.reserve(events.size());
  for (auto const& event : events) {
    auto* const room = room_told(event->event().audience.rooms.front());
    if (room != nullptr) ways.emplace_back(room, event.get());
  }
  std::ranges::sort(ways, {},
                    [](auto const& way) { return std::pair(way.first, way.second->event().id); });
  std::vector<LiveEvent const*> sorted;
  sorted.reserve(ways.size());
  for (auto const& way : ways) sorted.push_back(way.second);

  std::vector<std::unique_ptr<Delivery>> deliveries;
  std::vector<std::pair<Viewer*, Delivery*>> of_several;
  for (std::size_t begin = 0, end = 0; begin < ways.size(); begin = end) {
    auto& room = *ways[begin].first;
    while (end < ways.size() && ways[end].first == &room) ++end;
    bool const is_only_room = end - begin == ways.size();
    auto const& first = *sorted[begin];
    auto& delivery = *deliveries.emplace_back(std::make_unique<Delivery>(
        *this, std::span(sorted).subspan(begin, end - begin), first.event().audience.rooms.front(),
        pace_of(first, room.told)));
    for_each(room.members, [&](Viewer& viewer) {
      if (!viewer.may_see()) return;
      if (viewer.in_several_rooms_ && !is_only_room) {
        of_several.emplace_back(&viewer, &delivery);
      } else {
        delivery.to(viewer);
      }
    });
  }
  deliver_in_order(of_several);
}

void LoopHub::deliver_in_order(std::vector<std::pair<Viewer*, Delivery*>>& ways) {
  struct Step {
    std::int64_t id;
    Delivery* delivery;
    std::size_t event;
  };
  std::vector<Step> steps;
  std::ranges::sort(ways);
  for (std::size_t begin = 0, end = 0; begin < ways.size(); begin = end) {
    auto& viewer = *ways[begin].first;
    while (end < ways.size() && ways[end].first == &viewer) ++end;
    if (end - begin == 1) {
      ways[begin].second->to(viewer);
      continue;
    }
    steps.clear();
    for (auto i = begin; i < end; ++i) {
      auto& delivery = *ways[i].second;
      for (std::size_t at = 0; at < delivery.events().size(); ++at) {
        steps.push_back({delivery.events()[at]->event().id, &delivery, at});
      }
    }
    std::ranges::sort(steps, {}, &Step::id);
    for (auto const& step : steps) step.delivery->to(viewer, step.event);
  }
}

// Of thousands of viewers none is in the cache any more when it is its turn: what is needed of each
// is asked for a few steps before.
template <class Visit>
void LoopHub::for_each(std::vector<Viewer*> const& viewers, Visit visit) {
  constexpr std::size_t kViewerAhead = 8, kSocketAhead = 4, kQueueAhead = 2;
  auto const count = viewers.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kViewerAhead < count) viewers[i + kViewerAhead]->prefetch();
    if (i + kSocketAhead < count && viewers[i + kSocketAhead]->socket_ != nullptr) {
      viewers[i + kSocketAhead]->socket_->prefetch();
    }
    if (i + kQueueAhead < count && viewers[i + kQueueAhead]->socket_ != nullptr) {
      viewers[i + kQueueAhead]->socket_->prefetch_queue();
    }
    visit(*viewers[i]);
  }
}

void LoopHub::deliver(LiveEvent const& event) {
  using To = store::Audience::To;
  auto const& audience = event.event().audience;
  if (audience.to == To::none) return;
  if (audience.to == To::rooms) return deliver_to_rooms(event, false);
  auto const send = audience.to == To::user ? net::Send::at_turn_end : pace_of(event, told_all_);
  LiveEvent const* const one = &event;
  Delivery delivery(*this, {&one, 1}, {}, send);
  auto const tell = [&](std::vector<Viewer*> const& viewers) {
    for_each(viewers, [&](Viewer& viewer) {
      if (has_seen(viewer, event) || !viewer.may_see()) return;
      if (is_meant(viewer, audience)) delivery.to(viewer);
    });
  };
  if (audience.to == To::user) {
    auto const theirs = by_user_.find(audience.user);
    if (theirs != by_user_.end()) tell(theirs->second);
    return;
  }
  for (auto const& viewers : viewers_) tell(viewers);
  if (!audience.is_public()) return;
  if (rooms_only_count_ > 0) return deliver_to_rooms(event, true);
  for (auto const& room : audience.rooms) room_told(room);
}

bool LoopHub::has_seen(Viewer const& viewer, LiveEvent const& event) {
  return event.in_log() && viewer.seen_ >= event.event().id;
}

// Of an audience that is not found by rooms.
bool LoopHub::is_meant(Viewer const& viewer, store::Audience const& audience) {
  using To = store::Audience::To;
  if (audience.to == To::user) return viewer.identity_->user == audience.user;
  if (viewer.rooms_only_) return false;
  return audience.to == To::all || viewer.identity_->user != audience.user;
}

LoopHub::Room* LoopHub::room_told(std::string const& name) {
  auto const here = rooms_.find(name);
  if (here == rooms_.end()) return nullptr;
  here->second.last_told = loop_.wall_now();
  return &here->second;
}

// Where something was told twice in less than a window, more will follow within another. Once is
// not enough: an answer may wait for each message. News are rare: they neither wait nor count.
net::Send LoopHub::pace_of(LiveEvent const& event, Told& told) const {
  if (!event.in_log()) return net::Send::at_turn_end;
  auto const now_ns = loop_.now_ns();
  auto const window_ns = sockets_.limits().window_ms * 1'000'000;
  if (told.at_ns == now_ns) return told.send;  // What is told in one turn leaves together.
  bool const is_hot = now_ns - told.before_ns < window_ns;
  told = {now_ns, told.at_ns, is_hot ? net::Send::within_window : net::Send::at_turn_end};
  return told.send;
}

void LoopHub::deliver_to_rooms(LiveEvent const& event, bool rooms_only) {
  auto const& audience = event.event().audience;
  for (auto const& name : audience.rooms) {
    auto* const room = room_told(name);
    if (room == nullptr) continue;
    LiveEvent const* const one = &event;
    Delivery delivery(*this, {&one, 1}, name, pace_of(event, room->told));
    for_each(room->members, [&](Viewer& viewer) {
      if (rooms_only && !viewer.rooms_only_) return;
      if (has_seen(viewer, event) || !viewer.may_see()) return;
      if (audience.to == store::Audience::To::others && viewer.identity_->user == audience.user) {
        return;
      }
      if (event.in_log() && audience.rooms.size() > 1) {
        if (std::exchange(viewer.told_, event.event().id) == event.event().id) return;
      }
      delivery.to(viewer);
    });
  }
}

bool LoopHub::is_for(Viewer const& viewer, store::Audience const& audience,
                     std::string_view& room) {
  using To = store::Audience::To;
  if (audience.to == To::none) return false;
  bool const through_rooms =
      audience.to == To::rooms || (audience.is_public() && viewer.rooms_only_);
  if (!through_rooms) return is_meant(viewer, audience);
  if (audience.to == To::others && viewer.identity_->user == audience.user) return false;
  auto const first = std::ranges::find_if(
      audience.rooms, [&](std::string const& name) { return viewer.is_member(name); });
  if (first == audience.rooms.end()) return false;
  room = *first;
  return true;
}

bool LoopHub::show(Viewer& viewer, LiveEvent const& event, std::string_view own_connection) {
  auto const& audience = event.event().audience;
  if (!viewer.may_see() || !event.carried_by(viewer.protocol_)) return false;
  std::string_view room;
  if (!is_for(viewer, audience, room)) return false;
  auto const origin = event.origin(viewer.protocol_);
  if (!origin.empty() && (origin == viewer.connection_id_ || origin == own_connection))
    return false;
  viewer.was_told_ = true;
  if (auto const before = event.text_before(viewer.protocol_); !before.empty()) {
    tell(viewer, before);
  }
  std::string buffer;
  tell(viewer, event.text(viewer.protocol_, room, buffer));
  return true;
}

void LoopHub::push_or_conflate(Viewer& viewer, News const& news, std::string_view text,
                               net::WebSocketFrame const* frame) {
  // Nothing may come before what was missed.
  bool const lives = viewer.catching_up_ == nullptr;
  if (lives && viewer.queued_bytes() < hub_.limits().lagging_bytes) {
    count_shown(viewer);
    return viewer.socket_ != nullptr ? viewer.socket_->enqueue(*frame) : viewer.push(text);
  }
  auto name = std::string(news.part).append(news.kind).append(" ").append(news.room);
  auto& kept = viewer.conflated_[std::move(name)];
  if (news.kind == kPresence && !kept.payload.empty()) {
    kept.payload = hub_.add_presence(kept.payload, news.event->event().payload);
    kept.text = hub_.presence_text(*news.event, kept.payload, viewer.protocol_, news.room);
  } else {
    kept.text = text;
    if (news.kind == kPresence) kept.payload = news.event->event().payload;
  }
  if (lives) viewer.tell_when_drained();
}

void LoopHub::tell_conflated(Viewer& viewer) {
  for (auto const& [kind, kept] : std::exchange(viewer.conflated_, {})) tell(viewer, kept.text);
}

void LoopHub::tell(Viewer& viewer, std::string_view text) {
  count_shown(viewer);
  viewer.push(text);
}

}  // namespace subforge::realtime
