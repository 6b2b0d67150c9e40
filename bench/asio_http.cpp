// What a server on Boost.Asio and Beast's request parser costs, with everything else left out: the
// evidence for the own event loop and the own parser. One thread, callbacks, no locks inside Asio,
// readability awaited and read into one shared buffer, and the same bytes sent every time.
//
//   asio_http --port P --answer FILE

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "common.hpp"

namespace subforge::bench {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
// The concrete executor spares the type erasure of the default one.
using Socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type>;

constexpr std::array<std::string_view, 2> kArguments{"port", "answer"};

struct Shared {
  std::string answer;
  std::array<char, kScratchBytes> scratch;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Socket socket, Shared& shared) : socket_(std::move(socket)), shared_(shared) {
    socket_.non_blocking(true);
    socket_.set_option(asio::ip::tcp::no_delay(true));
  }

  void await_request() {
    socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code error) {
      if (!error && self->read_and_answer()) self->await_request();
    });
  }

 private:
  bool read_and_answer() {
    error_code error;
    std::size_t const count = socket_.read_some(asio::buffer(shared_.scratch), error);
    if (error == asio::error::would_block) return true;
    if (error) return false;

    std::string_view bytes(shared_.scratch.data(), count);
    if (!partial_.empty()) bytes = partial_.append(bytes);
    std::size_t used = 0;
    while (used < bytes.size()) {
      if (!parser_) parser_.emplace();
      used += parser_->put(asio::buffer(bytes.substr(used)), error);
      if (error == http::error::need_more) break;
      if (error || !parser_->is_done()) return false;
      bool const keep_alive = parser_->keep_alive();
      parser_.reset();
      if (socket_.write_some(asio::buffer(shared_.answer), error) != shared_.answer.size()) {
        return false;
      }
      if (!keep_alive) return false;
    }
    if (used < bytes.size()) {
      partial_ = std::string(bytes.substr(used));
    } else {
      partial_.clear();
    }
    return true;
  }

  Socket socket_;
  Shared& shared_;
  std::string partial_;
  std::optional<http::request_parser<http::empty_body>> parser_;
};

void accept_next(Acceptor& acceptor, Shared& shared) {
  acceptor.async_accept([&](error_code error, Socket socket) {
    if (!error) std::make_shared<Session>(std::move(socket), shared)->await_request();
    accept_next(acceptor, shared);
  });
}

int serve(Arguments const& arguments) {
  raise_descriptor_limit();
  auto const shared = std::make_unique<Shared>();
  shared->answer = read_file(arguments.text("answer"));
  asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
  Acceptor acceptor(context, {asio::ip::address_v4::loopback(), arguments.port()});
  accept_next(acceptor, *shared);
  context.run();
  return 0;
}

}  // namespace
}  // namespace subforge::bench

int main(int argc, char** argv) {
  return subforge::bench::run(argc, argv, subforge::bench::kArguments, subforge::bench::serve);
}
