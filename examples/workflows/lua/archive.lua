-- Many small tables that live together: sorted, grouped, printed as text, parsed again, dropped.
local format, concat = string.format, table.concat

local seed = workflow * 101 + 3
local function random(n)
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  return (seed >> 8) % n
end

local crops = { "tomato", "basil", "orchid", "seedling", "citrus", "mint" }
local archive = {}
for i = 1, 24 + workflow % 24 do
  archive[i] = {
    id = i, lot = format("L%04d-%s", random(10000), crops[random(#crops) + 1]:sub(1, 3):upper()),
    crop = crops[random(#crops) + 1], weight = (random(4000) + 250) / 8,
    grades = { random(10), random(10), random(10) },
  }
end
table.sort(archive, function(a, b)
  if a.crop ~= b.crop then return a.crop < b.crop end
  if a.weight ~= b.weight then return a.weight > b.weight end
  return a.id < b.id
end)

local function write(lot)
  return concat({ lot.id, lot.lot, lot.crop, format("%.3f", lot.weight), concat(lot.grades, "/") }, ";")
end
local lines = {}
for i, lot in ipairs(archive) do lines[i] = write(lot) end

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
  -- While everything is here: the heaviest lot of each crop is kept for good.
  local heaviest = tonumber(recall("labels", lot.crop) or 0)
  if lot.weight > heaviest then remember("labels", lot.crop, format("%.3f", lot.weight)) end
end
if workflow % 7 == 3 then remember("journal", "archive " .. workflow, write(archive[1])) end

local text = concat(lines, "\n")
archive, groups = nil, groups
local back = {}
for line in text:gmatch("[^\n]+") do
  local id, lot, crop, weight, grades = line:match("^(%d+);([^;]+);(%a+);([%d.]+);(.*)$")
  local parsed = { id = tonumber(id), lot = lot, crop = crop, weight = tonumber(weight), grades = {} }
  for grade in grades:gmatch("%d") do parsed.grades[#parsed.grades + 1] = tonumber(grade) end
  back[#back + 1] = parsed
end
local again = {}
for i, lot in ipairs(back) do again[i] = write(lot) end
assert(concat(again, "\n") == text, "what was written must be read")

for _, name in ipairs(names) do
  local group = groups[name]
  print(format("%-9s %3d lots, %8.1f kg, best %s, ever %s", name, #group.lots, group.weight, group.lots[1].lot,
    recall("labels", name)))
end
