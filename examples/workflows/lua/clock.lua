-- Tasks as coroutines on a clock; one of them writes into the always-active tables while all others wait.
local format = string.format

local clock = {}
do
  local queue, order, now = {}, 0, 0
  local function before(a, b) return a.when < b.when or a.when == b.when and a.order < b.order end
  local function add(when, thread)
    order = order + 1
    queue[#queue + 1] = { when = when, order = order, thread = thread }
    local at = #queue
    while at > 1 and before(queue[at], queue[at // 2]) do
      queue[at], queue[at // 2] = queue[at // 2], queue[at]
      at = at // 2
    end
  end
  local function take()
    local top, last = queue[1], table.remove(queue)
    if #queue > 0 then
      queue[1] = last
      local at = 1
      while true do
        local least = at
        for child = 2 * at, 2 * at + 1 do
          if queue[child] and before(queue[child], queue[least]) then least = child end
        end
        if least == at then break end
        queue[at], queue[least] = queue[least], queue[at]
        at = least
      end
    end
    return top
  end
  function clock.now() return now end
  function clock.spawn(task) add(now, coroutine.create(task)) end
  function clock.run()
    local resumed = 0
    while queue[1] do
      local entry = take()
      now, resumed = entry.when, resumed + 1
      local ok, pause = coroutine.resume(entry.thread)
      if not ok then error(pause, 0) end
      if coroutine.status(entry.thread) ~= "dead" then add(now + pause, entry.thread) end
    end
    return resumed
  end
end

local log = {}
for task = 1, 5 + workflow % 5 do
  clock.spawn(function()
    local seen = {}
    for turn = 1, 6 do
      seen[turn] = format("%d/%d@%d", task, turn, clock.now())
      coroutine.yield((task * 7 + turn * workflow) % 11 + 1)
    end
    log[#log + 1] = table.concat(seen, " ")
  end)
end
clock.spawn(function()
  coroutine.yield(9)
  local runs = tonumber(recall("settings", "clock runs") or 0) + 1
  remember("settings", "clock runs", tostring(runs))
  coroutine.yield(9)
  if workflow % 3 == 0 then remember("devices", format("%04x", workflow * 40503 % 65536), format("seen at %d, run %d", clock.now(), runs)) end
end)

-- A generator that recurses through one coroutine.
local function permutations(items)
  return coroutine.wrap(function()
    local function permute(k)
      if k <= 1 then return coroutine.yield(table.concat(items)) end
      for i = 1, k do
        items[i], items[k] = items[k], items[i]
        permute(k - 1)
        items[i], items[k] = items[k], items[i]
      end
    end
    permute(#items)
  end)
end

local resumed = clock.run()
local count, last = 0, nil
for order in permutations { "a", "b", "c", "d", workflow % 10 } do count, last = count + 1, order end
print(format("%d resumes until %d, %d orders, last %s, run %s", resumed, clock.now(), count, last,
  recall("settings", "clock runs")))
print(log[1 + workflow % #log])
