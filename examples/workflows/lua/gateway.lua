-- A gateway reads its configuration, listens to probes by rules, and remembers what each house needs next time.
local format, concat = string.format, table.concat

local json = {}
do
  local value
  local function skip(text, at) return text:find("%S", at) or #text + 1 end
  local function members(text, at, close, one)
    at = skip(text, at + 1)
    while text:sub(at, at) ~= close do
      at = skip(text, one(at))
      if text:sub(at, at) == "," then at = skip(text, at + 1) end
      if at > #text then error("unfinished", 0) end
    end
    return at + 1
  end
  function value(text, at)
    local first = text:sub(at, at)
    if first == '"' then
      local close = text:find('"', at + 1, true)
      return text:sub(at + 1, close - 1), close + 1
    elseif first == "[" then
      local items = {}
      at = members(text, at, "]", function(from)
        local item, to = value(text, from)
        items[#items + 1] = item
        return to
      end)
      return items, at
    elseif first == "{" then
      local object = {}
      at = members(text, at, "}", function(from)
        local name, colon = value(text, from)
        local member, to = value(text, skip(text, colon + 1))
        object[name] = member
        return to
      end)
      return object, at
    end
    local from, to = text:find("^-?[%d.]+", at)
    if from then return tonumber(text:sub(from, to)), to + 1 end
    from, to = text:find("^%a+", at)
    return text:sub(from, to) == "true", to + 1
  end
  function json.parse(text) return (value(text, skip(text, 1))) end
end

local configuration = json.parse [==[
{ "uplink": { "host": "broker.soleil.example", "port": 8883, "tls": true, "topics": ["state", "alarm", "command"] },
  "houses": [
    { "name": "A1", "crop": "tomato", "area": 420, "vents": 6, "low": 165, "high": 270 },
    { "name": "A2", "crop": "basil", "area": 180, "vents": 3, "low": 180, "high": 295 },
    { "name": "B1", "crop": "orchids", "area": 96, "vents": 2, "low": 190, "high": 260 },
    { "name": "B2", "crop": "seedlings", "area": 64, "vents": 1, "low": 200, "high": 250 } ],
  "rules": [
    { "when": "high", "do": "vent", "for": 900, "note": "open the roof" },
    { "when": "low", "do": "heat", "for": 1200, "note": "burner on" } ] }
]==]

-- Rules become closures that share a journal.
local journal, actions = {}, {}
local rules = {}
for i, rule in ipairs(configuration.rules) do
  local until_when = {}
  rules[i] = function(house, now, value)
    local holds = rule.when == "high" and value > house.high or rule.when == "low" and value < house.low
    if holds and now >= (until_when[house.name] or 0) then
      until_when[house.name] = now + rule["for"]
      actions[house.name] = (actions[house.name] or 0) + 1
      journal[#journal + 1] = format("%02d:%02d %s %s (%d): %s", now // 3600, now // 60 % 60, house.name, rule["do"],
        value, rule.note)
    end
  end
end

local seed = workflow * 7919 + 17
local function random(n)
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  return (seed >> 8) % n
end

for quarter = 0, 23 + workflow % 16 do
  for _, house in ipairs(configuration.houses) do
    local sample = 150 + random(120) + quarter * 2
    for _, rule in ipairs(rules) do rule(house, quarter * 900, sample) end
  end
end

-- In the middle: what the next start must know.
for _, house in ipairs(configuration.houses) do
  local before = tonumber(recall("settings", "actions " .. house.name) or 0)
  remember("settings", "actions " .. house.name, tostring(before + (actions[house.name] or 0)))
end
if workflow % 5 == 0 then remember("journal", "day " .. workflow, journal[#journal]) end

local text = concat(journal, "\n")
local words = {}
for word in text:gmatch("%a+") do words[word] = (words[word] or 0) + 1 end
local names = {}
for word in pairs(words) do names[#names + 1] = word end
table.sort(names)
for i, word in ipairs(names) do names[i] = word .. "=" .. words[word] end
print(#journal .. " actions; " .. concat(names, " "))
for _, house in ipairs(configuration.houses) do
  print(house.name, actions[house.name] or 0, recall("settings", "actions " .. house.name))
end
