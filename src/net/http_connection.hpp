// One HTTP/1.1 connection: bytes in, requests out, answers back in order.
#pragma once

#include <coroutine>
#include <memory>
#include <string>

#include "net/chunked.hpp"
#include "net/http_server.hpp"

namespace subforge::net {

class HttpConnection final : private IoHandler {
 public:
  HttpConnection(HttpServer& server, std::uint64_t id, int fd, Peer const& peer);
  ~HttpConnection();
  HttpConnection(HttpConnection const&) = delete;
  HttpConnection& operator=(HttpConnection const&) = delete;

  // For the service, while it serves or refuses a request of this connection.
  void answer(Answer const& answer);
  void answer(Answer const& answer, std::unique_ptr<BodySource> body);
  void answer(Answer const& answer, std::unique_ptr<FileBody> body);
  [[nodiscard]] PendingAnswer defer();
  // Turns the connection into a WebSocket, with compressed messages where the client offered them
  // and the limits allow; `fields` are extra lines of the 101 answer.
  void upgrade(std::string_view accept_key, std::optional<WsDeflateTerms> const& offered,
               std::string_view fields, std::unique_ptr<WebSocketHandler> handler);
  // Close once the answer is sent, whatever the client wishes.
  void close_after_answer() { keep_alive_ = false; }

  [[nodiscard]] Peer const& peer() const { return peer_; }
  [[nodiscard]] EventLoop& loop() const { return server_.loop_; }
  [[nodiscard]] std::unique_ptr<ConnectionMemo>& memo() { return memo_; }

 private:
  friend class BodyStream;
  friend class HttpServer;
  friend class PendingAnswer;

  enum class State : std::uint8_t {
    reading,    // A head or a body.
    serving,    // A request is with the service; what follows it waits.
    streaming,  // Its answer is being made while it is sent.
    lingering,  // Refused: the answer is out, what still comes is thrown away.
  };
  struct Body;  // A body that did not arrive with its head.

  void on_ready(std::uint32_t events) override;
  void on_timer();
  void read();
  void received(std::string_view bytes);
  void receive_failed(int error);  // 0: the client sends no more.
  void process(std::string_view input, bool owned);
  std::size_t take_requests(std::string_view input);
  [[nodiscard]] std::size_t take_head(std::string_view input);
  [[nodiscard]] std::size_t take_body(std::string_view input);
  [[nodiscard]] std::size_t begin_stream(std::string_view input, BodyPlan const& plan);
  // Whether there is room for more of the body of a request that is served while it comes.
  [[nodiscard]] bool takes_body() const {
    return stream_in_ != nullptr && stream_in_->open() && stream_in_->has_room();
  }
  void receive_body();
  void resume_body();
  void break_off_body(ParseError const& error);
  void send_continue();
  void send_file();
  void serve(std::string_view body);
  [[nodiscard]] bool output_is_full() const;
  void refuse(ParseError const& error, RequestHead const* head = nullptr);
  [[nodiscard]] RequestHead const* head_of_body();
  void write_head(Answer const& answer, std::string_view framing);
  void finish_answer();
  template <class Body>
  void complete(Answer const& answer, std::unique_ptr<Body> body);
  Detached pump(HttpServer& server, std::uint64_t id, std::unique_ptr<BodySource> source,
                bool chunked);
  void flush();
  [[nodiscard]] bool may_send_together() const;
  void settle(int result);
  bool send_backlog();
  void after_flush();
  void resume_input();  // Takes up what was pipelined behind an answer that took its time.
  void watch();
  void linger_or_close();
  void deadline_in(std::int64_t milliseconds);
  void close();

  HttpServer& server_;
  std::uint64_t const id_;
  int fd_;
  Peer const peer_;
  State state_ = State::reading;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool http_1_0_ = false;
  bool refused_ = false;        // Close by way of lingering.
  bool head_begun_ = false;     // Part of a head has arrived.
  bool peer_finished_ = false;  // The client will send no more.
  bool upgraded_ = false;
  bool reads_together_ = false;  // Is read from at the end of the turn, with others ...
  bool sends_together_ = false;  // ... or has something that is sent then.
  bool body_waits_ = false;      // For others' requests to be dealt with.
  bool file_waits_ = false;      // The file goes on when the socket takes more of it.
  bool input_waits_ = false;     // Bytes arrived that must wait for the answer under way.
  std::uint32_t watched_;
  HeadScanner scanner_;
  std::string input_;  // Bytes received and not yet used.
  std::unique_ptr<Body> body_;
  std::shared_ptr<BodyStream> stream_in_;  // Of the request that is served.
  std::string backlog_;                    // Bytes to send that the socket did not take yet.
  std::size_t backlog_sent_ = 0;
  BodySource* stream_ = nullptr;     // Of the answer that is being streamed.
  std::shared_ptr<FileBody> file_;   // The same of one that lies in a file.
  std::coroutine_handle<> drained_;  // A streaming answer waiting for the backlog to empty.
  std::int64_t deadline_ns_ = 0;
  std::int64_t armed_ns_ = 0;
  Timer timer_;
  std::unique_ptr<ConnectionMemo> memo_;
  std::unique_ptr<WebSocketHandler> websocket_;
  std::optional<WsDeflateTerms> deflate_;  // Of the WebSocket to be.
};

}  // namespace subforge::net
