// What the codecs of the network path cost on one core: heads, chunks, UTF-8, masks, frames and
// compressed messages.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/utf8.hpp"
#include "net/chunked.hpp"
#include "net/http_parser.hpp"
#include "net/websocket_codec.hpp"
#include "net/websocket_deflate.hpp"

namespace subforge::net {
namespace {

std::string const& curl_request() {
  static std::string const text =
      "GET /api/v2/agents/550e8400-e29b-41d4-a716-446655440000 HTTP/1.1\r\n"
      "Host: localhost:8000\r\n"
      "User-Agent: curl/7.88.1\r\n"
      "Accept: */*\r\n"
      "Authorization: Bearer sf_0123456789abcdef0123456789abcdef\r\n"
      "X-Request-ID: 7d0b1c52-5a0e-4b7e-9d43-6f1f0a2b3c4d\r\n"
      "\r\n";
  return text;
}

std::string const& browser_request() {
  static std::string const text =
      "GET /api/v1/agents?status=active&limit=50 HTTP/1.1\r\n"
      "Host: localhost:8000\r\n"
      "Connection: keep-alive\r\n"
      "sec-ch-ua: \"Chromium\";v=\"120\", \"Not?A_Brand\";v=\"8\"\r\n"
      "accept: application/json, text/plain, */*\r\n"
      "sec-ch-ua-mobile: ?0\r\n"
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
      "Chrome/120.0.0.0 Safari/537.36\r\n"
      "sec-ch-ua-platform: \"Linux\"\r\n"
      "Origin: http://localhost:3001\r\n"
      "Sec-Fetch-Site: same-site\r\n"
      "Sec-Fetch-Mode: cors\r\n"
      "Sec-Fetch-Dest: empty\r\n"
      "Referer: http://localhost:3001/\r\n"
      "Accept-Encoding: gzip, deflate, br\r\n"
      "Accept-Language: en-GB,en;q=0.9\r\n"
      "If-None-Match: \"1f2e3d4c5b6a79880\"\r\n"
      "\r\n";
  return text;
}

void parse_request(benchmark::State& state, std::string const& text) {
  HttpLimits const limits;
  RequestHead head;
  for (auto _ : state) {
    HeadScanner scanner;
    auto const head_bytes = scanner.scan(text, limits);
    auto const parsed = parse_head(std::string_view(text).substr(0, *head_bytes), limits, head);
    benchmark::DoNotOptimize(parsed.has_value());
    benchmark::DoNotOptimize(head.keep_alive);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
  state.counters["request_bytes"] = static_cast<double>(text.size());
}

void scan_head(benchmark::State& state) {
  HttpLimits const limits;
  auto const& text = curl_request();
  for (auto _ : state) {
    HeadScanner scanner;
    benchmark::DoNotOptimize(scanner.scan(text, limits));
    benchmark::ClobberMemory();
  }
}

void decode_chunks(benchmark::State& state) {
  std::string body;
  for (int i = 0; i < 16; ++i) append_chunk(body, std::string(1000, 'x'));
  body += kLastChunk;
  for (auto _ : state) {
    ChunkedDecoder decoder(ChunkedLimits{});
    std::string_view input = body;
    while (decoder.next(input).kind == ChunkedDecoder::Kind::data) {
    }
    benchmark::DoNotOptimize(input.size());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(body.size()) * state.iterations());
}

void unmask(benchmark::State& state) {
  std::string buffer(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    apply_mask(buffer, {1, 2, 3, 4});
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.range(0) * state.iterations());
}

void validate_utf8(benchmark::State& state, std::string_view unit) {
  std::string text;
  while (text.size() < 16384) text.append(unit);
  for (auto _ : state) benchmark::DoNotOptimize(is_valid_utf8(text));
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
}

// Frames with a key of zeros, so that unmasking them leaves them as they are for the next round.
void decode_messages(benchmark::State& state) {
  std::string const payload(static_cast<std::size_t>(state.range(0)), 'x');
  std::string stream;
  constexpr int kMessages = 16;
  for (int i = 0; i < kMessages; ++i) {
    append_client_frame(stream, {.opcode = WsOpcode::text, .payload = payload, .mask_key = {}});
  }
  WsDecoder decoder(WsLimits{});
  for (auto _ : state) {
    std::span<char> input(stream);
    while (decoder.next(input).kind == WsEvent::Kind::text) {
    }
  }
  state.SetItemsProcessed(kMessages * state.iterations());
  state.SetBytesProcessed(static_cast<std::int64_t>(stream.size()) * state.iterations());
}

// An event of about a kilobyte, as the log has them.
std::string const& event_text() {
  static std::string const text =
      R"({"type":"agent_update","room":null,"data":{"event":"agent_updated","agent":{"id":)"
      R"("3b1a4f9e-93b1-4d5e-8a27-1f3c9de0aa01","name":"reviewer-7","type":"code-reviewer",)"
      R"("status":"active","description":"Reviews pull requests and suggests improvements",)"
      R"("tags":["review","python","ci"],"configuration":{"model":"m-large","temperature":0.2,)"
      R"("max_tokens":4096,"tools":["git","grep","pytest"]},"metrics":{"tasks_completed":128,)"
      R"("tasks_failed":3,"success_rate":0.977,"average_response_time_ms":834.2},"current_task":)"
      R"({"id":"77a4b2de-0b5b-4d1f-9b6f-2f3dd7e83b21","title":"Review the change of the parser",)"
      R"("status":"in_progress","progress":40},"created_at":"2026-01-02T03:04:05.000000Z",)"
      R"("updated_at":"2026-01-02T03:04:05.000000Z"}},"timestamp":"2026-01-02T03:04:05.000000Z",)"
      R"("message_id":"0f8fad5b-d9cb-469f-a165-70867728950e","correlation_id":null,)"
      R"("event_id":"0000000000000042"})";
  return text;
}

void deflate_event(benchmark::State& state) {
  WsDeflater deflater;
  std::size_t payload_bytes = 0;
  for (auto _ : state) payload_bytes = deflater.deflate(event_text())->size();
  state.counters["bytes"] = static_cast<double>(event_text().size());
  state.counters["payload_bytes"] = static_cast<double>(payload_bytes);
}

void inflate_event(benchmark::State& state) {
  WsDeflater deflater;
  std::string const payload(*deflater.deflate(event_text()));
  WsInflater inflater;
  for (auto _ : state) benchmark::DoNotOptimize(inflater.inflate(payload, 1 << 20)->size());
}

void write_header(benchmark::State& state) {
  char header[kWsFrameHeaderBytesMax];
  for (auto _ : state) {
    benchmark::DoNotOptimize(write_frame_header(header, WsOpcode::text, 300));
    benchmark::ClobberMemory();
  }
}

BENCHMARK_CAPTURE(parse_request, curl, curl_request());
BENCHMARK_CAPTURE(parse_request, browser, browser_request());
BENCHMARK(scan_head);
BENCHMARK(decode_chunks);
BENCHMARK(unmask)->Arg(64)->Arg(4096)->Arg(65536);
BENCHMARK_CAPTURE(validate_utf8, ascii, "plain ASCII text, as JSON mostly is; ");
BENCHMARK_CAPTURE(validate_utf8, latin, "Grüße aus Köln, où l'été arrivé; ");
BENCHMARK_CAPTURE(validate_utf8, cjk, "日本語のテキスト");
BENCHMARK(decode_messages)->Arg(40)->Arg(400)->Arg(16384);
BENCHMARK(deflate_event);
BENCHMARK(inflate_event);
BENCHMARK(write_header);

}  // namespace
}  // namespace subforge::net

BENCHMARK_MAIN();
