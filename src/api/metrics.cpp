#include "api/metrics.hpp"

#include "jobs/job_figures.hpp"
#include "jobs/job_metrics.hpp"

namespace subforge::api {
namespace {

using http::Access;
using http::Request;
using http::Response;
using net::Method;

Task<Response> show(metrics::Metrics const& metrics, store::Store& store,
                    jobs::Registry const& registry) {
  auto text = metrics.text();
  if (auto const figures = co_await jobs::job_figures(store, registry)) {
    text += jobs::metrics_text(*figures);
  }
  co_return Response::text(std::move(text), "text/plain; version=0.0.4; charset=utf-8");
}

}  // namespace

http::Routes metrics_routes(metrics::Metrics const& metrics, store::Store& store,
                            jobs::Registry const& registry) {
  http::Routes routes;
  routes.add({.method = Method::get,
              .path = "/metrics",
              .name = "metrics",
              .summary = "Figures in the Prometheus text format",
              .tag = "server",
              .handler = http::AsyncHandler(
                  [&](Request const&) { return show(metrics, store, registry); }),
              .access = Access::read,
              .tagged = false,
              .answers = {{.status = 200, .doc = "The figures.", .media_type = "text/plain"}}});
  return routes;
}

}  // namespace subforge::api
