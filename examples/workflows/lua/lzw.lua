-- Packs a log by LZW, unpacks it again, and remembers how well it went.
local concat = table.concat

local seed = workflow * 31 + 7
local function random(n)
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  return (seed >> 8) % n + 1
end

local levels = { "info", "warning", "error" }
local parts = { "pump", "valve", "burner", "roof", "lamp" }
local events = { "opened", "closed", "started", "stopped", "does not answer", "answers again" }
local rows = {}
for i = 1, 20 + workflow % 20 do
  rows[i] = string.format("%05d %s: %s %d %s", i * 37 + random(30), levels[random(3)], parts[random(5)], random(8),
    events[random(6)])
end
local text = concat(rows, "\n")

local function compress(input, most)
  local codes, next_code, out, current = {}, 256, {}, ""
  for i = 0, 255 do codes[string.char(i)] = i end
  for i = 1, #input do
    local letter = input:sub(i, i)
    local longer = current .. letter
    if codes[longer] then
      current = longer
    else
      out[#out + 1] = codes[current]
      if next_code < most then codes[longer], next_code = next_code, next_code + 1 end
      current = letter
    end
  end
  out[#out + 1] = codes[current]
  return out
end

local function expand(codes, most)
  local words, next_code, out = {}, 256, {}
  for i = 0, 255 do words[i] = string.char(i) end
  local last = words[codes[1]]
  out[1] = last
  for i = 2, #codes do
    local word = words[codes[i]] or last .. last:sub(1, 1)
    out[#out + 1] = word
    if next_code < most then words[next_code], next_code = last .. word:sub(1, 1), next_code + 1 end
    last = word
  end
  return concat(out)
end

local codes = compress(text, 512)
local percent = #codes * 9 * 100 // (#text * 8)

-- The codes are still needed below; this stays for good.
local best = tonumber(recall("settings", "lzw best") or 100)
if percent < best then remember("settings", "lzw best", tostring(percent)) end
if workflow % 4 == 1 then
  remember("cache", string.format("log %d", workflow), string.rep(string.char(65 + workflow % 26), 6 + workflow % 23))
end

assert(expand(codes, 512) == text, "what was packed must come out")
local bits = {}
for i, code in ipairs(codes) do bits[i] = string.pack("<I2", code) end
local packed = concat(bits)
local sum = 0
for i = 1, #packed do sum = (sum * 31 + packed:byte(i)) & 0xffffffff end
print(string.format("%d bytes, %d codes, %d %%, best %s, sum %08x", #text, #codes, percent,
  recall("settings", "lzw best"), sum))
