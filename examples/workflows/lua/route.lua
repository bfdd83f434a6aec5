-- The shortest way of a service robot through a house, on a grid with walls; the longest so far is remembered.
local width, height = 16 + workflow % 7, 12
local walls, seed = {}, workflow * 13 + 5
for i = 1, width * height do
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  walls[i] = (seed >> 16) % 10 < 2 and i ~= 1 and i ~= width * height
end

local steps = { { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 } }
local function way()
  local cost, from, edge, at = { [1] = 0 }, {}, { 1 }, 1
  while edge[at] do
    local cell = edge[at]
    at = at + 1
    local place = { x = (cell - 1) % width, y = (cell - 1) // width }
    for _, step in ipairs(steps) do
      local nx, ny = place.x + step[1], place.y + step[2]
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
  if not cost[cell] then return nil, {}, #edge end
  while cell do
    path[#path + 1] = cell
    cell = from[cell]
  end
  return cost[width * height], path, #edge
end

local length, path, reached = way()

local longest = tonumber(recall("settings", "longest way") or 0)
if length and length > longest then remember("settings", "longest way", tostring(length)) end
if workflow % 6 == 2 then
  remember("cache", string.format("map %dx%d #%d", width, height, workflow), string.format("%d of %d", length or -1, reached))
end

-- The map, drawn: a string for every row, made of one for every cell.
local on_path = {}
for _, cell in ipairs(path) do on_path[cell] = true end
for y = 0, height - 1 do
  local row = {}
  for x = 0, width - 1 do
    local cell = y * width + x + 1
    row[#row + 1] = walls[cell] and "#" or on_path[cell] and "o" or "."
  end
  if y % 4 == workflow % 4 then print(table.concat(row)) end
end
print(length or "no way", reached, recall("settings", "longest way") or "none")
