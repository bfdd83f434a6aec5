-- A morning in the life of a greenhouse gateway, from midnight to ten.
--
-- One Lua script that asks of an allocator what real programs ask: it parses and prints JSON, runs
-- coroutines against a clock, wires closures to an event bus, fills templates, compresses strings, plans
-- routes, sorts and groups tables. Long-lived data (configuration, caches) grows up between short-lived
-- data (messages, strings), which is what makes heaps fragment.
--
-- Everything it prints is the same on every machine: no addresses, no clock, no hash order. Each section
-- ends in a checksum, so a single wrong byte anywhere in the heap shows in the output.

local format, concat, sort = string.format, table.concat, table.sort

math.randomseed(2024)

-- Memory is short here: collect when the heap has grown by a tenth, not when it has doubled.
collectgarbage("incremental", 110, 400)

---------------------------------------------------------------------------------------------------- checksums

-- A 32-bit checksum in which every byte and its place count: a multiply-and-add over 4-byte words.
local function checksum(text)
  local sum, whole = #text, #text - #text % 16
  for at = 1, whole, 16 do
    local a, b, c, d = string.unpack("<I4I4I4I4", text, at)
    sum = ((((sum * 31 + a) * 31 + b) * 31 + c) * 31 + d) & 0xffffffff
  end
  for at = whole + 1, #text do sum = (sum * 31 + text:byte(at)) & 0xffffffff end
  return (sum * 0x9e3779b1) & 0xffffffff
end

local everything = {} -- one line for each section, for the checksum at the end

local function report(section, fact, ...)
  local line = format("%-12s " .. fact, section, ...)
  everything[#everything + 1] = line
  print(line)
end

---------------------------------------------------------------------------------------------------- JSON

local json = { null = setmetatable({}, { __name = "null" }) }

do -- parsing: recursive descent over string.find
  local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
  local value

  local function fail(text, at, what)
    local line = 1
    for _ in text:sub(1, at):gmatch("\n") do line = line + 1 end
    error({ line = line, what = what }, 0)
  end

  local function skip(text, at) return text:find("%S", at) or #text + 1 end

  local function string_literal(text, at)
    local close = at + 1
    while true do
      close = text:find('["\\]', close) or fail(text, at, "unfinished string")
      if text:byte(close) == 34 then break end
      close = close + 2
    end
    local raw = text:sub(at + 1, close - 1)
    if raw:find("\\", 1, true) then
      raw = raw:gsub("\\u(%x%x%x%x)", function(hex) return utf8.char(tonumber(hex, 16)) end)
      raw = raw:gsub("\\(.)", function(letter) return escapes[letter] or fail(text, at, "unknown escape") end)
    end
    return raw, close + 1
  end

  local function array(text, at)
    local items, count = {}, 0
    at = skip(text, at + 1)
    if text:byte(at) == 93 then return items, at + 1 end
    while true do
      count = count + 1
      items[count], at = value(text, at)
      at = skip(text, at)
      local mark = text:sub(at, at)
      if mark == "]" then return items, at + 1 end
      if mark ~= "," then fail(text, at, "expected , or ]") end
      at = skip(text, at + 1)
    end
  end

  local function object(text, at)
    local members = {}
    at = skip(text, at + 1)
    if text:byte(at) == 125 then return members, at + 1 end
    while true do
      if text:byte(at) ~= 34 then fail(text, at, "expected a name") end
      local name
      name, at = string_literal(text, at)
      at = skip(text, at)
      if text:sub(at, at) ~= ":" then fail(text, at, "expected :") end
      members[name], at = value(text, skip(text, at + 1))
      at = skip(text, at)
      local mark = text:sub(at, at)
      if mark == "}" then return members, at + 1 end
      if mark ~= "," then fail(text, at, "expected , or }") end
      at = skip(text, at + 1)
    end
  end

  local words = { ["true"] = true, ["false"] = false, ["null"] = json.null }

  function value(text, at)
    local first = text:sub(at, at)
    if first == "{" then return object(text, at) end
    if first == "[" then return array(text, at) end
    if first == '"' then return string_literal(text, at) end
    local from, to = text:find("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    if from then
      return tonumber(text:sub(from, to)) or fail(text, at, "malformed number"), to + 1
    end
    from, to = text:find("^%a+", at)
    local word = from and words[text:sub(from, to)]
    if word == nil then fail(text, at, "unexpected " .. (first == "" and "end" or first)) end
    return word, to + 1
  end

  function json.parse(text)
    local result, at = value(text, skip(text, 1))
    if skip(text, at) <= #text then fail(text, at, "text after the value") end
    return result
  end
end

do -- printing: names sorted, so that equal values print alike
  local function quote(text)
    return '"' .. text:gsub('[%c"\\]', function(letter)
      if letter == '"' or letter == "\\" then return "\\" .. letter end
      if letter == "\n" then return "\\n" end
      return format("\\u%04x", letter:byte())
    end) .. '"'
  end

  local function emit(out, value, indent, step)
    local kind = type(value)
    if value == json.null then
      out[#out + 1] = "null"
    elseif kind == "string" then
      out[#out + 1] = quote(value)
    elseif kind ~= "table" then
      out[#out + 1] = math.type(value) == "float" and format("%.10g", value) or tostring(value)
    else
      local names
      if #value == 0 and next(value) ~= nil then
        names = {}
        for name in pairs(value) do names[#names + 1] = name end
        sort(names)
      end
      local inner = step and indent .. step
      out[#out + 1] = names and "{" or "["
      for i = 1, names and #names or #value do
        if i > 1 then out[#out + 1] = "," end
        if step then out[#out + 1] = "\n" .. inner end
        if names then
          out[#out + 1] = quote(names[i]) .. (step and ": " or ":")
          emit(out, value[names[i]], inner, step)
        else
          emit(out, value[i], inner, step)
        end
      end
      if step and #out[#out] > 0 and (names or #value > 0) then out[#out + 1] = "\n" .. indent end
      out[#out + 1] = names and "}" or "]"
    end
  end

  function json.print(value, step)
    local out = {}
    emit(out, value, "", step)
    return concat(out)
  end
end

-- What the gateway is told at start: houses, the probes in them, the rules, the template of its report.
local configuration = json.parse [==[
{
  "site": { "name": "Nurseries du Soleil \u2014 Anduze", "altitude": 129, "position": [44.0536, 3.9861],
            "contact": { "mail": "garde@soleil.example", "phone": "+33 4 66 00 00 00", "night": null } },
  "uplink": { "host": "broker.soleil.example", "port": 8883, "tls": true, "keepalive": 45,
              "topics": { "state": "gw/7/state", "alarm": "gw/7/alarm", "command": "gw/7/cmd/#" },
              "retry": [1, 2, 4, 8, 16, 32], "certificate": "MIIBszCCAVmgAwIBAgIUQ2Z5k0c3bWxpZ2h0IGZvciB0ZXN0cw==" },
  "houses": [
    { "name": "A1", "crop": "tomato \"Marmande\"", "area": 420.5, "vents": 6, "target": { "temperature": [16.5, 27.0], "humidity": [55, 80] } },
    { "name": "A2", "crop": "basil \\ mint", "area": 180.25, "vents": 3, "target": { "temperature": [18.0, 29.5], "humidity": [50, 70] } },
    { "name": "B1", "crop": "orchids\n(cattleya)", "area": 96.0, "vents": 2, "target": { "temperature": [19.0, 26.0], "humidity": [65, 90] } },
    { "name": "B2", "crop": "seedlings", "area": 64.75, "vents": 1, "target": { "temperature": [20.0, 25.0], "humidity": [60, 85] } }
  ],
  "probes": [
    { "kind": "temperature", "unit": "\u00b0C", "every": 900, "range": [-40.0, 125.0], "noise": 0.35, "smooth": 4 },
    { "kind": "humidity", "unit": "%", "every": 1800, "range": [0, 100], "noise": 1.75, "smooth": 6 },
    { "kind": "light", "unit": "klx", "every": 1800, "range": [0, 140], "noise": 2.5e0, "smooth": 3 },
    { "kind": "soil", "unit": "kPa", "every": 3600, "range": [0, 200], "noise": 1.0E+0, "smooth": 1 }
  ],
  "rules": [
    { "when": "temperature > high", "do": "vent", "for": 900, "note": "open the roof" },
    { "when": "temperature < low", "do": "heat", "for": 1200, "note": "burner on" },
    { "when": "humidity > high", "do": "fan", "for": 600, "note": "move the air" },
    { "when": "humidity < low", "do": "mist", "for": 300, "note": "fog nozzles" },
    { "when": "soil > 60", "do": "water", "for": 1800, "note": "drip lines" }
  ],
  "report": "House {name} ({crop}), {area} m2\n  temperature {temperature.least} to {temperature.most}, mean {temperature.mean}\n  humidity {humidity.least} to {humidity.most}, mean {humidity.mean}\n  actions: {actions}\n"
}
]==]

do
  local flat, wide = json.print(configuration), json.print(configuration, "  ")
  local again = json.parse(wide)
  assert(json.print(again) == flat, "what is printed must parse to the same")
  local refused = {}
  for i, bad in ipairs { "[1,2", '{"a" 1}', '["\\q"]', "[1,]", "\n\n{]", '"abc', "[1] x" } do
    local ok, why = pcall(json.parse, bad)
    assert(not ok)
    refused[i] = why.line .. ":" .. why.what
  end
  report("json", "%d B flat, %d B wide, %d houses, checksum %08x", #flat, #wide, #again.houses, checksum(wide))
  report("json errors", "%d refused, checksum %08x", #refused, checksum(concat(refused, "|")))
end

---------------------------------------------------------------------------------------------------- closures

-- An event bus: subscribers are closures, kept by topic; cancelling is a closure too.
local function new_bus()
  local topics, delivered = {}, 0
  local bus = {}
  function bus.on(topic, handler)
    local list = topics[topic] or {}
    topics[topic] = list
    list[#list + 1] = handler
    return function()
      for i, one in ipairs(list) do
        if one == handler then return table.remove(list, i) ~= nil end
      end
      return false
    end
  end
  function bus.send(topic, ...)
    for _, handler in ipairs(topics[topic] or {}) do
      delivered = delivered + 1
      handler(...)
    end
  end
  function bus.delivered() return delivered end
  return bus
end

-- A rule's text becomes a predicate: a closure compiled from "kind < bound".
local function compile_rule(rule)
  local kind, operator, bound = rule.when:match("^(%a+)%s*([<>])%s*(%w+)$")
  local compare = operator == ">" and function(a, b) return a > b end or function(a, b) return a < b end
  local pick = tonumber(bound) and function() return tonumber(bound) end
    or function(target) return target[kind] and target[kind][bound == "low" and 1 or 2] end
  return kind, function(value, target)
    local limit = pick(target)
    return limit ~= nil and compare(value, limit)
  end
end

-- A smoothing filter over the last n samples, its state in upvalues.
local function smoother(n)
  local window, at, sum = {}, 0, 0.0
  return function(sample)
    at = at % n + 1
    sum = sum + sample - (window[at] or 0.0)
    window[at] = sample
    return sum / #window
  end
end

---------------------------------------------------------------------------------------------------- coroutines

-- A clock that wakes coroutines: a binary heap of { when, order, thread }.
local function new_clock()
  local heap, order, now, resumed = {}, 0, 0, 0
  local function before(a, b) return a.when < b.when or a.when == b.when and a.order < b.order end
  local function push(entry)
    local at = #heap + 1
    heap[at] = entry
    while at > 1 and before(heap[at], heap[at // 2]) do
      heap[at], heap[at // 2] = heap[at // 2], heap[at]
      at = at // 2
    end
  end
  local function pop()
    local top, last = heap[1], table.remove(heap)
    if #heap > 0 then
      heap[1] = last
      local at = 1
      while true do
        local least = at
        for child = 2 * at, 2 * at + 1 do
          if heap[child] and before(heap[child], heap[least]) then least = child end
        end
        if least == at then break end
        heap[at], heap[least] = heap[least], heap[at]
        at = least
      end
    end
    return top
  end
  local clock = {}
  function clock.spawn(work, ...)
    order = order + 1
    push { when = now, order = order, thread = coroutine.create(work), first = table.pack(...) }
  end
  function clock.sleep(seconds) coroutine.yield(seconds) end
  function clock.now() return now end
  function clock.run(until_when)
    while heap[1] and heap[1].when <= until_when do
      local entry = pop()
      now, resumed = entry.when, resumed + 1
      local ok, pause
      if entry.first then
        local first = entry.first
        entry.first = nil
        ok, pause = coroutine.resume(entry.thread, table.unpack(first, 1, first.n))
      else
        ok, pause = coroutine.resume(entry.thread)
      end
      if not ok then error(pause, 0) end
      if coroutine.status(entry.thread) ~= "dead" then
        order = order + 1
        push { when = now + pause, order = order, thread = entry.thread }
      end
    end
    return resumed
  end
  return clock
end

---------------------------------------------------------------------------------------------------- objects

local Statistic = {}
Statistic.__index = Statistic
Statistic.__tostring = function(self) return format("%d samples, mean %.2f", self.count, self:mean()) end
function Statistic.new() return setmetatable({ count = 0, sum = 0.0, least = math.huge, most = -math.huge }, Statistic) end
function Statistic:add(value)
  self.count = self.count + 1
  self.sum = self.sum + value
  if value < self.least then self.least = value end
  if value > self.most then self.most = value end
end
function Statistic:mean() return self.sum / self.count end

-- A cache that keeps the newest n entries: a doubly linked list through a table of nodes.
local Cache = {}
Cache.__index = Cache
function Cache.new(limit)
  local ends = {}
  ends.older, ends.newer = ends, ends
  return setmetatable({ limit = limit, size = 0, nodes = {}, ends = ends, hits = 0, misses = 0 }, Cache)
end
local function unlink(node) node.older.newer, node.newer.older = node.newer, node.older end
local function link_newest(ends, node)
  node.older, node.newer = ends.older, ends
  ends.older.newer, ends.older = node, node
end
function Cache:get(key, make)
  local node = self.nodes[key]
  if node then
    self.hits = self.hits + 1
    unlink(node)
  else
    self.misses = self.misses + 1
    if self.size == self.limit then
      local oldest = self.ends.newer
      unlink(oldest)
      self.nodes[oldest.key] = nil
    else
      self.size = self.size + 1
    end
    node = { key = key, value = make(key) }
    self.nodes[key] = node
  end
  link_newest(self.ends, node)
  return node.value
end

---------------------------------------------------------------------------------------------------- the morning

local morning = {} -- what the morning leaves behind: samples by house and kind, actions, the message journal
do
  local bus, clock = new_bus(), new_clock()
  local journal, actions, cache = {}, {}, Cache.new(40)
  local statistics, latest = {}, {}

  -- Rules listen to samples; each remembers until when its action lasts.
  local cancels = {}
  for _, rule in ipairs(configuration.rules) do
    local kind, holds = compile_rule(rule)
    local busy_until = {}
    cancels[#cancels + 1] = bus.on(kind, function(house, value)
      if holds(value, house.target) and clock.now() >= (busy_until[house.name] or 0) then
        busy_until[house.name] = clock.now() + rule["for"]
        bus.send("action", house, rule, value)
      end
    end)
  end
  bus.on("action", function(house, rule, value)
    local line = format("%02d:%02d %s %s (%.1f): %s", clock.now() // 3600, clock.now() // 60 % 60, house.name,
      rule["do"], value, rule.note)
    journal[#journal + 1] = line
    local by = actions[house.name] or {}
    actions[house.name] = by
    by[rule["do"]] = (by[rule["do"]] or 0) + 1
  end)

  -- A probe is a coroutine: sample, smooth, publish, sleep.
  local function probe(house, settings, seed)
    local smooth, noise = smoother(settings.smooth), seed
    local statistic = Statistic.new()
    statistics[house.name .. "/" .. settings.kind] = statistic
    while true do
      local hour = clock.now() / 3600
      local sun = math.max(0.0, 1 - ((hour - 13) / 7) ^ 2) -- a parabola from six to eight
      local base = settings.kind == "temperature" and 14 + 16 * sun + house.vents * -0.2
        or settings.kind == "humidity" and 84 - 30 * sun
        or settings.kind == "light" and 95 * sun
        or 20 + 3 * hour
      noise = (noise * 1103515245 + 12345) & 0x7fffffff
      local sample = base + (noise / 0x7fffffff - 0.5) * 2 * settings.noise
      local value = math.floor(smooth(sample) * 16 + 0.5) / 16
      statistic:add(value)
      latest[house.name .. "/" .. settings.kind] = value
      bus.send(settings.kind, house, value)
      clock.sleep(settings.every)
    end
  end
  for h, house in ipairs(configuration.houses) do
    for p, settings in ipairs(configuration.probes) do clock.spawn(probe, house, settings, h * 100 + p) end
  end

  -- The uplink is a coroutine too: every hour it prints the state as JSON, a peer parses and answers.
  local peer = coroutine.wrap(function(message)
    local seen = 0
    while true do
      local state = json.parse(message)
      local hottest
      for name, value in pairs(state.latest) do
        if name:find("/temperature", 1, true) and (not hottest or value > state.latest[hottest]
          or value == state.latest[hottest] and name < hottest) then
          hottest = name
        end
      end
      seen = seen + #message
      message = coroutine.yield(json.print { hottest = hottest or json.null, seen = seen, time = state.time })
    end
  end)
  local sent = {}
  clock.spawn(function()
    while true do
      clock.sleep(3600)
      local recent = {}
      for i = math.max(1, #journal - 7), #journal do recent[#recent + 1] = journal[i] end
      local message = json.print({ time = clock.now(), latest = latest, recent = recent, site = configuration.site })
      local answer = json.parse(peer(message))
      sent[#sent + 1] = { at = answer.time, hottest = answer.hottest, sum = checksum(message) }
      for _, name in ipairs { "A1", "B1", answer.hottest:match("^%w+") } do
        cache:get(name .. "@" .. answer.time // 7200, function(key)
          return format("%s|%s|%s", key, concat(recent, ";"), answer.hottest):rep(2)
        end)
      end
    end
  end)

  local resumed = clock.run(36000)
  for _, cancel in ipairs(cancels) do assert(cancel() and not cancel()) end

  local lines = {}
  for name, statistic in pairs(statistics) do lines[#lines + 1] = name .. ": " .. tostring(statistic) end
  sort(lines)
  report("coroutines", "%d resumes, %d probes, checksum %08x", resumed, #lines, checksum(concat(lines, "\n")))
  report("closures", "%d deliveries, %d actions, checksum %08x", bus.delivered(), #journal, checksum(concat(journal, "\n")))
  report("uplink", "%d messages, %d B answered, cache %d hits %d misses, checksum %08x", #sent,
    #json.print(sent), cache.hits, cache.misses, checksum(json.print(sent)))
  morning.journal, morning.actions, morning.statistics, morning.sent, morning.cache = journal, actions, statistics, sent, cache
end

---------------------------------------------------------------------------------------------------- templates

do -- the ten o'clock report: gsub with a function that walks dotted names
  local pages = {}
  for _, house in ipairs(configuration.houses) do
    local parts = {}
    for name, count in pairs(morning.actions[house.name] or {}) do parts[#parts + 1] = name .. " x" .. count end
    sort(parts)
    local scope = { name = house.name, crop = house.crop, area = house.area, actions = concat(parts, ", ") }
    for _, kind in ipairs { "temperature", "humidity" } do
      local statistic = morning.statistics[house.name .. "/" .. kind]
      scope[kind] = { least = statistic.least, most = statistic.most, mean = statistic:mean() }
    end
    pages[#pages + 1] = configuration.report:gsub("{([%w.]+)}", function(path)
      local value = scope
      for step in path:gmatch("[^.]+") do value = value[step] end
      return math.type(value) == "float" and format("%.2f", value) or value
    end)
  end
  local text = concat(pages)
  print((text:gsub("\n$", "")))
  local words, order = {}, {}
  for word in text:lower():gmatch("%a%a+") do
    if not words[word] then order[#order + 1] = word end
    words[word] = (words[word] or 0) + 1
  end
  sort(order, function(a, b) return words[a] > words[b] or words[a] == words[b] and a < b end)
  report("templates", "%d B, %d words, most: %s x%d, checksum %08x", #text, #order, order[1], words[order[1]], checksum(text))
end

---------------------------------------------------------------------------------------------------- strings

do -- LZW over the journal, then CSV, then packed records: many strings of every length
  local text = concat(morning.journal, "\n")

  local function compress(input)
    local codes, next_code, out, current = {}, 256, {}, ""
    for i = 0, 255 do codes[string.char(i)] = i end
    for i = 1, #input do
      local letter = input:sub(i, i)
      local longer = current .. letter
      if codes[longer] then
        current = longer
      else
        out[#out + 1] = codes[current]
        if next_code < 384 then codes[longer], next_code = next_code, next_code + 1 end
        current = letter
      end
    end
    if current ~= "" then out[#out + 1] = codes[current] end
    return out
  end
  local function expand(codes)
    local words, next_code, out = {}, 256, {}
    for i = 0, 255 do words[i] = string.char(i) end
    local last = words[codes[1]]
    out[1] = last
    for i = 2, #codes do
      local word = words[codes[i]] or last .. last:sub(1, 1)
      out[#out + 1] = word
      if next_code < 384 then words[next_code], next_code = last .. word:sub(1, 1), next_code + 1 end
      last = word
    end
    return concat(out)
  end

  local piece = text:sub(1, 1024)
  local codes = compress(piece)
  assert(expand(codes) == piece, "LZW must give back what it was given")
  report("lzw", "%d B in %d codes, checksum %08x", #piece, #codes, checksum(concat(codes, ",")))

  local rows = {}
  for line in text:gmatch("[^\n]+") do
    local hour, minute, house, what, value, note = line:match("^(%d+):(%d+) (%w+) (%w+) %((%-?[%d.]+)%): (.*)$")
    rows[#rows + 1] = concat({ hour * 60 + minute, house, what:upper(), value, '"' .. note .. '"' }, ";")
  end
  local csv = ""
  for i = 1, math.min(#rows, 60) do csv = csv .. rows[i] .. "\r\n" end -- the slow way on purpose: it churns
  local packed = {}
  for i, row in ipairs(rows) do
    local minute, house, what, value = row:match("^(%d+);(%w+);(%w+);([^;]+)")
    packed[i] = string.pack("<I2 z s1 d", tonumber(minute), house, what, tonumber(value))
  end
  local sum = 0.0
  for _, record in ipairs(packed) do
    local minute, _, _, value = string.unpack("<I2 z s1 d", record)
    sum = sum + minute * value
  end
  report("records", "%d rows, %d B csv, %d B packed, sum %.3f, checksum %08x", #rows, #csv, #concat(packed), sum, checksum(csv))

  local greek = "\u{3b1}\u{3b2}\u{3b3} \u{2014} \u{1f345}"
  local points = {}
  for _, point in utf8.codes(greek) do points[#points + 1] = format("U+%04X", point) end
  report("utf-8", "%d code points, %s", utf8.len(greek), concat(points, " "))
end

---------------------------------------------------------------------------------------------------- tables

do -- the shortest way of the service robot between the houses, on a grid with walls
  local width, height, walls, seed = 24, 14, {}, 7
  for i = 1, width * height do
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    walls[i] = (seed >> 16) % 10 < 2 and i ~= 1 and i ~= width * height
  end
  local function way()
    local cost, from, edge = { [1] = 0 }, {}, { 1 }
    local at = 1
    while edge[at] do
      local cell = edge[at]
      at = at + 1
      local x, y = (cell - 1) % width, (cell - 1) // width
      for _, step in ipairs { { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 } } do
        local nx, ny = x + step[1], y + step[2]
        if nx >= 0 and nx < width and ny >= 0 and ny < height then
          local to = ny * width + nx + 1
          if not walls[to] and not cost[to] then
            cost[to], from[to] = cost[cell] + 1, cell
            edge[#edge + 1] = to
          end
        end
      end
    end
    local path, cell = {}, width * height
    while cell do
      table.insert(path, 1, cell)
      cell = from[cell]
    end
    return cost[width * height], path, #edge
  end
  local length, path, reached = way()
  report("grid", "way of %d steps, %d cells reached, checksum %08x", length or -1, reached, checksum(concat(path, " ")))

  local function permutations(items, n) -- a generator that recurses through one coroutine
    return coroutine.wrap(function()
      local function permute(k)
        if k <= 1 then return coroutine.yield(items) end
        for i = 1, k do
          items[i], items[k] = items[k], items[i]
          permute(k - 1)
          items[i], items[k] = items[k], items[i]
        end
      end
      permute(n or #items)
    end)
  end
  local count, best, best_length = 0, nil, math.huge
  local places = { { 3, 9 }, { 14, 2 }, { 8, 8 }, { 1, 17 }, { 11, 5 }, { 6, 13 } }
  for order in permutations { 1, 2, 3, 4, 5 } do
    count = count + 1
    local total, x, y = 0, 0, 0
    for _, i in ipairs(order) do
      total = total + math.abs(places[i][1] - x) + math.abs(places[i][2] - y)
      x, y = places[i][1], places[i][2]
    end
    if total < best_length then best, best_length = concat(order), total end
  end
  report("rounds", "%d orders, best %s at %d", count, best, best_length)
end

do -- the archive: many small tables that live together (the peak), sorted, grouped, printed, parsed, dropped
  local archive, seed = {}, 99
  local function random(n)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % n
  end
  local crops = { "tomato", "basil", "orchid", "seedling", "citrus", "mint" }
  for i = 1, 40 do
    archive[i] = {
      id = i, lot = format("L%04d-%s", random(10000), crops[random(#crops) + 1]:sub(1, 3):upper()),
      crop = crops[random(#crops) + 1], weight = (random(4000) + 250) / 8,
      grades = { random(10), random(10), random(10) },
    }
  end
  sort(archive, function(a, b)
    if a.crop ~= b.crop then return a.crop < b.crop end
    if a.weight ~= b.weight then return a.weight > b.weight end
    return a.id < b.id
  end)
  local groups, names = {}, {}
  for _, lot in ipairs(archive) do
    local group = groups[lot.crop]
    if not group then
      group = { lots = {}, weight = 0.0, grades = {} }
      groups[lot.crop] = group
      names[#names + 1] = lot.crop
    end
    group.lots[#group.lots + 1] = lot
    group.weight = group.weight + lot.weight
    for _, grade in ipairs(lot.grades) do group.grades[grade + 1] = (group.grades[grade + 1] or 0) + 1 end
  end
  for _, name in ipairs(names) do
    local group = groups[name]
    for grade = 1, 10 do group.grades[grade] = group.grades[grade] or 0 end
    report("archive", "%-9s %3d lots, %8.1f kg, best %s", name, #group.lots, group.weight, group.lots[1].lot)
  end
  local text = json.print(archive)
  archive, groups = nil, nil
  local back = json.parse(text)
  sort(back, function(a, b) return a.id < b.id end)
  local again = json.print(back)
  report("archive", "%d lots, %d B of JSON, checksums %08x %08x", #back, #text, checksum(text), checksum(again))
end

do -- primes, queens and metamethods: arithmetic on tables
  local limit, composite, primes = 600, {}, {}
  for n = 2, limit do
    if not composite[n] then
      primes[#primes + 1] = n
      for m = n * n, limit, n do composite[m] = true end
    end
  end
  local function queens(n)
    local found, columns, up, down = 0, {}, {}, {}
    local function place(row)
      if row > n then
        found = found + 1
        return
      end
      for column = 1, n do
        local u, d = row + column, row - column + n
        if not (columns[column] or up[u] or down[d]) then
          columns[column], up[u], down[d] = true, true, true
          place(row + 1)
          columns[column], up[u], down[d] = nil, nil, nil
        end
      end
    end
    place(1)
    return found
  end
  local Matrix = {}
  Matrix.__index = Matrix
  Matrix.__mul = function(a, b)
    local product = setmetatable({}, Matrix)
    for i = 1, #a do
      local row = {}
      for j = 1, #b[1] do
        local sum = 0
        for k = 1, #b do sum = sum + a[i][k] * b[k][j] end
        row[j] = sum % 1000003
      end
      product[i] = row
    end
    return product
  end
  local power, square = setmetatable({ { 1, 0 }, { 0, 1 } }, Matrix), setmetatable({ { 1, 1 }, { 1, 0 } }, Matrix)
  local exponent = 1234567
  while exponent > 0 do
    if exponent & 1 == 1 then power = power * square end
    square, exponent = square * square, exponent >> 1
  end
  report("numbers", "%d primes up to %d, %d ways to place 5 queens, fibonacci %d", #primes, primes[#primes], queens(5), power[1][2])
end

do -- errors, finalisers and closing: every way out of a block
  local closed, finalised = {}, 0
  for i = 1, 40 do
    local ok, why = pcall(function()
      local guard <close> = setmetatable({}, { __close = function(_, cause) closed[#closed + 1] = cause and "e" or "-" end })
      setmetatable({}, { __gc = function() finalised = finalised + 1 end })
      if i % 3 == 0 then error { code = i } end
      return guard
    end)
    assert(ok == (i % 3 ~= 0) and (ok or why.code == i))
  end
  collectgarbage()
  collectgarbage()
  report("ways out", "%d closed, %d finalised, %s", #closed, finalised, concat(closed))
end

print(format("%-12s %d sections, checksum %08x", "everything", #everything, checksum(concat(everything, "\n"))))
