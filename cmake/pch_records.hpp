// What folders that describe, store and serve records include nearly everywhere, with the
// vocabulary: it is half of what such a file reads. Nobody includes it by name either.
#pragma once

#include "pch_vocabulary.hpp"

#include "base/json_writer.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/text.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "describe/record.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "http/route.hpp"
#include "realtime/live_event.hpp"
#include "store/listing.hpp"
#include "store/record_sql.hpp"
#include "store/store.hpp"
