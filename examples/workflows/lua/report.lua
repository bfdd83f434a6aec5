-- Fills a template for each customer, wraps the text, and counts the words.
local format, concat = string.format, table.concat

local template = [[
Dear {customer.title} {customer.name},

your order {order.number} of {order.count} {order.what} left our house on day {order.day}. It weighs {order.weight} g and
should reach {customer.city} within {order.days} days. You have now {points} points; {points.more} more and the
next {order.what} are ours to give.

Your {house}
]]

local seed = workflow
local function random(n)
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  return (seed >> 8) % n + 1
end
local function any(list) return list[random(#list)] end

local names = { "Amaya", "Bertrand", "Chiyo", "Dmitri", "Esperanza", "Fatou", "Gudrun", "Hiroshi", "Inés", "Jörg" }
local cities = { "Anduze", "Bergen", "Coimbra", "Dakar", "Evora", "Fukuoka", "Graz" }
local goods = { "seeds", "bulbs", "cuttings", "roots" }

local function wrap(text, width)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > width then
      lines[#lines + 1] = line
      line = word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return lines
end

local pages = {}
for i = 1, 6 + workflow % 7 do
  local name = any(names)
  local key = "points " .. name
  local points = tonumber(recall("sessions", key) or 0) + random(9)
  local scope = {
    customer = { title = random(2) == 1 and "Mme" or "M.", name = name, city = any(cities) },
    order = { number = format("%05d-%02d", workflow, i), count = random(40), what = any(goods), day = random(365),
              weight = random(4000), days = random(6) },
    points = setmetatable({ more = 100 - points % 100 }, { __tostring = function() return tostring(points) end }),
    house = "Nurseries du Soleil",
  }
  pages[i] = template:gsub("{([%w.]+)}", function(path)
    local value = scope
    for step in path:gmatch("[^.]+") do value = value[step] end
    return tostring(value)
  end)
  -- Between two letters, so between all their strings.
  remember("sessions", key, tostring(points))
end

local text = concat(pages)
local lines = wrap(text, 64)
local counts, order = {}, {}
for word in text:lower():gmatch("%a%a+") do
  if not counts[word] then order[#order + 1] = word end
  counts[word] = (counts[word] or 0) + 1
end
table.sort(order, function(a, b) return counts[a] > counts[b] or counts[a] == counts[b] and a < b end)
print(format("%d letters, %d bytes, %d lines, %d words", #pages, #text, #lines, #order))
for i = 1, 5 do print(order[i], counts[order[i]]) end
print(lines[1 + workflow % #lines])
