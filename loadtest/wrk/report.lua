-- The work of one cell, and its result as one line of JSON.
-- Arguments after `--`: size of the request body in bytes (0: GET), "close" or "keep", and how many
-- requests to send; without that number it sends until the time is over. One thread only.

function init(args)
  local body_bytes = tonumber(args[1]) or 0
  if body_bytes > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", body_bytes)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
  if args[2] == "close" then
    wrk.headers["Connection"] = "close"
  end
  if args[3] then
    send_exactly(tonumber(args[3]))
  end
end

-- Ends when the last of so many answers is there, so that nothing is in flight at the end.
function send_exactly(wanted)
  local ffi = require("ffi")
  ffi.cdef("int getpid(void); int kill(int pid, int signal);")
  local sent, answered = 0, 0
  -- wrk asks for a delay in milliseconds before each request: beyond the number, for ever.
  function delay()
    sent = sent + 1
    return sent <= wanted and 0 or 1e9
  end
  function response()
    answered = answered + 1
    if answered == wanted then
      -- What ends wrk before its time, and with its report, is an interrupt alone.
      ffi.C.kill(ffi.C.getpid(), 2)
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bytes": %d, "p50_us": %.1f, "p99_us": %.1f, '
      .. '"bad_status": %d, "socket_errors": %d, "timeouts": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
