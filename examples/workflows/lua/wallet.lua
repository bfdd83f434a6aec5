-- Builds and signs a transaction: serialised records, a hash over them, addresses in base 58 that get labels.
local alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

-- 64 bits, mixed from bytes; nothing that keeps a secret.
local function digest(text)
  local h = 0x9e3779b97f4a7c15
  for i = 1, #text do
    h = (h ~ text:byte(i)) * 0x100000001b3
    h = h ~ (h >> 29)
  end
  return string.pack("<i8", h)
end

local function base58(bytes)
  local digits = {}
  for i = 1, #bytes do
    local carry = bytes:byte(i)
    for d = 1, #digits do
      carry = carry + digits[d] * 256
      digits[d], carry = carry % 58, carry // 58
    end
    while carry > 0 do
      digits[#digits + 1], carry = carry % 58, carry // 58
    end
  end
  local out = {}
  for d = #digits, 1, -1 do out[#out + 1] = alphabet:sub(digits[d] + 1, digits[d] + 1) end
  return table.concat(out)
end

local function address(account, index) return base58("\5" .. digest("account " .. account .. "/" .. index) .. digest(index .. "")) end

local Transaction = {}
Transaction.__index = Transaction
function Transaction.new() return setmetatable({ inputs = {}, outputs = {}, version = 2 }, Transaction) end
function Transaction:spend(account, index, amount)
  self.inputs[#self.inputs + 1] = { from = address(account, index), index = index, amount = amount, previous = digest(account .. index) }
end
function Transaction:pay(to, amount) self.outputs[#self.outputs + 1] = { to = to, amount = amount } end
function Transaction:serialise()
  local parts = { string.pack("<I4 I1", self.version, #self.inputs) }
  for _, input in ipairs(self.inputs) do
    parts[#parts + 1] = string.pack("<s1 I4 I8 s1", input.previous, input.index, input.amount, input.signature or "")
  end
  parts[#parts + 1] = string.pack("<I1", #self.outputs)
  for _, output in ipairs(self.outputs) do parts[#parts + 1] = string.pack("<I8 s1", output.amount, output.to) end
  return table.concat(parts)
end
function Transaction:sign()
  for i, input in ipairs(self.inputs) do
    input.signature = digest(self:serialise() .. i) .. digest(input.from .. i)
  end
end

local account = workflow % 9
local transaction, sum = Transaction.new(), 0
for i = 1, 4 + workflow % 6 do
  local amount = (workflow * 7919 + i * 104729) % 100000 + 1000
  transaction:spend(account, i, amount)
  sum = sum + amount
end
local fee = 250 * #transaction.inputs
local to = address("shop", workflow % 50)

-- The user confirms: the label of the address is shown, and made if this is the first payment to it.
local label = recall("labels", to)
if not label then
  label = "shop no. " .. workflow % 50
  remember("labels", to, label)
end
transaction:pay(to, sum // 2)
transaction:pay(address(account, 0), sum - sum // 2 - fee)
transaction:sign()
local spent = math.tointeger(tonumber(recall("sessions", "account " .. account) or 0)) + sum // 2
remember("sessions", "account " .. account, tostring(spent))

local bytes = transaction:serialise()
print(string.format("%d bytes, %d in, to %s (%s), spent %d, hash %s", #bytes, #transaction.inputs, to, label, spent,
  base58(digest(bytes))))
