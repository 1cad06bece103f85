// Every kind of answer once or more, on many vhosts: is what comes out right?
//
// The rig (loadtest/smoke) starts Redis, backends and hipache, fills Redis and passes:
//   HIPACHE_URL  where hipache listens
//   VHOSTS       how many hosts vhost-N.test there are
//
// Every request has a target of its own, so that the rig can find its line in the access log.

import http from "k6/http";
import ws from "k6/ws";
import crypto from "k6/crypto";
import exec from "k6/execution";
import { check } from "k6";
import { Counter } from "k6/metrics";

const BASE = __ENV.HIPACHE_URL;
const VHOSTS = Number(__ENV.VHOSTS || 200);
const MIB = 1024 * 1024;

const pings = new Counter("pings"); // leave no line in the access log

export const options = {
  scenarios: {
    vhosts: { executor: "per-vu-iterations", exec: "vhosts", vus: 4, iterations: VHOSTS / 4 },
    bodies: { executor: "per-vu-iterations", exec: "bodies", vus: 2, iterations: 4 },
    sockets: { executor: "per-vu-iterations", exec: "sockets", vus: 4, iterations: 5 },
    outcomes: { executor: "per-vu-iterations", exec: "outcomes", vus: 2, iterations: 3 },
  },
  thresholds: {
    checks: ["rate==1"],
    "http_req_failed{expected:ok}": ["rate==0"],
    "http_req_failed{expected:error}": ["rate==1"],
    "http_req_duration{expected:ok}": ["p(99)<2000"],
  },
  maxRedirects: 0,
  summaryTrendStats: ["avg", "med", "p(99)", "max"],
};

let sent = 0;

// A target that no other request has.
function target(path) {
  sent += 1;
  return `${BASE}${path}?id=${exec.vu.idInTest}.${sent}`;
}

function send(method, path, host, body, expected, headers) {
  return http.request(method, target(path), body, {
    headers: Object.assign({ Host: host }, headers),
    redirects: 0,
    responseType: body instanceof ArrayBuffer ? "binary" : "text",
    // One name for all of a path's targets, or each would become a time series.
    tags: { expected: expected || "ok", name: `${method} ${path}` },
  });
}

export function vhosts() {
  const host = `vhost-${exec.scenario.iterationInTest}.test`;
  const small = send("GET", "/bytes/23", host);
  check(small, {
    "vhost: 200": (r) => r.status === 200,
    "vhost: whole body": (r) => r.body.length === 23,
    "vhost: HTTP/1.1": (r) => r.proto === "HTTP/1.1",
  });
  const head = send("HEAD", "/bytes/4096", host);
  check(head, {
    "head: 200": (r) => r.status === 200,
    "head: length of the body not sent": (r) => r.headers["Content-Length"] === "4096",
    "head: no body": (r) => !r.body,
  });
  const seen = send("GET", "/headers", `${host}:8080`).json();
  check(seen, {
    "backend: host unchanged": (h) => h.host === `${host}:8080`,
    "backend: x-forwarded-for": (h) => h["x-forwarded-for"] === "127.0.0.1",
    "backend: x-real-ip": (h) => h["x-real-ip"] === "127.0.0.1",
    "backend: x-forwarded-proto": (h) => h["x-forwarded-proto"] === "http",
  });
  const wild = send("GET", "/bytes/1", `a.b${exec.vu.idInTest}.wild.test`);
  check(wild, { "wildcard: 200": (r) => r.status === 200 });
}

export function bodies() {
  for (const size of [0, 1, 16 * 1024, MIB, 4 * MIB]) {
    const payload = crypto.randomBytes(Math.max(size, 1)).slice(0, size);
    const echoed = send("POST", "/echo", "vhost-0.test", payload);
    check(echoed, {
      "echo: 200": (r) => r.status === 200,
      "echo: same bytes": (r) =>
        size === 0
          ? !r.body || r.body.byteLength === 0
          : crypto.md5(r.body, "hex") === crypto.md5(payload, "hex"),
    });
  }
  const chunked = send("GET", `/chunked/${3 * MIB}`, "vhost-1.test");
  check(chunked, {
    "chunked: 200": (r) => r.status === 200,
    "chunked: whole body": (r) => r.body.length === 3 * MIB,
  });
  const large = send("GET", `/bytes/${8 * MIB}`, "vhost-2.test");
  check(large, { "large: whole body": (r) => r.body.length === 8 * MIB });
}

export function sockets() {
  const host = `vhost-${exec.scenario.iterationInTest}.test`;
  const messages = ["hello", "é".repeat(200), "x".repeat(100 * 1024)];
  const echoed = [];
  const url = target("/ws").replace("http://", "ws://");
  const params = { headers: { Host: host }, tags: { name: "WebSocket /ws" } };
  const answer = ws.connect(url, params, (socket) => {
    socket.on("open", () => messages.forEach((message) => socket.send(message)));
    socket.on("message", (message) => {
      echoed.push(message);
      if (echoed.length === messages.length) socket.close();
    });
    socket.setTimeout(() => socket.close(), 10000);
  });
  check(answer, {
    "websocket: 101": (r) => r && r.status === 101,
    "websocket: all messages back": () => JSON.stringify(echoed) === JSON.stringify(messages),
  });
}

export function outcomes() {
  const host = "vhost-3.test";
  const cases = [
    // what, method, path, host, status
    ["unknown host", "GET", "/bytes/1", "nobody.invalid", 400],
    ["host that is no name", "GET", "/bytes/1", "no_body!.invalid", 400],
    ["all dead", "GET", "/bytes/1", "dead.test", 502],
    ["refused", "GET", "/bytes/1", "refused.test", 502],
    ["no backends", "GET", "/bytes/1", "empty.test", 502],
    ["closed without an answer", "POST", "/close", "closing.test", 502],
    ["404 of the backend", "GET", "/status/404", host, 404],
    ["500 of the backend", "GET", "/status/500", host, 500],
    ["silent backend", "GET", "/slow/5000", "slow.test", 504],
  ];
  for (const [what, method, path, to, status] of cases) {
    const answer = send(method, path, to, null, "error");
    check(answer, { [`${what}: ${status}`]: (r) => r.status === status });
  }
  const failover = send("GET", "/bytes/1", "half.test");
  check(failover, { "one of two refuses: 200": (r) => r.status === 200 });
  const redirect = send("GET", "/redirect", host);
  check(redirect, {
    "redirect: 302 passed through": (r) => r.status === 302,
    "redirect: Location unchanged": (r) => r.headers.Location === "http://elsewhere.test/",
  });
  const none = send("GET", "/status/204", host);
  check(none, { "204: no body": (r) => r.status === 204 && !r.body });
  const debug = send("GET", "/bytes/1", host, null, "ok", { "X-Debug": "1" });
  check(debug, {
    "debug: backend": (r) => /^http:\/\/127\.0\.0\.1:\d+\/$/.test(r.headers["X-Debug-Backend-Url"]),
    "debug: vhost": (r) => r.headers["X-Debug-Vhost"] === "site-3",
    "debug: key": (r) => r.headers["X-Debug-Frontend-Key"] === host,
  });
  const ping = http.get(BASE, {
    headers: { Host: "__ping__" },
    tags: { expected: "ok", name: "__ping__" },
  });
  pings.add(1);
  check(ping, { "ping: 200 ok": (r) => r.status === 200 && r.body === "ok" });
}
