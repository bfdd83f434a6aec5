-- Tables and strings, made and dropped: a document store in small. Prints what it found, the same on every allocator.

local state = 12345
local function any(below)
  state = (state * 1103515245 + 12345) & 0x7fffffff
  return (state >> 8) % below
end

local serial = 0

local function record(i)
  serial = serial + 1
  local tags = {}
  for n = 1, any(6) do tags[n] = "tag" .. any(500) end
  return {
    id = i,
    serial = serial,
    name = "item " .. i .. " of shelf " .. any(1000),
    price = any(10000) / 100,
    tags = tags,
    at = { x = any(1000), y = any(1000) },
  }
end

local store, index, count = {}, {}, 40000
for i = 1, count do
  store[i] = record(i)
end

local removed, text_length = 0, 0
for _ = 1, 2 do
  for i = 1, count do
    local at = any(count) + 1
    if any(3) == 0 then
      store[at] = record(at)
      removed = removed + 1
    else
      local item = store[at]
      local text = item.name:upper() .. ":" .. table.concat(item.tags, ",")
      text_length = text_length + #text
      for tag in text:gmatch("TAG%d+") do index[tag] = (index[tag] or 0) + 1 end
      for tag in text:gmatch("tag%d+") do index[tag] = (index[tag] or 0) + 1 end
    end
  end
  -- Its pivots are random: only without ties is the order always the same.
  table.sort(store, function(left, right)
    if left.name == right.name then return left.serial < right.serial end
    return left.name < right.name
  end)
  local parts = {}
  for i = 1, 20000 do parts[#parts + 1] = store[i].name:gsub("item", "thing") end
  text_length = text_length + #table.concat(parts, "\n")
end

local sum = 0
for _, times in pairs(index) do sum = sum + times end
print(removed, text_length, sum)
