-- GRASP, the GeneRic Autonomic Signaling Protocol (RFC 8990), for Wireshark and tshark. See README.md beside it.
--
-- UDP port 7017; the TCP ports that discoveries are sent from and that locators name; TCP, and what TLS has secured, that looks like GRASP.
-- Whatever the bytes are: no Lua error, no recursion deeper than MAX_DEPTH, no more than MAX_ITEMS items a message.

local grasp = Proto("grasp", "GeneRic Autonomic Signaling Protocol")

local MAX_DEPTH, MAX_ITEMS, MAX_TEXT, MAX_MESSAGE = 32, 4096, 4096, 65535
local MAX_PLACES = 65536

local MESSAGES = {
  [0] = "M_NOOP", [1] = "M_DISCOVERY", [2] = "M_RESPONSE", [3] = "M_REQ_NEG", [4] = "M_REQ_SYN",
  [5] = "M_NEGOTIATE", [6] = "M_END", [7] = "M_WAIT", [8] = "M_SYNCH", [9] = "M_FLOOD", [99] = "M_INVALID",
}
local OPTIONS = {
  [100] = "O_DIVERT", [101] = "O_ACCEPT", [102] = "O_DECLINE", [103] = "O_IPv6_LOCATOR",
  [104] = "O_IPv4_LOCATOR", [105] = "O_FQDN_LOCATOR", [106] = "O_URI_LOCATOR",
}
local PROTOCOLS = { [6] = "TCP", [17] = "UDP", [41] = "IPv6" }

local f = {
  type = ProtoField.uint32("grasp.type", "Message type", base.DEC, MESSAGES),
  session = ProtoField.uint32("grasp.session_id", "Session identifier", base.DEC),
  initiator6 = ProtoField.ipv6("grasp.initiator", "Initiator"),
  initiator4 = ProtoField.ipv4("grasp.initiator_ipv4", "Initiator (IPv4)"),
  ttl = ProtoField.uint32("grasp.ttl", "Time to live (ms)", base.DEC),
  wait = ProtoField.uint32("grasp.waiting_time", "Waiting time (ms)", base.DEC),
  objective = ProtoField.none("grasp.objective", "Objective"),
  name = ProtoField.string("grasp.objective.name", "Name", base.UNICODE),
  flags = ProtoField.uint64("grasp.objective.flags", "Flags", base.HEX),
  f_disc = ProtoField.bool("grasp.objective.flags.disc", "F_DISC (discovery)", 8, nil, 0x01),
  f_neg = ProtoField.bool("grasp.objective.flags.neg", "F_NEG (negotiation)", 8, nil, 0x02),
  f_synch = ProtoField.bool("grasp.objective.flags.synch", "F_SYNCH (synchronization)", 8, nil, 0x04),
  f_dry = ProtoField.bool("grasp.objective.flags.dry", "F_NEG_DRY (dry run)", 8, nil, 0x08),
  loop = ProtoField.uint8("grasp.objective.loop_count", "Loop count", base.DEC),
  value = ProtoField.string("grasp.objective.value", "Value", base.UNICODE),
  item = ProtoField.string("grasp.item", "Item", base.UNICODE),
  option = ProtoField.uint32("grasp.option", "Option", base.DEC, OPTIONS),
  ipv6 = ProtoField.ipv6("grasp.locator.ipv6", "IPv6 address"),
  ipv4 = ProtoField.ipv4("grasp.locator.ipv4", "IPv4 address"),
  fqdn = ProtoField.string("grasp.locator.fqdn", "Domain name", base.UNICODE),
  uri = ProtoField.string("grasp.locator.uri", "URI", base.UNICODE),
  protocol = ProtoField.uint32("grasp.locator.protocol", "Transport protocol", base.DEC, PROTOCOLS),
  port = ProtoField.uint16("grasp.locator.port", "Port", base.DEC),
  reason = ProtoField.string("grasp.reason", "Reason", base.UNICODE),
  content = ProtoField.string("grasp.content", "Diagnostic content", base.UNICODE),
  extra = ProtoField.string("grasp.extra", "Further element", base.UNICODE),
}
grasp.fields = {}
for _, field in pairs(f) do table.insert(grasp.fields, field) end

local e = {
  malformed = ProtoExpert.new("grasp.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR),
  unexpected = ProtoExpert.new("grasp.unexpected", "Does not belong here", expert.group.PROTOCOL,
    expert.severity.NOTE),
  truncated = ProtoExpert.new("grasp.truncated", "Truncated by the snap length", expert.group.UNDECODED,
    expert.severity.NOTE),
  limit = ProtoExpert.new("grasp.limit", "Not shown further", expert.group.UNDECODED, expert.severity.WARN),
}
grasp.experts = { e.malformed, e.unexpected, e.truncated, e.limit }

grasp.prefs.heuristics = Pref.bool("Find GRASP on any TCP port", true,
  "Take TCP for GRASP if it begins with an array of the right size, a message type and a session identifier")

---- CBOR (RFC 8949) ----
-- A parsed item: { kind, first, last (offsets, last exclusive), number (UInt64), n (Lua number if below 2^53),
-- items, text, bytes (TvbRange), tvb }. What goes wrong is thrown as { at, what, more } and caught in `parse`.

local function fail(at, what, more) error({ at = at, what = what, more = more }, 0) end

local function need(tvb, at, count)
  if count > tvb:len() - at then fail(at, "ends too early", count - (tvb:len() - at)) end
end

-- Initial byte and argument: major type, information, argument (UInt64 or nil), offset behind.
local function head(tvb, at)
  need(tvb, at, 1)
  local initial = tvb(at, 1):uint()
  local major, info = math.floor(initial / 32), initial % 32
  if info < 24 then return major, info, UInt64(info), at + 1 end
  if info <= 27 then
    local size = ({ 1, 2, 4, 8 })[info - 23]
    need(tvb, at, 1 + size)
    return major, info, tvb(at + 1, size):uint64(), at + 1 + size
  end
  if info == 31 and major ~= 0 and major ~= 1 and major ~= 6 then return major, info, nil, at + 1 end
  fail(at, "malformed CBOR: reserved additional information")
end

-- From Lua 5.3 on, 5 and 5.0 are written differently, and what UInt64 gives are numbers of the second kind.
local integer = math.tointeger or function(number) return number end

-- A Lua number, if the UInt64 is below 2^53 and thus exact.
local function small(number)
  if number:higher() < 0x200000 then return integer(number:higher() * 4294967296 + number:lower()) end
  return nil
end

local function half(bits)
  local sign = bits >= 0x8000 and -1 or 1
  local exponent, mantissa = math.floor(bits / 1024) % 32, bits % 1024
  if exponent == 0 then return sign * mantissa * 2 ^ -24 end
  if exponent == 31 then return mantissa == 0 and sign * math.huge or 0 / 0 end
  return sign * (mantissa + 1024) * 2 ^ (exponent - 25)
end

local function float_text(number)
  if number ~= number then return "NaN" end
  if number == math.huge then return "Infinity" end
  if number == -math.huge then return "-Infinity" end
  local text
  for digits = 15, 17 do
    text = string.format("%." .. digits .. "g", number)
    if tonumber(text) == number then break end
  end
  text = text:gsub("e%+?(%-?)0*", "e%1")
  return text:find("[%.e]") and text or text .. ".0"
end

-- Whether bytes are UTF-8 without surrogates and overlong forms.
local function is_utf8(bytes)
  local i, n = 1, #bytes
  while i <= n do
    local c = bytes:byte(i)
    local more, low, high
    if c < 0x80 then more = 0
    elseif c >= 0xc2 and c <= 0xdf then more = 1
    elseif c >= 0xe0 and c <= 0xef then more, low, high = 2, c == 0xe0 and 0xa0, c == 0xed and 0x9f
    elseif c >= 0xf0 and c <= 0xf4 then more, low, high = 3, c == 0xf0 and 0x90, c == 0xf4 and 0x8f
    else return false end
    for k = 1, more do
      local d = bytes:byte(i + k)
      if not d or d < 0x80 or d > 0xbf then return false end
      if k == 1 and (d < (low or 0x80) or d > (high or 0xbf)) then return false end
    end
    i = i + 1 + more
  end
  return true
end

local function raw(range) return range and range:len() > 0 and range:bytes():raw() or "" end

local BREAK = { kind = "break" }
local read

local function read_items(state, tvb, at, depth, count, item)
  local read_count = 0
  while count == nil or read_count < count do
    local inner
    inner, at = read(state, tvb, at, depth, count == nil)
    if inner == BREAK then break end
    item.items[#item.items + 1] = inner
    read_count = read_count + 1
  end
  return at
end

local function read_string(state, tvb, at, major, argument, item)
  local texts = {}
  local function piece(number, start)
    local length = small(number)
    if not length or length > MAX_MESSAGE then fail(item.first, "a string that is too long") end
    need(tvb, start, length)
    local range = length > 0 and tvb(start, length) or nil
    local bytes = raw(range)
    if major == 3 and not is_utf8(bytes) then fail(item.first, "malformed CBOR: text is not UTF-8") end
    texts[#texts + 1] = bytes
    item.range = range
    return start + length
  end
  if argument then
    at = piece(argument, at)
  else
    item.chunked = true
    while true do
      local chunk, info, number, behind = head(tvb, at)
      if chunk == 7 and info == 31 then at = behind break end
      if chunk ~= major or not number then fail(at, "malformed CBOR: wrong chunk of a string") end
      state.items = state.items + 1
      if state.items > MAX_ITEMS then fail(at, "too many items") end
      at = piece(number, behind)
    end
    if #texts ~= 1 then item.range = nil end
  end
  item.bytes = table.concat(texts)
  item.kind = major == 2 and "bytes" or "text"
  return at
end

-- Reads one item and returns it with the offset behind it.
function read(state, tvb, at, depth, may_break)
  state.items = state.items + 1
  if state.items > MAX_ITEMS then fail(at, "too many items") end
  local first = at
  local major, info, argument, behind = head(tvb, at)
  local item = { first = first, tvb = tvb, items = {} }
  state.open[#state.open + 1] = item
  at = behind
  if major == 0 then
    item.kind, item.n, item.text = "uint", small(argument), tostring(argument)
  elseif major == 1 then
    local next_number = argument + UInt64(1)
    local wrapped = next_number:higher() == 0 and next_number:lower() == 0
    item.kind, item.text = "negative", "-" .. (wrapped and "18446744073709551616" or tostring(next_number))
  elseif major == 2 or major == 3 then
    at = read_string(state, tvb, at, major, argument, item)
  elseif major == 7 then
    if info == 31 then
      if not may_break then fail(first, "malformed CBOR: break without an open item") end
      state.open[#state.open] = nil
      return BREAK, at
    elseif info == 25 then item.kind, item.text = "float", float_text(half(argument:lower()))
    elseif info == 26 then item.kind, item.text = "float", float_text(tvb(first + 1, 4):float())
    elseif info == 27 then item.kind, item.text = "float", float_text(tvb(first + 1, 8):float())
    else
      local names = { [20] = "false", [21] = "true", [22] = "null", [23] = "undefined" }
      local number = integer(argument:lower())
      if info == 24 and number < 32 then fail(first, "malformed CBOR: reserved simple value") end
      item.kind, item.text = "simple", names[number] or "simple(" .. number .. ")"
      if number == 22 then item.kind = "null" end
    end
  else
    if depth >= MAX_DEPTH then fail(first, "nested deeper than " .. MAX_DEPTH .. " levels") end
    if major == 6 then
      item.kind, item.tag = "tag", tostring(argument)
      at = read_items(state, tvb, at, depth + 1, 1, item)
    else
      item.kind = major == 4 and "array" or "map"
      local count = argument and small(argument)
      if argument and (not count or count > MAX_MESSAGE) then
        -- More items than a message can have: no further segment helps.
        count, state.hopeless = count or math.huge, true
      end
      if count and major == 5 then count = count * 2 end
      at = read_items(state, tvb, at, depth + 1, count, item)
      if major == 5 and #item.items % 2 == 1 then fail(first, "malformed CBOR: map key without a value") end
    end
  end
  item.last = at
  state.open[#state.open] = nil
  return item, at
end

-- The item at an offset: item, nil; or what was read of it, and what went wrong.
local function parse(tvb, at, depth)
  local state = { items = 0, open = {} }
  local ok, item = pcall(read, state, tvb, at, depth or 0, false)
  if ok then return item, nil end
  if type(item) ~= "table" then item = { at = at, what = "cannot be read: " .. tostring(item) } end
  if state.hopeless then item.more = nil end
  for level = #state.open, 2, -1 do
    local open = state.open[level]
    open.last, open.cut = tvb:len(), true
    -- What was opened last belongs to what was opened before it.
    if open.kind then table.insert(state.open[level - 1].items, open) end
  end
  local top = state.open[1]
  if top then top.last, top.cut = tvb:len(), true end
  return top, item
end

-- Text for a terminal: what it would obey is escaped.
local function quoted(text)
  text = text:gsub('[%c"\\\127]', function(c)
    if c == '"' or c == "\\" then return "\\" .. c end
    return string.format("\\u%04x", c:byte())
  end)
  -- C1 controls, and characters that change the direction of writing.
  text = text:gsub("\194[\128-\159]", function(c) return string.format("\\u%04x", c:byte(2)) end)
  text = text:gsub("\226\128[\139-\143\168-\174]", function(c) return string.format("\\u20%02x", c:byte(3) - 0x80) end)
  return '"' .. text .. '"'
end

local function hex(bytes)
  return "h'" .. bytes:gsub(".", function(c) return string.format("%02x", c:byte()) end) .. "'"
end

-- What is inside of tag 24, if that is one item.
local function embedded(item, depth)
  local inner = item.items[1]
  if item.tag ~= "24" or not inner or inner.kind ~= "bytes" or inner.bytes == "" then return nil end
  if depth >= MAX_DEPTH then return nil, { at = item.first, what = "nested too deep" } end
  if item.opened then return item.opened, item.wrong end
  local tvb = ByteArray.new(inner.bytes, true):tvb("Embedded CBOR")
  local opened, wrong = parse(tvb, 0, depth)
  if not wrong and opened.last < tvb:len() then wrong = { at = opened.last, what = "bytes follow the item" } end
  item.opened, item.wrong = opened, wrong
  return opened, wrong
end

-- Diagnostic notation (RFC 8949, section 8).
local function diagnostic(item, depth, room)
  depth, room = depth or 1, room or { left = MAX_TEXT }
  if room.left <= 0 then return "..." end
  local text
  if item.text then text = item.text
  elseif item.kind == "text" then text = quoted(item.bytes:sub(1, MAX_TEXT)) .. (#item.bytes > MAX_TEXT and "..." or "")
  elseif item.kind == "bytes" then
    text = hex(item.bytes:sub(1, MAX_TEXT / 2)) .. (#item.bytes > MAX_TEXT / 2 and "..." or "")
  elseif item.kind == "tag" then
    local opened, wrong = embedded(item, depth)
    if opened and not wrong then return "24(<<" .. diagnostic(opened, depth + 1, room) .. ">>)" end
    return item.tag .. "(" .. (item.items[1] and diagnostic(item.items[1], depth + 1, room) or "...") .. ")"
  elseif item.kind == "array" or item.kind == "map" then
    local parts = {}
    for index, inner in ipairs(item.items) do
      if room.left <= 0 then parts[#parts + 1] = ", ..." break end
      local separator = index == 1 and "" or (item.kind == "map" and index % 2 == 0) and ": " or ", "
      parts[#parts + 1] = separator .. diagnostic(inner, depth + 1, room)
    end
    if item.cut then parts[#parts + 1] = "..." end
    local inside = table.concat(parts)
    return item.kind == "array" and "[" .. inside .. "]" or "{" .. inside .. "}"
  else text = "..." end
  room.left = room.left - #text - 2
  return text
end

local function range(item)
  local last = math.min(item.last or item.tvb:len(), item.tvb:len())
  local first = math.min(item.first, item.tvb:len())
  return item.tvb(first, math.max(last - first, 0))
end

---- The message ----

local message = {}
message.__index = message

function message:wrong(tree, item, what, forgiven)
  tree:add_proto_expert_info(forgiven and e.unexpected or e.malformed, what)
  if not forgiven and not self.problem then self.problem = what end
end

-- An item with its parts below it.
local function subtree(tree, item, depth)
  if depth > MAX_DEPTH or item.tvb:len() == 0 then return end
  local inner, opened, wrong = item.items, nil, nil
  if item.kind == "tag" then
    opened, wrong = embedded(item, depth)
    if opened and not wrong then inner = { opened } end
  end
  for index, part in ipairs(inner) do
    if index > 256 then
      tree:add_proto_expert_info(e.limit, "only 256 items are shown")
      return
    end
    local branch = tree:add(f.item, range(part), diagnostic(part, depth))
    if #part.items > 0 then subtree(branch, part, depth + 1) end
  end
end

local function uint32(item)
  return item and item.kind == "uint" and item.n and item.n <= 4294967295 and item.n or nil
end

function message:missing(what)
  if not self.cut then
    self.tree:add_proto_expert_info(e.malformed, what .. " is missing")
    self.problem = self.problem or (what .. " is missing")
  end
end

function message:take()
  self.next = self.next + 1
  return self.items[self.next]
end

function message:number(field, what)
  local item = self:take()
  if not item then return self:missing(what) end
  if uint32(item) then
    self.tree:add(field, range(item), item.n)
    return item.n
  end
  self:wrong(self.tree:add(f.item, range(item), diagnostic(item)), item, "not a " .. what)
end

function message:session_id()
  local session = self:number(f.session, "session identifier")
  self.session = session
end

function message:initiator()
  local item = self:take()
  if not item then return self:missing("initiator") end
  if item.kind == "bytes" and (#item.bytes == 16 or #item.bytes == 4) and item.range then
    self.tree:add(#item.bytes == 16 and f.initiator6 or f.initiator4, item.range)
  elseif item.kind == "bytes" and (#item.bytes == 16 or #item.bytes == 4) then
    local bytes = ByteArray.new(item.bytes, true):tvb("Initiator")
    self.tree:add(#item.bytes == 16 and f.initiator6 or f.initiator4, bytes(0))
  else
    self:wrong(self.tree:add(f.item, range(item), diagnostic(item)), item, "not an initiator")
  end
end

function message:objective(item, needs_value, tree, forgiven)
  tree = tree or self.tree
  if not item then return self:missing("objective") end
  local branch = tree:add(f.objective, range(item))
  if item.kind ~= "array" then
    return self:wrong(branch, item, "not an objective", forgiven)
  end
  local name, flags, count, value, surplus = item.items[1], item.items[2], item.items[3], item.items[4], item.items[5]
  local words = {}
  if name and name.kind == "text" and name.bytes ~= "" then
    branch:add(f.name, range(name), name.bytes)
    words[#words + 1] = quoted(name.bytes:sub(1, 80))
  elseif name then
    self:wrong(branch:add(f.item, range(name), diagnostic(name)), name, "not an objective name", forgiven)
  end
  if flags and flags.kind == "uint" then
    local number = UInt64.new(0, 0)
    local _, _, argument = head(flags.tvb, flags.first)
    number = argument or number
    local leaf = branch:add(f.flags, range(flags), number)
    local low = integer(number:lower() % 256)
    local names = {}
    for bit, field in ipairs({ f.f_disc, f.f_neg, f.f_synch, f.f_dry }) do
      leaf:add(field, range(flags), low)
      if math.floor(low / 2 ^ (bit - 1)) % 2 == 1 then
        names[#names + 1] = ({ "F_DISC", "F_NEG", "F_SYNCH", "F_NEG_DRY" })[bit]
      end
    end
    leaf:append_text(" (" .. (#names > 0 and table.concat(names, " ") or "none") .. ")")
  elseif flags then
    self:wrong(branch:add(f.item, range(flags), diagnostic(flags)), flags, "not objective flags", forgiven)
  end
  if count and count.kind == "uint" and count.n and count.n <= 255 then
    branch:add(f.loop, range(count), count.n)
    words[#words + 1] = "loop count " .. count.n
  elseif count then
    self:wrong(branch:add(f.item, range(count), diagnostic(count)), count, "not a loop count", forgiven)
  end
  if value then
    local text = diagnostic(value)
    local leaf = branch:add(f.value, range(value), text)
    subtree(leaf, value, 2)
    words[#words + 1] = text:sub(1, 80)
  end
  if surplus then
    self:wrong(branch:add(f.item, range(surplus), diagnostic(surplus)), surplus, "one element too many", forgiven)
  end
  if not item.cut then
    if not count then self:wrong(branch, item, "an objective with too few elements", forgiven)
    elseif needs_value and not value then self:wrong(branch, item, "the objective has no value", forgiven) end
  end
  local line = table.concat(words, " ")
  branch:append_text(": " .. line)
  if #self.words < 3 then self.words[#self.words + 1] = line end
end

local places, ports, place_count = {}, {}, 0

local function learn(address, port)
  local key = address .. "|" .. port
  if not places[key] and place_count < MAX_PLACES then
    places[key], place_count = true, place_count + 1
  end
end

-- A locator option; returns whether it is right.
function message:locator(item, tree, forgiven)
  local kind = item.items[1] and uint32(item.items[1])
  if item.kind ~= "array" or not kind or kind < 103 or kind > 106 then
    self:wrong(tree:add(f.item, range(item), diagnostic(item)), item, "not a locator option", forgiven)
    return false
  end
  local branch = tree:add(f.option, range(item), kind)
  local place, protocol, port, surplus = item.items[2], item.items[3], item.items[4], item.items[5]
  local right, words = true, nil
  local function bad(part, what)
    right = false
    self:wrong(part and branch:add(f.item, range(part), diagnostic(part)) or branch, part or item, what, forgiven)
  end
  local function address(field, bytes, what)
    if place.kind ~= "bytes" or #place.bytes ~= bytes then return bad(place, what) end
    local source = place.range or ByteArray.new(place.bytes, true):tvb("Address")(0)
    branch:add(field, source)
    words = tostring(bytes == 16 and source:ipv6() or source:ipv4())
  end
  local function text(field, what)
    if place.kind ~= "text" then return bad(place, what) end
    branch:add(field, range(place), place.bytes)
    words = quoted(place.bytes:sub(1, 80))
  end
  if place then
    if kind == 103 then address(f.ipv6, 16, "not an IPv6 address")
    elseif kind == 104 then address(f.ipv4, 4, "not an IPv4 address")
    elseif kind == 105 then text(f.fqdn, "not a domain name")
    else text(f.uri, "not a URI") end
  end
  if protocol then
    if protocol.kind == "uint" then
      if uint32(protocol) then branch:add(f.protocol, range(protocol), protocol.n) end
    elseif not (kind == 106 and protocol.kind == "null") then bad(protocol, "not a transport protocol") end
  end
  if port then
    if port.kind == "uint" and port.n and port.n <= 65535 then
      branch:add(f.port, range(port), port.n)
      words = words and (words .. " port " .. port.n)
      if right and protocol and protocol.n == 6 then
        if kind == 103 or kind == 104 then
          learn(words:match("^(.-) port"), port.n)
        elseif kind == 105 then ports[port.n] = true end
      end
    elseif not (kind == 106 and port.kind == "null") then bad(port, "not a port") end
  end
  if surplus then bad(surplus, "one element too many")
  elseif not item.cut and #item.items < 4 and not (kind == 106 and #item.items == 2) then
    bad(nil, "a locator option with too few elements")
  end
  if words then
    branch:append_text(": " .. words)
    if #self.words < 6 then self.words[#self.words + 1] = words end
  end
  return right and not item.cut
end

function message:extra(item)
  local branch = self.tree:add(f.extra, range(item), diagnostic(item))
  subtree(branch, item, 1)
  if not item.cut then
    branch:add_proto_expert_info(e.unexpected, "does not belong here")
  end
end

local function is_objective(item)
  return item.kind == "array" and item.items[1] and item.items[1].kind == "text"
end

local function option_type(item)
  return item.kind == "array" and item.items[1] and item.items[1].kind == "uint" and item.items[1].n or nil
end

local bodies = {}
bodies[0] = function() end
bodies[1] = function(m)
  m:session_id() m:initiator() m:objective(m:take(), false)
  while m.items[m.next + 1] and is_objective(m.items[m.next + 1]) do
    local second = m:take()
    m:wrong(m.tree:add(f.objective, range(second)), second, "a second objective")
  end
end
bodies[2] = function(m)
  m:session_id() m:initiator()
  local ttl = m.items[m.next + 1]
  if ttl and ttl.kind == "negative" then
    m:wrong(m.tree:add(f.item, range(ttl), ttl.text), ttl, "a negative ttl", true)
    m:take()
  else m:number(f.ttl, "ttl") end
  local usable = false
  for item in function() return m:take() end do
    local kind = option_type(item)
    if is_objective(item) then m:objective(item, false, nil, true)
    elseif kind == 100 then
      local branch = m.tree:add(f.option, range(item), 100)
      m.words[#m.words + 1] = "divert to"
      local all = #item.items > 1
      if not all and not item.cut then m:wrong(branch, item, "a divert option without a locator", true) end
      for index = 2, #item.items do all = m:locator(item.items[index], branch, true) and all end
      usable = usable or all
    elseif kind and kind >= 103 and kind <= 106 then
      usable = m:locator(item, m.tree, true) or usable
    else m:extra(item) end
  end
  if not usable then m:missing("a locator or divert option that can be used") end
end
local function step(needs_value)
  return function(m) m:session_id() m:objective(m:take(), needs_value) end
end
bodies[3], bodies[4], bodies[5], bodies[8] = step(true), step(false), step(true), step(true)
bodies[6] = function(m)
  m:session_id()
  local outcomes = 0
  for item in function() return m:take() end do
    local kind = option_type(item)
    if kind == 101 or kind == 102 then
      outcomes = outcomes + 1
      local branch = m.tree:add(f.option, range(item), kind)
      m.words[#m.words + 1] = kind == 101 and "accepted" or "declined"
      local reason, surplus = item.items[2], item.items[3]
      if reason and kind == 102 and reason.kind == "text" then
        branch:add(f.reason, range(reason), reason.bytes)
        m.words[#m.words + 1] = quoted(reason.bytes:sub(1, 80))
      elseif reason then
        m:wrong(branch:add(f.item, range(reason), diagnostic(reason)), reason, "not a reason")
      end
      if surplus then m:wrong(branch, surplus, "one element too many") end
      if outcomes == 2 then m:wrong(branch, item, "a second outcome") end
    else m:extra(item) end
  end
  if outcomes == 0 then m:missing("accept or decline option") end
end
bodies[7] = function(m)
  m:session_id()
  local time = m:number(f.wait, "waiting time")
  if time then m.words[1] = time .. " ms" end
end
bodies[9] = function(m)
  m:session_id() m:initiator() m:number(f.ttl, "ttl")
  local flooded = false
  for item in function() return m:take() end do
    if option_type(item) then m:extra(item)
    else
      flooded = true
      local objective, locator = item.items[1], item.items[2]
      if item.kind ~= "array" or (#item.items ~= 2 and not item.cut) then
        m:wrong(m.tree:add(f.item, range(item), diagnostic(item)), item, "not a pair of an objective and its locator")
      else
        if objective then m:objective(objective, true) end
        if locator and not (locator.kind == "array" and #locator.items == 0) then m:locator(locator, m.tree, option_type(locator)) end
      end
    end
  end
  if not flooded then m:missing("a flooded objective") end
end
bodies[99] = function(m)
  m:session_id()
  local content = m:take()
  if content then
    local text = diagnostic(content)
    subtree(m.tree:add(f.content, range(content), text), content, 1)
    m.words[1] = text:sub(1, 80)
  end
end

-- Puts a line behind those of the messages before it in the packet.
local function inform(pinfo, line)
  local info = tostring(pinfo.private["grasp_info"] or "")
  info = info == "" and line or info .. "; " .. line
  pinfo.private["grasp_info"] = info:sub(1, 1000)
  pinfo.cols.info = info:sub(1, 1000)
end

-- Shows the message at the beginning of `tvb`, behind which the snap length has cut off `missing` bytes; returns its
-- length.
local function show(tvb, pinfo, root, item, wrong, whole, missing)
  local length = wrong and tvb:len() or item.last
  local tree = root:add(grasp, tvb(0, length))
  local m = setmetatable({ tree = tree, items = {}, next = 0, words = {}, cut = wrong ~= nil }, message)
  local name = "not GRASP"
  if item and item.kind == "array" then
    m.items = item.items
    local first = m:take()
    local kind = first and uint32(first)
    if kind then
      name = MESSAGES[kind] or "unknown message type " .. kind
      tree:add(f.type, range(first), kind)
      if bodies[kind] then bodies[kind](m)
      elseif m.items[2] and uint32(m.items[2]) then m:session_id() end
      for rest in function() return m:take() end do m:extra(rest) end
    elseif first then
      m:wrong(tree:add(f.item, range(first), diagnostic(first)), first, "not a message type")
    elseif not wrong then m:wrong(tree, item, "no message type") end
  elseif item and not wrong then
    m:wrong(tree:add(f.item, range(item), diagnostic(item)), item, "a GRASP message is an array")
  end
  local truncated = nil
  if wrong and wrong.more and missing > 0 and not m.problem then
    -- Nothing is wrong with what was captured.
    truncated = whole and tvb:len() .. " of " .. (tvb:len() + missing) .. " bytes were captured"
      or "the rest was not captured"
    tree:add_proto_expert_info(e.truncated, truncated)
  elseif wrong then
    local what = "byte " .. wrong.at .. ": " .. wrong.what
    m.problem = m.problem or what
    tree:add_proto_expert_info(e.malformed, what)
  elseif whole and length < tvb:len() then
    m.problem = (tvb:len() - length) .. " bytes follow the message"
    tree:add(f.item, tvb(length), "after the message"):add_proto_expert_info(e.malformed, m.problem)
  end
  -- What QUADS encrypts has whole blocks of AES.
  if m.problem and name == "not GRASP" and tvb:len() % 16 == 0 then
    m.problem = m.problem .. "; encrypted, perhaps"
  end
  local line = name .. (m.session and " session " .. m.session or "")
  if m.problem then line = line .. " [malformed: " .. m.problem .. "]"
  elseif truncated then line = line .. " [truncated: " .. truncated .. "]"
  elseif #m.words > 0 then line = line .. ": " .. table.concat(m.words, " ") end
  tree:append_text(", " .. line)
  inform(pinfo, line)
  return length, name
end

-- Shows bytes of a message of which the beginning was not captured, or belongs to another segment.
local function show_rest(tvb, pinfo, root, what)
  local tree = root:add(grasp, tvb())
  tree:append_text(", " .. what)
  tree:add_proto_expert_info(e.truncated, what)
  inform(pinfo, "[truncated: " .. what .. "]")
end

function grasp.dissector(tvb, pinfo, root)
  local missing = tvb:reported_len() - tvb:len()
  if tvb:len() == 0 then return 0 end
  pinfo.cols.protocol = "GRASP"
  pinfo.private["grasp_info"] = ""
  local item, wrong = parse(tvb(0, math.min(tvb:len(), MAX_MESSAGE)):tvb(), 0)
  local _, name = show(tvb, pinfo, root, item, wrong, true, missing)
  if name == "M_DISCOVERY" and not wrong then
    -- The responses come to the TCP port that it was sent from (RFC 8990, section 2.5.4.2).
    learn(tostring(pinfo.src), pinfo.src_port)
  end
  return tvb:len()
end

-- Whether it begins as a message does: an array of the right size, a message type, a session identifier.
local function looks_like_grasp(tvb)
  if tvb:len() < 2 then return false end
  local array, kind = tvb(0, 1):uint(), tvb(1, 1):uint()
  if array == 0x81 and kind == 0 then return tvb:len() == 2 end
  local size = array - 0x80
  if array ~= 0x9f and (size < 2 or size > 23) then return false end
  local at = 2
  if kind == 0x18 then
    if tvb:len() < 3 or tvb(2, 1):uint() ~= 99 or (array ~= 0x9f and size > 3) then return false end
    at = 3
  elseif kind < 1 or kind > 9 then return false
  elseif array ~= 0x9f then
    local least = (kind == 1 and 4) or ((kind == 2 or kind == 9) and 5) or 3
    if size < least then return false end
  end
  if tvb:len() <= at then return false end
  local session = tvb(at, 1):uint()
  return session <= 0x1a and tvb:len() - at >= (session == 0x1a and 5 or session == 0x19 and 3 or session == 0x18 and 2 or 1)
end

-- The number of the first packet, by its direction of a connection, that the snap length has cut a segment of.
local cut_flows, cut_count = {}, 0

-- Whether a segment may begin within a message, because of what the snap length cut off before it, or of it: what is
-- cut off is not put together with what came before.
local function may_continue(pinfo, missing)
  local flow = table.concat({ tostring(pinfo.src), pinfo.src_port, tostring(pinfo.dst), pinfo.dst_port }, "|")
  local first = cut_flows[flow]
  if missing > 0 and not first and cut_count < MAX_PLACES then
    cut_flows[flow], cut_count = pinfo.number, cut_count + 1
  end
  return missing > 0 or (first ~= nil and pinfo.number > first)
end

-- A stream: several messages in a segment, a message over several segments.
local function stream(tvb, pinfo, root)
  local at, missing = 0, tvb:reported_len() - tvb:len()
  local continues = may_continue(pinfo, missing)
  pinfo.cols.protocol = "GRASP"
  pinfo.private["grasp_info"] = ""
  while at < tvb:len() do
    local rest = tvb(at):tvb()
    local item, wrong = parse(rest, 0)
    if wrong and wrong.more and rest:len() < MAX_MESSAGE and pinfo.can_desegment > 0 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
      if at == 0 then pinfo.cols.info = "GRASP, continued in a later segment" end
      return tvb:len()
    end
    if continues and not looks_like_grasp(rest) then
      show_rest(rest, pinfo, root, "within a message that was truncated")
      break
    end
    at = at + show(rest, pinfo, root, item, wrong, false, missing)
    -- What follows something that is no message cannot be told apart.
    if not wrong and item.kind ~= "array" then break end
  end
  return tvb:len()
end

-- A record of TLS, in which GRASP may be.
local function is_tls(tvb)
  if tvb:len() < 2 then return false end
  local kind = tvb(0, 1):uint()
  return kind >= 20 and kind <= 23 and tvb(1, 1):uint() == 3
end

local function heuristic(tvb, pinfo, root)
  if is_tls(tvb) then return false end
  local source, destination = tostring(pinfo.src), tostring(pinfo.dst)
  local announced = places[source .. "|" .. pinfo.src_port] or places[destination .. "|" .. pinfo.dst_port]
    or ports[pinfo.src_port] or ports[pinfo.dst_port]
  if not announced and not (grasp.prefs.heuristics and looks_like_grasp(tvb)) then return false end
  if announced or looks_like_grasp(tvb) then pinfo.conversation = tcp_grasp end
  stream(tvb, pinfo, root)
  return true
end

-- What Wireshark has decrypted: the conversation remains that of TLS.
local function tls_heuristic(tvb, pinfo, root)
  if not (grasp.prefs.heuristics and looks_like_grasp(tvb)) then return false end
  stream(tvb, pinfo, root)
  return true
end

-- The dissector of a conversation once it is known to be GRASP.
tcp_grasp = Proto("grasp_tcp", "GRASP over TCP")
function tcp_grasp.dissector(tvb, pinfo, root) return stream(tvb, pinfo, root) end

function grasp.init()
  places, ports, place_count = {}, {}, 0
  cut_flows, cut_count = {}, 0
end

DissectorTable.get("udp.port"):add(7017, grasp)
grasp:register_heuristic("tcp", heuristic)
grasp:register_heuristic("tls", tls_heuristic)
-- "Decode As" offers it too.
DissectorTable.get("tcp.port"):add_for_decode_as(tcp_grasp)
