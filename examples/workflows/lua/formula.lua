-- A small calculator: text to tokens, to a tree, to code for a stack machine that runs it for a range of x.
local concat = table.concat

local function tokens(text)
  local list = {}
  for number, name, sign in text:gmatch("%s*(%d*)(%a*)([-+*/()%%]?)") do
    if number ~= "" then list[#list + 1] = { kind = "number", value = math.tointeger(tonumber(number)) } end
    if name ~= "" then list[#list + 1] = { kind = "name", value = name } end
    if sign ~= "" then list[#list + 1] = { kind = sign } end
  end
  return list
end

local power = { ["+"] = 1, ["-"] = 1, ["*"] = 2, ["/"] = 2, ["%"] = 2 }
local function parse(list)
  local at = 1
  local expression
  local function primary()
    local token = list[at]
    at = at + 1
    if token.kind == "(" then
      local inner = expression(0)
      at = at + 1
      return inner
    elseif token.kind == "-" then
      return { op = "-", { op = "number", value = 0 }, primary() }
    end
    return { op = token.kind, value = token.value }
  end
  function expression(least)
    local left = primary()
    while list[at] and (power[list[at].kind] or 0) > least do
      local op = list[at].kind
      at = at + 1
      left = { op = op, left, expression(power[op]) }
    end
    return left
  end
  return expression(0)
end

local function show(tree)
  if tree.value then return tostring(tree.value) end
  return "(" .. show(tree[1]) .. tree.op .. show(tree[2]) .. ")"
end

local function fold(tree)
  if tree.value then return tree end
  local a, b = fold(tree[1]), fold(tree[2])
  if a.op == "number" and b.op == "number" and (b.value ~= 0 or tree.op == "+" or tree.op == "-" or tree.op == "*") then
    local value = tree.op == "+" and a.value + b.value or tree.op == "-" and a.value - b.value
      or tree.op == "*" and a.value * b.value or tree.op == "/" and a.value // b.value or a.value % b.value
    return { op = "number", value = value }
  end
  return { op = tree.op, a, b }
end

local function compile(tree, code)
  if tree.op == "number" then
    code[#code + 1] = function(stack) stack[#stack + 1] = tree.value end
  elseif tree.op == "name" then
    code[#code + 1] = function(stack, names) stack[#stack + 1] = names[tree.value] or 0 end
  else
    compile(tree[1], code)
    compile(tree[2], code)
    local op = tree.op
    code[#code + 1] = function(stack)
      local b, a = table.remove(stack), table.remove(stack)
      stack[#stack + 1] = op == "+" and a + b or op == "-" and a - b or op == "*" and a * b
        or b == 0 and 0 or op == "/" and a // b or a % b
    end
  end
  return code
end

local formulas = {
  "x * x + 3 * x - (7 - 2) * 4", "(x + y) * (x - y) / 3", "100 - x * (2 + 3 * (4 - 1)) + y % 7", "-(x - 5) * -(y + 2) + 17",
  "((x)) + ((y + 1) * 2) - 12 / 4 / 3", "x * 12 % 35 + y * y * y",
}
local results = {}
for i, formula in ipairs(formulas) do
  local tree = fold(parse(tokens(formula)))
  local code, values = compile(tree, {}), {}
  for x = 1, 6 + workflow % 8 do
    local stack = {}
    for _, step in ipairs(code) do step(stack, { x = x, y = workflow % 19 }) end
    values[x] = stack[1]
  end
  results[i] = show(tree) .. " = " .. concat(values, " ")
  -- The sum of all results of a formula, over all workflows.
  local sum, key = math.tointeger(tonumber(recall("cache", formula) or 0)), formula
  for _, value in ipairs(values) do sum = (sum + value) % 1000000007 end
  remember("cache", key, tostring(sum))
end
print(results[1 + workflow % #results])
print(recall("cache", formulas[1 + workflow % #formulas]))
