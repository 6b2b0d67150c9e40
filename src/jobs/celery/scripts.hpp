// What has to happen in Redis in one step, as Lua. When a message was taken is told by the clock of
// Redis, not by ours: that may jump, and others hold messages, too.
#pragma once

#include <array>

#include "redis/client.hpp"

namespace subforge::jobs::celery::scripts {

// Pushes elements that are newer than the mark, and moves the mark. A key of somebody else's in the
// place of a list holds up no others: the rows that this concerned. Nothing happens, and nothing
// comes back, where the mark is behind one that it was seen at: then this Redis lost what it had.
// KEYS: mark. ARGV: the mark as it was seen, then for each element its row, list, 'L' or 'R', text;
// rows in rising order.
inline redis::Script const& push() {
  static redis::Script const script(R"lua(
local mark = tonumber(redis.call('GET', KEYS[1]) or '0')
local failed = {}
local stopped = nil
if mark < tonumber(ARGV[1]) then return false end
for i = 2, #ARGV, 4 do
  local row = tonumber(ARGV[i])
  if row > mark then
    local verb = ARGV[i + 2] == 'R' and 'RPUSH' or 'LPUSH'
    local pushed = redis.pcall(verb, ARGV[i + 1], ARGV[i + 3])
    if type(pushed) == 'table' and pushed.err then
      if not string.find(pushed.err, 'WRONGTYPE') then stopped = pushed break end
      failed[#failed + 1] = ARGV[i]
    end
    mark = row
  end
end
redis.call('SET', KEYS[1], string.format('%.0f', mark))
return stopped or failed)lua");
  return script;
}

// Takes elements and enters them in the book. What has no tag gets one; what is no message has
// none, and is gone. The worker is named before anything is with it: where the script ends in an
// error further on, as at a list that is none, others find what it had taken by then. Nothing is
// taken where it could not be entered.
// Of one that is too large for a record only what tells whose it is comes back.
// KEYS: unacked, its index, what the worker holds, workers, then lists. ARGV: most, worker, bytes
// of a message at most, bytes after which no more are taken.
inline redis::Script const& pop() {
  static redis::Script const script(R"lua(
local taken = {}
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local left = tonumber(ARGV[1])
local bytes = 0
for i, kind in ipairs({'hash', 'zset', 'set', 'set'}) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE the key ' .. KEYS[i] .. ' is a ' .. found)
  end
end
local function text_or_nil(value) return type(value) == 'string' and value or nil end
local function take(list, text)
  local good, message = pcall(cjson.decode, text)
  local tag = ''
  if good and type(message) == 'table' then
    local properties = message.properties
    if type(properties) ~= 'table' then properties = {} end
    local info = properties.delivery_info
    if type(info) ~= 'table' then info = {} end
    tag = properties.delivery_tag
    if type(tag) ~= 'string' or tag == '' then tag = 'untagged-' .. redis.sha1hex(text) end
    local exchange = type(info.exchange) == 'string' and info.exchange or ''
    local queue = string.match(list, '^([^\6]*)')
    local key = type(info.routing_key) == 'string' and info.routing_key or queue
    redis.call('ZADD', KEYS[2], now, tag)
    redis.call('HSET', KEYS[1], tag,
      '[' .. text .. ', ' .. cjson.encode(exchange) .. ', ' .. cjson.encode(key) .. ']')
    redis.call('SADD', KEYS[3], tag)
    if #text > tonumber(ARGV[3]) then
      local headers = type(message.headers) == 'table' and message.headers or {}
      text = cjson.encode({body = '', ['content-type'] = 'too large',
        headers = {id = text_or_nil(headers.id), task = text_or_nil(headers.task)},
        properties = {delivery_tag = tag}})
    end
  end
  bytes = bytes + #text
  taken[#taken + 1] = {list, tag, text}
end
for i = 5, #KEYS do
  while left > 0 and bytes < tonumber(ARGV[4]) do
    local texts = redis.call('RPOP', KEYS[i], math.min(left, 32))
    if not texts then break end
    left = left - #texts
    if #taken == 0 then redis.call('SADD', KEYS[4], ARGV[2]) end
    for _, text in ipairs(texts) do take(KEYS[i], text) end
  end
end
return taken)lua");
  return script;
}

// Takes elements out of a list by their tags, of so many that are next in it at most: the tags of
// those that were there.
// KEYS: list. ARGV: most, then tags.
inline redis::Script const& take_out() {
  static redis::Script const script(R"lua(
local wanted = {}
local left = #ARGV - 1
for i = 2, #ARGV do wanted[ARGV[i]] = true end
local found = {}
local page = 500
local first = -1
while left > 0 and -first <= tonumber(ARGV[1]) do
  local texts = redis.call('LRANGE', KEYS[1], first - page + 1, first)
  for i = #texts, 1, -1 do
    local tag = string.match(texts[i], '"delivery_tag": ?"([^"]*)"')
    if tag and wanted[tag] then
      wanted[tag] = nil
      left = left - 1
      found[#found + 1] = {tag, texts[i]}
    end
  end
  if #texts < page then break end
  first = first - page
end
local tags = {}
for _, one in ipairs(found) do
  redis.call('LREM', KEYS[1], -1, one[2])
  tags[#tags + 1] = one[1]
end
return tags)lua");
  return script;
}

// Which tasks have a message in a list or in the book, by their ids; before them, whether all that
// is there was looked through. The oldest come first.
// KEYS: unacked, then lists. ARGV: most elements, most bytes, then ids.
inline redis::Script const& find() {
  static redis::Script const script(R"lua(
local wanted = {}
local missing = #ARGV - 2
for i = 3, #ARGV do wanted[ARGV[i]] = true end
local left = tonumber(ARGV[1])
local bytes = tonumber(ARGV[2])
local found = {}
local function look(text)
  left = left - 1
  bytes = bytes - #text
  for id in string.gmatch(text, '"id": ?"([^"]*)"') do
    if wanted[id] then
      wanted[id] = nil
      missing = missing - 1
      found[#found + 1] = id
    end
  end
end
local page = 500
for i = 2, #KEYS do
  local first = -1
  while missing > 0 and left > 0 and bytes > 0 do
    local texts = redis.pcall('LRANGE', KEYS[i], first - page + 1, first)
    if texts.err then break end
    for _, text in ipairs(texts) do look(text) end
    if #texts < page then break end
    first = first - page
  end
end
local cursor = '0'
while missing > 0 and left > 0 and bytes > 0 do
  local some = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', page)
  cursor = some[1]
  for n = 2, #some[2], 2 do look(some[2][n]) end
  if cursor == '0' then break end
end
return {(missing == 0 or (left > 0 and bytes > 0)) and 1 or 0, found})lua");
  return script;
}

// Puts back what is still in the book and, where a worker is named, with that worker: others may
// have put it back before, and somebody may have it by now.
// KEYS: unacked, its index, what the worker holds (or nothing). ARGV: for each element its tag,
// list, 'L' or 'R', text.
inline redis::Script const& give_back() {
  static redis::Script const script(R"lua(
for i = 1, #ARGV, 4 do
  if not KEYS[3] or redis.call('SREM', KEYS[3], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[i])
    if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then
      redis.call(ARGV[i + 2] == 'R' and 'RPUSH' or 'LPUSH', ARGV[i + 1], ARGV[i + 3])
    end
  end
end
return redis.status_reply('OK'))lua");
  return script;
}

// Takes out of the book what is still with a worker.
// KEYS: unacked, its index, what the worker holds. ARGV: tags.
inline redis::Script const& take_away() {
  static redis::Script const script(R"lua(
for _, tag in ipairs(ARGV) do
  if redis.call('SREM', KEYS[3], tag) == 1 then
    redis.call('ZREM', KEYS[2], tag)
    redis.call('HDEL', KEYS[1], tag)
  end
end
return redis.status_reply('OK'))lua");
  return script;
}

// Forgets a worker that holds nothing.
// KEYS: workers, what the worker holds. ARGV: worker.
inline redis::Script const& forget() {
  static redis::Script const script(R"lua(
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[1], ARGV[1]) end
return redis.status_reply('OK'))lua");
  return script;
}

// KEYS: index, what the worker holds.
inline redis::Script const& renew() {
  static redis::Script const script(R"lua(
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local tags = redis.call('SMEMBERS', KEYS[2])
for _, tag in ipairs(tags) do redis.call('ZADD', KEYS[1], 'XX', now, tag) end
return #tags)lua");
  return script;
}

// What a worker holds, with what lies in the book; what does not is not held either. Of what is too
// large nothing but the tag.
// KEYS: unacked, what the worker holds. ARGV: bytes at most.
inline redis::Script const& held() {
  static redis::Script const script(R"lua(
local found = {}
for _, tag in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local entry = redis.call('HGET', KEYS[1], tag)
  if entry then
    found[#found + 1] = {tag, #entry <= tonumber(ARGV[1]) and entry or ''}
  else
    redis.call('SREM', KEYS[2], tag)
  end
end
return found)lua");
  return script;
}

// What was taken too long ago, if nobody else looks.
// KEYS: mutex, unacked, its index. ARGV: token, life of the mutex in ms, seconds, most, bytes of
// one at most.
inline redis::Script const& sweep() {
  static redis::Script const script(R"lua(
local before = redis.call('TIME')[1] - ARGV[3]
local tags = redis.call('ZREVRANGEBYSCORE', KEYS[3], before, 0, 'LIMIT', 0, ARGV[4])
if #tags == 0 then return {} end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {} end
local found = {}
for _, tag in ipairs(tags) do
  local entry = redis.call('HGET', KEYS[2], tag)
  if entry then
    found[#found + 1] = {tag, #entry <= tonumber(ARGV[5]) and entry or ''}
  else
    redis.call('ZREM', KEYS[3], tag)
  end
end
return found)lua");
  return script;
}

// KEYS: mutex. ARGV: token.
inline redis::Script const& end_sweep() {
  static redis::Script const script(R"lua(
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0)lua");
  return script;
}

// Stores results and tells those who wait for them. One of SUCCESS is never overwritten, and no end
// by a state in between, which may be told late. A key of somebody else's in the place of one is
// left alone, and holds up no others: how many that concerned.
// KEYS: the results'. ARGV: seconds they are kept (0: for ever), then their JSON.
inline redis::Script const& store_results() {
  static redis::Script const script(R"lua(
local ends = {SUCCESS = true, FAILURE = true, REVOKED = true}
local function is_end(text)
  return ends[string.match(text, '"status": ?"([^"]*)"')]
end
local failed = 0
for i, key in ipairs(KEYS) do
  local text = ARGV[i + 1]
  local old = redis.pcall('GET', key)
  if type(old) == 'table' then
    if not string.find(old.err, 'WRONGTYPE') then return old end
    failed = failed + 1
  elseif not old or not string.find(old, '"status": ?"SUCCESS"') and
      (is_end(text) or not is_end(old)) then
    if ARGV[1] == '0' then
      redis.call('SET', key, text)
    else
      redis.call('SETEX', key, ARGV[1], text)
    end
    redis.call('PUBLISH', key, text)
  end
end
return failed)lua");
  return script;
}

// A part of a chord has ended. The entries of all its parts, if this was the last one that was
// missing; else nothing.
// KEYS: parts (.j), correction (.t), number (.s). ARGV: place, entry, seconds they are kept.
inline redis::Script const& chord_part() {
  static redis::Script const script(R"lua(
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local count = redis.call('ZCOUNT', KEYS[1], '-inf', '+inf')
local more = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
local all = tonumber(redis.call('GET', KEYS[3]) or '')
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[3]) end
if not all or count ~= all + more then return false end
return redis.call('ZRANGE', KEYS[1], 0, -1))lua");
  return script;
}

// All of them, to be loaded when a connection begins.
inline std::array<redis::Script const*, 13> all() {
  return {&push(),  &pop(),  &take_out(), &find(),      &give_back(),     &take_away(), &forget(),
          &renew(), &held(), &sweep(),    &end_sweep(), &store_results(), &chord_part()};
}

}  // namespace subforge::jobs::celery::scripts
